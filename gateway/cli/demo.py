"""`gateway demo`."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from gateway.cli.common import FAILED, JsonOption, err, fail, out, print_json

if TYPE_CHECKING:
    from gateway.demo.run import Demo, DemoOptions
    from gateway.demo.tour import Outcome


def demo(
    check: Annotated[
        bool, typer.Option("--check", help="Run a tour with the public clients, then leave.")
    ] = False,
    real: Annotated[bool, typer.Option("--real", help="On a real Trino and ClickHouse.")] = False,
    scale: Annotated[float, typer.Option(min=0.1, max=100, help="How much market: 1 is a few days.")] = 1.0,
    trino_port: Annotated[int, typer.Option(help="Preferred port of the Trino wire.")] = 8080,
    clickhouse_port: Annotated[int, typer.Option(help="Preferred port of the ClickHouse wire.")] = 8123,
    metrics_port: Annotated[int, typer.Option(help="Preferred port of the metrics.")] = 9090,
    as_json: JsonOption = False,
) -> None:
    """Serve a small energy market on both wires: prices, weather, load, trades. Ctrl-C leaves nothing behind."""
    try:
        from gateway.demo.run import DemoOptions
        from gateway.telemetry import logs
        from gateway.wire.http import loop
    except ImportError as error:
        fail(
            f"the demo needs the extra `embedded` ({error.name} is missing): pip install 'lakehouse-gateway[embedded]'"
        )
    logs.configure(level="warning", style="console")
    options = DemoOptions(scale, real, trino_port, clickhouse_port, metrics_port)
    with asyncio.Runner(loop_factory=loop.loop_factory()) as runner:
        code = runner.run(_demo(options, check=check, as_json=as_json))
    raise typer.Exit(code)


async def _demo(options: DemoOptions, *, check: bool, as_json: bool) -> int:
    from gateway.demo.real import EngineFailed
    from gateway.demo.run import running_demo, since
    from gateway.demo.toolbox import ToolMissing
    from gateway.engines.contract import EngineError
    from gateway.engines.embedded import EmbeddedFailed

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    started = time.monotonic()
    try:
        async with running_demo(options, lambda line: err.print(line, style="dim")) as running:
            if not as_json:
                _introduce(running, since(started))
            if check:
                return await _tour(running, as_json)
            await stop.wait()
            err.print("stopping", style="dim")
            return 0
    except (EmbeddedFailed, EngineFailed, EngineError, ToolMissing, OSError) as error:
        fail(f"the demo could not start: {error}")


async def _tour(running: Demo, as_json: bool) -> int:
    from gateway.demo.tour import STEPS, run_step

    outcomes: list[Outcome] = []
    table = Table("", "wire", "step", "what was seen", "time", title="the tour", title_justify="left")
    for step in STEPS:
        outcome = await asyncio.to_thread(run_step, step, running.doors)
        outcomes.append(outcome)
        mark = "[green]✓[/]" if outcome.ok else "[red]✗[/]"
        table.add_row(mark, step.wire, step.name, outcome.detail, f"{outcome.seconds:.2f} s")
    failed = sum(not outcome.ok for outcome in outcomes)
    if as_json:
        print_json({"ok": failed == 0, "steps": [outcome.as_dict() for outcome in outcomes]})
    else:
        out.print(table)
        out.print(f"{len(outcomes) - failed} of {len(outcomes)} steps as they should be")
    return FAILED if failed else 0


def _introduce(running: Demo, took: str) -> None:
    from gateway.demo.run import USERS

    doors = running.doors
    ends = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    ends.add_row("Trino wire", f"http://{doors.host}:{doors.trino_port}", f"{doors.catalog}.{doors.schema}")
    ends.add_row("ClickHouse wire", f"http://{doors.host}:{doors.clickhouse_port}", doors.schema)
    ends.add_row("metrics", f"http://{doors.host}:{running.metrics_port}/metrics", "")
    out.print(f"[bold]ready[/] after {took}\n")
    out.print(ends)
    people = Table("user", "password", "groups", "who")
    for user in USERS:
        people.add_row(user.name, user.password, ", ".join(user.groups), user.what)
    out.print(people)
    out.print("paste into another terminal:\n")
    for title, lines in _pastes(running):
        out.print(f"# {title}", style="dim", markup=False, highlight=False)
        out.print(f"{lines}\n", markup=False, highlight=False)
    out.print("Ctrl-C ends it and leaves nothing behind.", style="dim")


def _pastes(running: Demo) -> list[tuple[str, str]]:
    doors = running.doors
    at, sql = f"{doors.host}:{doors.trino_port}", "SELECT hub, max(lmp) FROM lmp_5min GROUP BY hub"
    context = f"-H 'X-Trino-Catalog: {doors.catalog}' -H 'X-Trino-Schema: {doors.schema}'"
    return [
        (
            "curl, ClickHouse wire",
            f"curl -u anna:anna-demo 'http://{doors.host}:{doors.clickhouse_port}/?database={doors.schema}' "
            f"-d '{sql} FORMAT PrettyCompact'",
        ),
        (
            "curl, Trino wire (follow nextUri)",
            f"curl -u anna:anna-demo {context} http://{at}/v1/statement -d '{sql}'",
        ),
        (
            "Trino CLI",
            f"trino --server http://{at} --user anna --catalog {doors.catalog} --schema {doors.schema}",
        ),
        ("JDBC", f"jdbc:trino://{at}/{doors.catalog}/{doors.schema}?user=anna"),
        (
            "Python, Trino wire",
            f"import trino; trino.dbapi.connect(host='{doors.host}', port={doors.trino_port}, user='anna', "
            f"catalog='{doors.catalog}', schema='{doors.schema}').cursor().execute('{sql}').fetchall()",
        ),
        (
            "Python, ClickHouse wire",
            f"import clickhouse_connect as c; c.get_client(host='{doors.host}', port={doors.clickhouse_port}, "
            f"username='anna', password='anna-demo', database='{doors.schema}').query_df('{sql}')",
        ),
        (
            "dbt profile",
            f"{{type: trino, method: none, host: {doors.host}, port: {doors.trino_port}, user: anna, "
            f"database: {doors.catalog}, schema: {doors.schema}}}",
        ),
        ("watch it", f"{_ourselves()} top --admin {running.directory}/admin.sock"),
    ]


def _ourselves() -> str:
    """How to call this program: `make demo` runs it from an environment that is not on the path."""
    return "gateway" if shutil.which("gateway") else f"{sys.executable} -m gateway"
