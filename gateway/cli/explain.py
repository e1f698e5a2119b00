"""`gateway explain`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from gateway.admin.explain import explained
from gateway.cli.common import (
    DEFAULT_CONFIG,
    FAILED,
    ConfigOption,
    JsonOption,
    fail,
    print_json,
    settings_or_exit,
    show_facts,
    show_trail,
)
from gateway.core.decision import Refusal
from gateway.core.statement import Wire


def explain(
    sql: Annotated[str, typer.Argument(help="The statement.")],
    as_user: Annotated[str, typer.Option("--as", help="The principal; its groups come from the user files.")],
    wire: Annotated[Wire, typer.Option(help="The protocol, which is the dialect.")] = Wire.TRINO,
    group: Annotated[
        list[str] | None, typer.Option(help="A group of the principal; may be repeated.")
    ] = None,
    catalog: Annotated[str | None, typer.Option(help="Default catalog (Trino).")] = None,
    schema: Annotated[str | None, typer.Option(help="Default schema or database.")] = None,
    source: Annotated[str | None, typer.Option(help="What the client calls itself.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show what would be decided about a statement, and why, without running it.

    Works from the settings alone; nothing needs to be running. Exits 0 for what would run, 1 for a refusal.
    """
    from gateway.core.statement import Statement
    from gateway.runtime.explain import ExplainFailed, explain_offline

    settings = settings_or_exit(config)
    statement = Statement(sql, wire, catalog=catalog, schema=schema, source=source)
    try:
        decision = asyncio.run(explain_offline(settings, statement, as_user, frozenset(group or ())))
    except ExplainFailed as error:
        fail(str(error))
    shown = asdict(explained(decision))
    if as_json:
        print_json(shown)
    else:
        trail = shown.pop("trail")
        show_facts(shown)
        show_trail(trail)
    if isinstance(decision, Refusal):
        raise typer.Exit(FAILED)
