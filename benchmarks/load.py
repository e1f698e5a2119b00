"""Busy connections: requests a second, and what one costs the proxy in CPU."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence

from benchmarks.client import BadAnswer, Turn, flood, request
from benchmarks.processes import cpu_seconds, tree
from benchmarks.report import Report
from benchmarks.targets import GATEWAY, Target
from gateway.wire.http.loop import loop_factory

_NEXT = re.compile(rb'"nextUri" ?: ?"https?://[^/"]+(/[^"]+)"')

MakeTurn = Callable[[Target, int], Turn]
"""The requests of one run on a target: `count` of them."""


def clickhouse_turn(target: Target, count: int) -> Turn:
    """`SELECT 1`, over and over."""
    wire = request("POST", "/", target, b"SELECT 1")
    left = iter(range(count))
    return lambda _: None if next(left, None) is None else wire


def trino_turn(target: Target, count: int) -> Turn:
    """POST a statement and DELETE it, in turn; `count` pairs. Nothing piles up on the engine."""
    wire = request("POST", "/v1/statement", target, b"SELECT 1")
    left = iter(range(count))

    def turn(answer: bytes) -> bytes | None:
        path = next_uri(answer)
        if path is not None:
            return request("DELETE", path, target)
        if answer.startswith(b"HTTP/1.1 200"):
            raise BadAnswer(f"{target.name} registered nothing: {answer[-300:]!r}")
        return None if next(left, None) is None else wire

    return turn


def next_uri(page: bytes) -> str | None:
    """The path of the first `nextUri` in these bytes."""
    found = _NEXT.search(page)
    return None if found is None else found[1].decode()


def busy(
    report: Report,
    work: str,
    make: MakeTurn,
    targets: Sequence[Target],
    counts: dict[str, int],
    connections: int,
) -> None:
    """One run on each target; `counts` is how many requests each gets (its name, or "")."""
    report.note_load(work)
    for target in targets:
        count = counts.get(target.name, counts[""])
        try:
            _run(target, make(target, max(connections, count // 10)), connections)  # warm
            rate, cpu_us = _measured(target, make(target, count), connections, count)
        except (BadAnswer, OSError, TimeoutError) as error:
            report.lacks(f"{work} on {target.name}", str(error) or "no answer in time")
            continue
        report.add(work, target.name, "rate", rate, "1/s")
        if cpu_us is not None:
            report.add(work, target.name, "proxy CPU a request", cpu_us, "us")


def two_processes(report: Report, one: Target, two: Target, count: int, connections: int) -> None:
    """What a request costs with one proxy process and with two, which should be the same."""
    work = "one and two proxies"
    report.note_load(work)
    costs = []
    for words, target in (("one process", one), ("two processes", two)):
        try:
            _run(target, clickhouse_turn(target, count // 10), connections)
            rate, cpu_us = _measured(target, clickhouse_turn(target, count), connections, count)
        except (BadAnswer, OSError, TimeoutError) as error:
            report.lacks(f"{work}: {words}", str(error) or "no answer in time")
            return
        report.add(work, GATEWAY, f"rate, {words}", rate, "1/s")
        costs.append(cpu_us or 0.0)
        report.add(work, GATEWAY, f"requests a CPU second, {words}", 1e6 / (cpu_us or 1.0), "1/s")
    report.add(work, GATEWAY, "two against one, a CPU second", costs[0] / (costs[1] or 1.0), "x")


def _measured(target: Target, turn: Turn, connections: int, count: int) -> tuple[float, float | None]:
    """(requests a second, microseconds of CPU of the proxy for each)."""
    pids = tree(target.pid) if target.pid is not None else []
    before = cpu_seconds(pids)
    seconds = _run(target, turn, connections)
    used = cpu_seconds(pids) - before
    return count / seconds, used / count * 1e6 if pids else None


def _run(target: Target, turn: Turn, connections: int) -> float:
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(flood(target, turn, connections))
