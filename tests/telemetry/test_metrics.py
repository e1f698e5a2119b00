from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.demo.toolbox import require, system_program
from gateway.telemetry.catalogue import CATALOGUE, LABELS, Across, Kind, MetricSpec
from gateway.telemetry.exchange import Collector, SnapshotSocket
from gateway.telemetry.merge import Merger
from gateway.telemetry.metrics import MAX_SERIES, Metrics, ProcessSnapshot

EXEMPT = Path(__file__).parents[2] / "gateway" / "telemetry" / "promtool_exemptions.txt"

BY_NAME = (
    MetricSpec("test_events_total", Kind.COUNTER, "Events.", ("kind",)),
    MetricSpec("test_up", Kind.GAUGE, "Up.", ("backend",), across=Across.MIN),
    MetricSpec("test_lag_seconds", Kind.GAUGE, "Lag.", across=Across.MAX),
    MetricSpec("test_running", Kind.GAUGE, "Running."),
    MetricSpec("test_wait_seconds", Kind.HISTOGRAM, "Wait.", ("kind",), (0.1, 1.0)),
)


def touched(catalogue: tuple[MetricSpec, ...] = CATALOGUE) -> Metrics:
    """Metrics with one child of everything."""
    metrics = Metrics("proxy-0", catalogue)
    for spec in catalogue:
        labels = dict.fromkeys(spec.labels, "x")
        if spec.kind is Kind.COUNTER:
            metrics.count(spec.name, labels)
        elif spec.kind is Kind.GAUGE:
            metrics.set(spec.name, 1, labels)
        else:
            metrics.observe(spec.name, 0.01, labels)
    return metrics


def rendered(*snapshots: ProcessSnapshot, catalogue: tuple[MetricSpec, ...] = CATALOGUE) -> str:
    merger = Merger(catalogue)
    for snapshot in snapshots:
        merger.update(snapshot)
    return merger.render().decode()


def values(text: str) -> dict[str, float]:
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_name_passes_promtool_but_for_the_exempt() -> None:
    promtool = require(system_program("promtool") or Path("/nonexistent/promtool"), "promtool")
    result = subprocess.run(
        [promtool, "check", "metrics"], input=rendered(touched().snapshot()), text=True, capture_output=True
    )
    exempt = {line for line in EXEMPT.read_text().splitlines() if line and not line.startswith("#")}
    complaints = [
        line for line in (result.stdout + result.stderr).splitlines() if line.split()[0] not in exempt
    ]
    assert complaints == []
    assert exempt == {"geo_router_failover_count", "cost_coach_cost_saved_usd", "rewriter_speedup_avg"}


def test_promtool_would_complain_about_a_bad_name() -> None:
    promtool = require(system_program("promtool") or Path("/nonexistent/promtool"), "promtool")
    bad = "# HELP bad_count Bad.\n# TYPE bad_count gauge\nbad_count 1\n"
    result = subprocess.run([promtool, "check", "metrics"], input=bad, text=True, capture_output=True)
    assert "bad_count" in result.stdout + result.stderr


def test_no_label_can_hold_a_person_a_statement_or_an_address() -> None:
    private = re.compile(
        r"user|principal|statement|sql|text|fingerprint|query|peer|address|source|table|relation|host"
    )
    assert not [label for label in LABELS if private.search(label)]
    assert {label for spec in CATALOGUE for label in spec.labels} <= LABELS
    with pytest.raises(ValueError, match="not allowed"):
        Metrics(catalogue=[MetricSpec("x_total", Kind.COUNTER, "X.", ("principal",))])


def test_names_are_unique_and_explained() -> None:
    names = [spec.name for spec in CATALOGUE]
    assert len(names) == len(set(names))
    assert all(spec.help.endswith(".") and spec.name.startswith("gateway_") for spec in CATALOGUE)


def test_the_exposition_is_what_prometheus_own_parser_reads_back() -> None:
    metrics = Metrics("proxy-0", BY_NAME)
    metrics.count("test_events_total", {"kind": 'quo"te\\back\nline'}, 2.5)
    metrics.observe("test_wait_seconds", 0.5, {"kind": "q"})
    found = values(rendered(metrics.snapshot(), catalogue=BY_NAME))
    assert found["""test_events_total[('kind', 'quo"te\\\\back\\nline')]"""] == 2.5
    assert found["test_wait_seconds_bucket[('kind', 'q'), ('le', '0.1')]"] == 0
    assert found["test_wait_seconds_bucket[('kind', 'q'), ('le', '1.0')]"] == 1
    assert found["test_wait_seconds_bucket[('kind', 'q'), ('le', '+Inf')]"] == 1
    assert found["test_wait_seconds_sum[('kind', 'q')]"] == 0.5


def test_unknown_names_and_labels_are_errors() -> None:
    metrics = Metrics(catalogue=BY_NAME)
    with pytest.raises(KeyError):
        metrics.count("nothing_total")
    with pytest.raises(KeyError, match="needs the label"):
        metrics.count("test_events_total")
    with pytest.raises(KeyError, match="only the labels"):
        metrics.count("test_events_total", {"kind": "a", "principal": "alice"})
    with pytest.raises(KeyError, match="not a counter"):
        metrics.count("test_running")


