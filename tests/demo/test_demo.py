"""`gateway demo` as a newcomer starts it: ready soon, the tour as it should be, nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.demo.tour import STEPS
from tests.end_to_end.gateway_server import free_port

pytestmark = pytest.mark.xdist_group("demo")

READY_S, TOUR_S, STOP_S = 90.0, 180.0, 30.0


@dataclass
class DemoRun:
    """`gateway demo …` in a process, and a folder for its temporary files, of its own."""

    temporary: Path
    arguments: tuple[str, ...] = ()
    ports: tuple[int, int, int] = field(default_factory=lambda: (free_port(), free_port(), free_port()))
    lines: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None

    def start(self) -> DemoRun:
        trino, clickhouse, metrics = map(str, self.ports)
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gateway", "demo", *self.arguments),
                *("--trino-port", trino, "--clickhouse-port", clickhouse, "--metrics-port", metrics),
            ],
            env={**os.environ, "TMPDIR": str(self.temporary), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        self.lines.extend(line.rstrip() for line in self.process.stdout)

    def until_ready(self) -> DemoRun:
        deadline = time.monotonic() + READY_S
        while not any("Ctrl-C ends it" in line for line in self.lines):
            assert self.process is not None
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.1)
        return self

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def processes(self) -> dict[int, str]:
        """The demo's own process and all below it."""
        assert self.process is not None
        parents: dict[int, int] = {}
        words: dict[int, str] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                state, parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:2]
                words[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
            if state != "Z":
                parents[int(folder.name)] = int(parent)
        family = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= more
        return {pid: words[pid] for pid in family if pid in parents}

    def clickhouse(self, sql: str, port: int | None = None) -> str:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port or self.ports[1]}/?database=market",
            data=sql.encode(),
            headers={"X-ClickHouse-User": "anna", "X-ClickHouse-Key": "anna-demo"},
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            return str(reply.read().decode())

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def temporaries(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def tour(*arguments: str, temporary: Path) -> tuple[int, Any, str]:
    """(exit code, what it printed as JSON, what it said beside it)."""
    ports = [str(free_port()) for _ in range(3)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "gateway", "demo", "--check", "--json", *arguments),
            *("--trino-port", ports[0], "--clickhouse-port", ports[1], "--metrics-port", ports[2]),
        ],
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=TOUR_S,
        check=False,
    )
    return done.returncode, json.loads(done.stdout or "null"), done.stderr


def as_it_should_be(code: int, report: Any, said: str) -> None:
    assert code == 0, (report, said)
    assert report["ok"] is True
    assert [(s["wire"], s["step"]) for s in report["steps"]] == [(s.wire, s.name) for s in STEPS]
    assert all(step["ok"] and step["detail"] for step in report["steps"]), report
    assert {step["wire"] for step in report["steps"]} >= {"trino", "clickhouse"}


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files; pytest's own are too deep for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="gw-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def demo() -> Iterator[DemoRun]:
    with tempfile.TemporaryDirectory(prefix="gw-", dir="/tmp") as folder:
        running = DemoRun(Path(folder)).start()
        yield running.until_ready()
        running.end()


def test_the_tour_on_embedded_engines(temporary: Path) -> None:
    as_it_should_be(*tour(temporary=temporary))
    assert temporaries(temporary) == []


@pytest.mark.real
def test_the_tour_on_real_engines(temporary: Path) -> None:
    as_it_should_be(*tour("--real", temporary=temporary))
    assert temporaries(temporary) == []


def test_it_prints_end_points_users_and_lines_to_paste(demo: DemoRun) -> None:
    trino, clickhouse, metrics = demo.ports
    for what in (
        f"http://127.0.0.1:{trino} ",
        f"http://127.0.0.1:{clickhouse} ",
        f"http://127.0.0.1:{metrics}/metrics",
        "anna-demo",
        "jdbc:trino://",
        "import trino",
        "import clickhouse_connect",
        "type: trino",
        "gateway top",
    ):
        assert what in demo.text


def test_the_printed_lines_work_when_pasted(demo: DemoRun) -> None:
    curl = next(line for line in demo.lines if line.startswith("curl") and "PrettyCompact" in line)
    assert "NP15" in shell(curl)
    for start in ("import trino", "import clickhouse_connect"):
        line = next(line for line in demo.lines if line.startswith(start))
        *imports, expression = line.split("; ", 1)
        assert "NP15" in subprocess.run(
            [sys.executable, "-c", f"{'; '.join(imports)}; print({expression})"],
            capture_output=True, text=True, timeout=60, check=True,
        ).stdout  # fmt: skip
    watch = next(line for line in demo.lines if "gateway top" in line)
    assert "No query is running." in shell(f"{watch} --once")


def test_the_demo_has_a_history(demo: DemoRun) -> None:
    demo.clickhouse("SELECT number FROM numbers(1234)")
    watch = next(line for line in demo.lines if "gateway top" in line)
    history = watch.replace("gateway top", "gateway queries history")
    deadline = time.monotonic() + 30
    while "1,234" not in shell(history):
        assert time.monotonic() < deadline
        time.sleep(0.3)


def shell(line: str) -> str:
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=True).stdout


def ended_without_a_trace(running: DemoRun, number: signal.Signals) -> None:
    family = running.processes()
    assert any("gateway.engines.duckdb" in words for words in family.values())
    assert any("gateway.engines.chdb" in words for words in family.values())
    assert temporaries(running.temporary) != []
    assert running.end(number) == 0, running.text
    assert temporaries(running.temporary) == []
    assert {pid: words for pid, words in family.items() if _is(pid, words)} == {}


def test_a_taken_port_is_replaced_and_said_so_and_ctrl_c_leaves_nothing(temporary: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = DemoRun(temporary, ("--scale", "0.1"), (free_port(), port, free_port())).start()
        try:
            running.until_ready()
            (found,) = map(int, re.findall(rf"port {port} is taken; using (\d+)", running.text))
            assert running.clickhouse("SELECT 1", found) == "1\n"
            ended_without_a_trace(running, signal.SIGINT)
        finally:
            running.end()
    for used in (running.ports[0], found, running.ports[2]):
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", used), 1):
            pass


def test_scale_gives_more_market_and_sigterm_leaves_nothing(demo: DemoRun, temporary: Path) -> None:
    small = DemoRun(temporary, ("--scale", "0.2")).start()
    try:
        small.until_ready()
        counts = [int(run.clickhouse("SELECT count() FROM lmp_5min")) for run in (small, demo)]
        assert 0 < counts[0] * 3 < counts[1]
        ended_without_a_trace(small, signal.SIGTERM)
    finally:
        small.end()


def _is(pid: int, words: str) -> bool:
    """Whether that very process still runs; its id may be another's by now, and the dead may wait unburied."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") == words
    except OSError:
        return False
