"""Big results: throughput against direct, and how much memory the proxy takes for them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from urllib.parse import quote

from benchmarks.client import BadAnswer, Connection, request
from benchmarks.latency import Once
from benchmarks.load import next_uri
from benchmarks.processes import cpu_seconds, peak_mb, reset_peak, resident_mb, settled_tree
from benchmarks.report import Report
from benchmarks.targets import Target

Stream = Callable[[Connection, int], float]
"""Fetches a result of at least so many MB (10^6 bytes); returns MB a second."""
_ROW = 1000


def clickhouse_rowbinary(connection: Connection, megabytes: int) -> float:
    """UInt64 numbers as RowBinary."""
    rows = megabytes * 1_000_000 // 8
    path = "/?query=" + quote(f"SELECT number FROM system.numbers LIMIT {rows} FORMAT RowBinary")
    size, seconds = connection.drain(request("POST", path, connection.target), rows * 8)
    return size / 1e6 / seconds


def clickhouse_native(connection: Connection, megabytes: int) -> float:
    """The same as Native blocks of 8 MB."""
    rows = megabytes * 1_000_000 // 8
    sql = f"SELECT number FROM system.numbers LIMIT {rows} SETTINGS max_block_size = 1048576 FORMAT Native"
    size, seconds = connection.drain(request("POST", "/?query=" + quote(sql), connection.target), rows * 8)
    return size / 1e6 / seconds


def trino_pages(connection: Connection, megabytes: int) -> float:
    """Long texts, a thousand bytes a row, page after page as a client would ask for them."""
    rows = min(megabytes * 1_000_000 // _ROW, 6_000_000)
    sql = f"SELECT rpad('', {_ROW - 5}, 'lakehouse') AS x FROM tpch.sf1.lineitem LIMIT {rows}"
    began, size = time.perf_counter(), 0
    body = connection.ask(request("POST", "/v1/statement", connection.target, sql.encode()))
    while (path := next_uri(body[:8192])) is not None:
        body = connection.ask(request("GET", path, connection.target))
        size += len(body)
    if size < rows * (_ROW - 5):
        raise BadAnswer(f"{connection.target.name} sent {size} bytes only; the end was {body[-300:]!r}")
    return size / 1e6 / (time.perf_counter() - began)


def stream(
    report: Report,
    work: str,
    fetch: Stream,
    log_in: Once,
    targets: Sequence[Target],
    megabytes: int,
    rounds: int,
) -> None:
    """`rounds` over all targets, direct first. Ratios are to the direct stream of the same round.

    `log_in` is a small request before each: checking a password takes 64 MiB by intention (argon2), which
    must not be taken for the stream's.
    """
    report.note_load(work)
    speeds: dict[str, list[float]] = {}
    costs = {target.name: _Cost(target) for target in targets}
    for _ in range(rounds):
        for target in targets:
            if target.name in speeds and not speeds[target.name]:
                continue
            done = speeds.setdefault(target.name, [])
            try:
                with Connection(target) as connection:
                    log_in(connection)
                    with costs[target.name]:
                        done.append(fetch(connection, megabytes))
            except (BadAnswer, OSError) as error:
                done.clear()
                report.lacks(f"{work} on {target.name}", str(error))
    base = speeds.get(targets[0].name)
    for target in targets:
        done = speeds[target.name]
        if not done:
            continue
        report.add(work, target.name, "throughput", statistics.median(done), "MB/s")
        if base and done is not base:
            ratio = statistics.median(mine / its for mine, its in zip(done, base, strict=True))
            report.add(work, target.name, "against direct", ratio, "x")
        costs[target.name].tell(report, work, megabytes * rounds)


class _Cost:
    """CPU and peak memory of a proxy over the streams between `with` and its end."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._pids = settled_tree(target.pid) if target.pid is not None else []
        # The proxy itself: what its worker does with earlier records at the same time is not the stream's.
        self._serving = self._pids[:1]
        self._idle = resident_mb(self._serving)
        self._peak = self._cpu = self._before = 0.0

    def __enter__(self) -> None:
        reset_peak(self._serving)
        self._before = cpu_seconds(self._pids)

    def __exit__(self, *_: object) -> None:
        self._cpu += cpu_seconds(self._pids) - self._before
        self._peak = max(self._peak, peak_mb(self._serving))

    def tell(self, report: Report, work: str, megabytes: int) -> None:
        """Add the rows; nothing for a target that is no proxy."""
        if self._pids:
            report.add(work, self._target.name, "peak memory over idle", self._peak - self._idle, "MB")
            report.add(work, self._target.name, "proxy CPU a GB", self._cpu / megabytes * 1000, "s")
