"""What `gateway top` shows: what runs now, who runs it, and the key to stop it.

On a terminal a live table; into a pipe one table; with `--json` the same as data.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from gateway.admin.pages import duration, size

if TYPE_CHECKING:
    from rich.table import Table

    from gateway.admin.client import AdminClient, Target
    from gateway.admin.contract import LiveQuery

COLUMNS = ("age", "state", "kind", "engine", "backend", "principal", "progress", "rows", "bytes", "id")
BAR_CELLS = 10
_PARTS = " ▏▎▍▌▋▊▉█"


def run_top(target: Target, interval: float = 1.0, *, as_json: bool = False, once: bool = False) -> None:
    """Run until the user leaves; on anything but a terminal print once. Exits 1 if no gateway answers."""
    from gateway.admin.client import AdminClient, AdminRefused, AdminUnreachable

    async def show() -> None:
        async with AdminClient(target) as client:
            if as_json or once or not (sys.stdout.isatty() and sys.stdin.isatty()):
                print_once(await client.queries(), as_json=as_json)
                return
            await client.health()  # An unreachable gateway is said in words, not inside an empty screen.
            await _live_app()(client, interval).run_async()

    try:
        asyncio.run(show())
    except (AdminUnreachable, AdminRefused) as error:
        _fail(str(error), 1)


def _live_app() -> Callable[[AdminClient, float], Any]:
    try:
        from gateway.cli.top_app import TopApp
    except ImportError:
        _fail("the live view needs Textual: install the gateway with the extra `top`, or use --once", 2)
    return TopApp


def print_once(queries: Sequence[LiveQuery], *, as_json: bool) -> None:
    """One table, or JSON, on standard output."""
    if as_json:
        import orjson

        typer.echo(orjson.dumps(list(queries), option=orjson.OPT_INDENT_2).decode())
        return
    from rich.console import Console

    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table_of(queries) if queries else "No query is running.")


def table_of(queries: Iterable[LiveQuery]) -> Table:
    """A table for a terminal or a file."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in ("age", "rows", "bytes") else "left", no_wrap=True)
    for query in queries:
        table.add_row(*(Text(cell) for cell in cells(query)))
    return table


def cells(query: LiveQuery) -> tuple[str, ...]:
    """A query's cells, in the order of COLUMNS; control characters of a client's choosing are left out."""
    shown = (
        duration(query.age_ms) or "",
        query.state,
        query.kind,
        query.engine or query.wire,
        query.backend or "",
        query.principal,
        bar(query.fraction),
        "" if query.rows is None else f"{query.rows:,}",
        size(query.bytes_out) or "",
        query.id,
    )
    return tuple("".join(char for char in cell if char.isprintable()) for cell in shown)


def bar(fraction: float | None) -> str:
    """Progress in ten cells of eighths, and the percentage; empty when it is not known."""
    if fraction is None:
        return ""
    known = min(max(fraction, 0.0), 1.0)
    full, part = divmod(round(known * BAR_CELLS * 8), 8)
    drawn = "█" * full + (_PARTS[part] if full < BAR_CELLS else "")
    return f"{drawn:<{BAR_CELLS}} {known:4.0%}"


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