def test_label_values_are_bounded() -> None:
    metrics = Metrics(catalogue=BY_NAME)
    for i in range(MAX_SERIES + 50):
        metrics.count("test_events_total", {"kind": f"k{i}"})
    samples = metrics.snapshot().samples["test_events_total"]
    assert len(samples) == MAX_SERIES + 1
    assert [sample.value for sample in samples if sample.labels == (("kind", "other"),)] == [50]


def test_a_resolved_child_costs_about_a_microsecond() -> None:
    child = Metrics(catalogue=BY_NAME).counter("test_events_total", kind="query")
    started = time.thread_time()
    for _ in range(20_000):
        child.inc()
    assert (time.thread_time() - started) / 20_000 < 10e-6


def test_a_counter_follows_a_total_that_is_counted_elsewhere() -> None:
    metrics = Metrics(catalogue=BY_NAME)
    for total in (3, 3, 10, 7):
        metrics.advance("test_events_total", total, {"kind": "q"})
    assert metrics.snapshot().samples["test_events_total"][0].value == 10


# -- several processes -------------------------------------------------------------------------------------


def process(
    name: str, events: float, *, running: float = 0, up: float = 1, started: float = 1
) -> ProcessSnapshot:
    metrics = Metrics(name, BY_NAME)
    metrics.started = started
    metrics.count("test_events_total", {"kind": "q"}, events)
    metrics.set("test_running", running)
    metrics.set("test_lag_seconds", running / 10)
    metrics.set("test_up", up, {"backend": "b"})
    metrics.observe("test_wait_seconds", 0.5, {"kind": "q"})
    return ProcessSnapshot.decode(metrics.snapshot().encode())


def test_counters_add_up_and_gauges_mean_what_the_catalogue_says() -> None:
    found = values(rendered(process("a", 3, running=2), process("b", 4, running=5, up=0), catalogue=BY_NAME))
    assert found["test_events_total[('kind', 'q')]"] == 7
    assert found["test_running[]"] == 7
    assert found["test_lag_seconds[]"] == 0.5
    assert found["test_up[('backend', 'b')]"] == 0
    assert found["test_wait_seconds_count[('kind', 'q')]"] == 2


def test_a_gauge_that_a_process_never_set_says_nothing() -> None:
    found = values(rendered(Metrics("a", BY_NAME).snapshot(), process("b", 1, running=3), catalogue=BY_NAME))
    assert found["test_lag_seconds[]"] == 0.3
    assert "test_running" not in rendered(Metrics("a", BY_NAME).snapshot(), catalogue=BY_NAME)


def test_counters_never_step_back_when_a_process_is_replaced_or_goes() -> None:
    merger = Merger(BY_NAME)
    for snapshot in (process("a", 10), process("b", 5), process("a", 2, started=2)):
        merger.update(snapshot)
    assert values(merger.render().decode())["test_events_total[('kind', 'q')]"] == 17
    merger.gone("b")
    assert values(merger.render().decode())["test_events_total[('kind', 'q')]"] == 17


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


CHILD = """
import asyncio, sys
from pathlib import Path
from gateway.telemetry.exchange import SnapshotSocket
from gateway.telemetry.metrics import Metrics

async def main():
    metrics = Metrics(sys.argv[2])
    metrics.count("gateway_audit_records_total", by=5)
    await SnapshotSocket(Path(sys.argv[1]), metrics).start()
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_scrape_adds_up_real_processes_and_outlives_their_death(run_dir: Path) -> None:
    root = Path(__file__).parents[2]
    children = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CHILD, str(run_dir), name), stdout=subprocess.PIPE, cwd=root
        )
        for name in ("proxy-0", "proxy-1")
    ]
    try:
        for child in children:
            assert child.stdout is not None
            await asyncio.wait_for(child.stdout.readline(), 30)
        assert {path.stat().st_mode & 0o777 for path in run_dir.iterdir()} == {0o600}
        own = Metrics("worker")
        own.count("gateway_audit_records_total", by=1)
        collector = Collector(run_dir, own)
        found = values((await collector.scrape()).decode())
        assert found["gateway_audit_records_total[]"] == 11
        children[0].kill()
        await children[0].wait()
        found = values((await collector.scrape()).decode())
        assert found["gateway_audit_records_total[]"] == 11
        assert found["gateway_process_up[('process', 'proxy-0')]"] == 0
        assert found["gateway_process_up[('process', 'proxy-1')]"] == 1
    finally:
        for child in children:
            if child.returncode is None:
                child.kill()
            await child.communicate()


async def test_a_process_that_hangs_delays_a_scrape_by_a_second_at_most(run_dir: Path) -> None:
    run_dir.mkdir()
    hung = await asyncio.start_unix_server(lambda r, w: asyncio.sleep(30), str(run_dir / "hung.metrics"))
    socket = SnapshotSocket(run_dir, Metrics("fine"))
    await socket.start()
    started = time.monotonic()
    text = (await Collector(run_dir).scrape()).decode()
    assert time.monotonic() - started < 5
    assert 'gateway_process_up{process="fine"} 1' in text
    await socket.close()
    hung.close()


def test_garbage_is_not_a_snapshot() -> None:
    for data in (b"", b"[]", b"{}", b'{"process":1,"started":"x","samples":{}}'):
        with pytest.raises(ValueError):
            ProcessSnapshot.decode(data)


def test_the_operations_guide_names_only_metrics_that_exist() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    named = set(re.findall(r"\bgateway_[a-z_]+", guide)) - {"gateway_dependency"}
    assert named
    assert named <= {spec.name for spec in CATALOGUE}
