"""`decide()` in this process, all stages: cold, warm, and with literals that move as dashboards move them."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.report import LOAD, MACHINE, Report
from benchmarks.targets import GATEWAY
from gateway.core.facts import Probe
from gateway.core.principal import Principal
from gateway.core.snapshot import Snapshot
from gateway.core.statement import Statement, Wire
from gateway.edge.decider import Decided, Decider
from gateway.edge.snapshots import SnapshotHolder
from gateway.metadata.model import Catalogue
from gateway.pipeline import STAGES
from gateway.runtime import build
from gateway.runtime.parts import snapshot_parts
from gateway.settings import load_settings

_HERE = Path(__file__).parent
_TPCH = _HERE.parent / "tests" / "fixtures" / "tpch"
_DASHBOARD = (
    "SELECT date_trunc('hour', ts) AS hour, node, avg(lmp) AS lmp, max(congestion) AS congestion "
    "FROM lake.curated.lmp JOIN lake.curated.nodes USING (node) "
    "WHERE ts >= TIMESTAMP '{start}' AND ts < TIMESTAMP '{end}' AND iso = 'CAISO' AND lmp > {least} "
    "GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 1000"
)
_SETTINGS = {
    "version": 1,
    "listeners": [{"name": "trino", "wire": "trino", "port": 18999}],
    "identity": {"anonymous": {"enabled": True}},
    "backends": [{"name": "trino-1", "engine": "trino", "url": "http://127.0.0.1:18998"}],
    "governance": "off",
}


def decisions(report: Report, rounds: int) -> None:
    """TPC-H and TPC-DS style statements, decided `rounds` times cold and ten times as often warm."""
    asyncio.run(_decisions(report, rounds))


async def _decisions(report: Report, rounds: int) -> None:
    with TemporaryDirectory() as folder:
        config = Path(folder) / "gateway.yaml"
        config.write_text(json.dumps(_SETTINGS))
        settings = load_settings(config)
        snapshot = Snapshot([*snapshot_parts(settings), Catalogue()])
        limits = build.decider_limits(settings)

        def decider() -> Decider:
            return Decider(SnapshotHolder(snapshot), STAGES, _nobody_asks, limits)

        statements = {
            "decide, TPC-H": _statements(sorted(_TPCH.glob("*.sql")), "tpch"),
            "decide, TPC-DS style": _statements(sorted((_HERE / "statements").glob("*.sql")), "tpcds"),
        }
        for work, texts in statements.items():
            if not texts:
                report.lacks(work, "its statements are not in this checkout")
                continue
            cold = [await _timed(decider(), text) for _ in range(rounds) for text in texts]
            warmed = decider()
            for text in texts:
                await warmed.decide(text, _WHO)
            warm = [await _timed(warmed, text) for _ in range(rounds * 10) for text in texts]
            _tell(report, work, "cold", cold)
            _tell(report, work, "warm", warm)
        one = decider()
        moving = [await _timed(one, text) for text in _dashboards(rounds * 20)]
        _tell(report, "decide, moving literals", "", moving)


_WHO = Principal("bench", frozenset({"analysts"}), (("region", "west"),), "password")


def _statements(paths: Sequence[Path], catalog: str) -> list[Statement]:
    """As they arrive: equal values, but never the same object twice."""
    return [Statement(path.read_text().strip(), Wire.TRINO, catalog, "sf1") for path in paths]


def _dashboards(count: int) -> list[Statement]:
    start = dt.datetime(2026, 1, 1)
    found = []
    for turn in range(count):
        begin = start + dt.timedelta(minutes=5 * turn)
        end = begin + dt.timedelta(hours=6)
        text = _DASHBOARD.format(start=begin, end=end, least=turn % 97)
        found.append(Statement(text, Wire.TRINO, "lake", "curated"))
    return found


async def _timed(decider: Decider, statement: Statement) -> float:
    """Microseconds."""
    began = time.perf_counter()
    decided = await decider.decide(statement, _WHO)
    took = time.perf_counter() - began
    _check(decided)
    return took * 1e6


def _check(decided: Decided) -> None:
    if not hasattr(decided.decision, "backends"):
        raise RuntimeError(f"the benchmark's own statement was not planned: {decided.decision}")


def _tell(report: Report, work: str, state: str, took: list[float]) -> None:
    if report.value(work, MACHINE, LOAD) is None:
        report.note_load(work)
    ordered = sorted(took)
    word = f"{state} " if state else ""
    report.add(work, GATEWAY, f"{word}p50", ordered[len(ordered) // 2], "us")
    report.add(work, GATEWAY, f"{word}p99", ordered[int(0.99 * len(ordered))], "us")


async def _nobody_asks(probe: Probe[Any], _snapshot: Snapshot) -> Any:
    raise RuntimeError(f"without policies and rollups nothing has to be asked, but: {probe.describe()}")
