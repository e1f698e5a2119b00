"""Small requests, one at a time: every target in turn, so that each pair saw the same machine."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence

from benchmarks.client import BadAnswer, Connection, request
from benchmarks.report import Report
from benchmarks.targets import Target

Once = Callable[[Connection], float]
"""Does the work once on a connection; returns the seconds that count."""


def clickhouse_small(connection: Connection) -> float:
    """POST `SELECT 1`."""
    wire = request("POST", "/", connection.target, b"SELECT 1")
    began = time.perf_counter()
    body = connection.ask(wire)
    took = time.perf_counter() - began
    if body != b"1\n":
        raise BadAnswer(f"{connection.target.name} answered {body[:200]!r}")
    return took


def trino_post(connection: Connection) -> float:
    """POST a statement; taking it back again does not count."""
    wire = request("POST", "/v1/statement", connection.target, b"SELECT 1")
    began = time.perf_counter()
    body = connection.ask(wire)
    took = time.perf_counter() - began
    connection.ask(request("DELETE", next_path(json.loads(body)) or "", connection.target), b"204")
    return took


def trino_query(connection: Connection) -> float:
    """`SELECT 1` from the POST to the last page."""
    wire = request("POST", "/v1/statement", connection.target, b"SELECT 1")
    began = time.perf_counter()
    page = json.loads(connection.ask(wire))
    while (path := next_path(page)) is not None:
        page = json.loads(connection.ask(request("GET", path, connection.target)))
    took = time.perf_counter() - began
    if "error" in page:
        raise BadAnswer(f"{connection.target.name} answered {page['error']['message'][:200]}")
    return took


def next_path(page: dict[str, object]) -> str | None:
    """The path of the page's `nextUri`; every target is asked at its own address."""
    uri = page.get("nextUri")
    return None if uri is None else "/" + str(uri).split("/", 3)[3]


def paired(report: Report, work: str, once: Once, targets: Sequence[Target], count: int) -> None:
    """`count` rounds over all targets, the first being direct: p50, p99 and the median of paired differences."""
    report.note_load(work)
    connections = {}
    for target in targets:
        try:
            connections[target.name] = connection = Connection(target)
            for _ in range(max(5, count // 10)):
                once(connection)
        except (BadAnswer, OSError) as error:
            connections.pop(target.name, None)
            report.lacks(f"{work} on {target.name}", str(error))
    times: dict[str, list[float]] = {name: [] for name in connections}
    for _ in range(count):
        for name, connection in connections.items():
            times[name].append(once(connection) * 1e3)
    for connection in connections.values():
        connection.close()
    base = times.get(targets[0].name)
    for name, took in times.items():
        ordered = sorted(took)
        report.add(work, name, "p50", ordered[len(ordered) // 2], "ms")
        report.add(work, name, "p99", ordered[int(0.99 * len(ordered))], "ms")
        if base is not None and took is not base:
            added = statistics.median(mine - its for mine, its in zip(took, base, strict=True))
            report.add(work, name, "added p50 (pairs)", added, "ms")
