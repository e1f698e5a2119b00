"""`python -m benchmarks`: direct, gateway and peers in one run, on the same requests."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from benchmarks import chart, decisions, latency, load, streams
from benchmarks.report import Report, show
from benchmarks.targets import TARGETS, TRINO_GATEWAY, Stage, Target, Wanted, stage
from gateway.demo.real import EngineFailed
from gateway.demo.toolbox import ToolMissing

WORKS = ("ch-small", "trino-post", "trino-query", "rate", "stream", "decide", "workers")


@dataclass(frozen=True, slots=True)
class Size:
    """How much of each work is done."""

    small: int
    posts: int
    queries: int
    clickhouse_load: int
    trino_load: int
    clickhouse_mb: int
    trino_mb: int
    rounds: int
    decide_rounds: int


FULL = Size(4000, 1000, 300, 12_000, 3000, 1000, 1000, 5, 30)
QUICK = Size(800, 150, 40, 3000, 600, 300, 100, 1, 5)
SMOKE = Size(50, 20, 5, 300, 60, 20, 10, 1, 1)


def main() -> int:
    options = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(stderr=options.json, width=None if sys.stdout.isatty() else 180)
    report = Report(quick=options.quick or options.smoke)
    works = [work for work in WORKS if work in (options.only or WORKS)]
    began = time.monotonic()
    try:
        _measure(report, works, options, lambda text: _say(console, began, text))
    except (EngineFailed, ToolMissing) as error:
        print(f"error: {error}\nwhat to do: make setup ARGS='--only bench', then again", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what was measured so far:", file=sys.stderr)
    show(report, console, TARGETS)
    if options.json:
        for row in report.rows:
            print(json.dumps(asdict(row)))
    if report.rows and not options.smoke:
        path = report.save()
        chart.write(report, path.with_suffix(".svg"))
        console.print(f"{time.monotonic() - began:.0f} s; written: {path}", highlight=False)
    return 0


def _say(console: Console, began: float, text: str) -> None:
    load_now = os.getloadavg()[0]
    console.print(
        f"[dim]{time.monotonic() - began:5.0f} s  load {load_now:4.1f}  {text}[/dim]", highlight=False
    )


def _measure(
    report: Report, works: list[str], options: argparse.Namespace, say: Callable[[str], None]
) -> None:
    size = SMOKE if options.smoke else QUICK if options.quick else FULL
    if "decide" in works:
        say("decide")
        decisions.decisions(report, size.decide_rounds)
    wanted = _wanted(options, works)
    if not (wanted.trino or wanted.clickhouse):
        return
    with stage(wanted, say) as up:
        for what, why in up.missing:
            report.lacks(what, why)
        steps: dict[str, Callable[[], None]] = {
            "ch-small": lambda: _one_by_one(report, up.clickhouse, "ch-small", size.small),
            "trino-post": lambda: _one_by_one(report, up.trino, "trino-post", size.posts),
            "trino-query": lambda: _one_by_one(report, up.trino, "trino-query", size.queries),
            "rate": lambda: _rates(report, up, size),
            "stream": lambda: _streams(report, up, size, options.big),
            "workers": lambda: _workers(report, up, size),
        }
        for work in works:
            if work in steps:
                say(work)
                steps[work]()


def _wanted(options: argparse.Namespace, works: list[str]) -> Wanted:
    asked = set(works)
    return Wanted(
        engines=options.engines,
        chproxy=options.chproxy,
        trino=options.wire != "clickhouse" and bool(asked & {"trino-post", "trino-query", "rate", "stream"}),
        clickhouse=options.wire != "trino" and bool(asked & {"ch-small", "workers", "rate", "stream"}),
        trino_gateway=not options.no_trino_gateway,
    )


_ONCE = {
    "ch-small": latency.clickhouse_small,
    "trino-post": latency.trino_post,
    "trino-query": latency.trino_query,
}


def _one_by_one(report: Report, targets: list[Target], work: str, count: int) -> None:
    if targets:
        latency.paired(report, work, _ONCE[work], targets, count)


def _rates(report: Report, up: Stage, size: Size) -> None:
    for connections in (8, 32):
        if up.clickhouse:
            counts = {"": size.clickhouse_load}
            work = f"ch-small, {connections} connections"
            load.busy(report, work, load.clickhouse_turn, up.clickhouse, counts, connections)
        if up.trino:
            counts = {"": size.trino_load, TRINO_GATEWAY: max(32, size.trino_load // 10)}
            work = f"trino-post and delete, {connections} connections"
            load.busy(report, work, load.trino_turn, up.trino, counts, connections)


def _streams(report: Report, up: Stage, size: Size, big: bool) -> None:
    rounds = 1 if big else size.rounds
    megabytes = 10_000 if big else size.clickhouse_mb
    if up.clickhouse:
        for name, fetch in (
            ("RowBinary", streams.clickhouse_rowbinary),
            ("Native", streams.clickhouse_native),
        ):
            work = f"ch-stream {name} {megabytes / 1000:g} GB"
            streams.stream(report, work, fetch, _ONCE["ch-small"], up.clickhouse, megabytes, rounds)
    if up.trino:
        megabytes = min(6000, megabytes) if big else size.trino_mb
        work = f"trino-stream {megabytes / 1000:g} GB"
        fetch = streams.trino_pages
        streams.stream(report, work, fetch, _ONCE["trino-post"], up.trino, megabytes, min(rounds, 3))


def _workers(report: Report, up: Stage, size: Size) -> None:
    _, two = up.gateway(workers=2)
    if two is not None:
        load.two_processes(report, up.clickhouse[1], two, size.clickhouse_load, 32)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes; figures are rougher")
    parser.add_argument("--smoke", action="store_true", help="only whether it runs; nothing is written")
    parser.add_argument("--big", action="store_true", help="10 GB streams (Trino 6 GB)")
    parser.add_argument("--only", nargs="+", choices=WORKS, metavar="WORK", help=f"of {', '.join(WORKS)}")
    parser.add_argument("--wire", choices=("trino", "clickhouse"), help="leave the other engine out")
    parser.add_argument("--chproxy", type=Path, metavar="PATH", help="a checkout of chproxy; built with Go")
    parser.add_argument("--no-trino-gateway", action="store_true", help="leave this peer out")
    parser.add_argument(
        "--engines", type=Path, metavar="DIR", help="use engines that scripts/engines.py keeps up"
    )
    parser.add_argument("--json", action="store_true", help="rows on standard output, the table on the other")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
