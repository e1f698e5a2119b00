"""Commands about a running gateway; all of them use its admin API."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.text import Text

from gateway.admin.client import AdminClient, AdminRefused, AdminUnreachable, SyncAdminClient, Target
from gateway.admin.contract import BackendState
from gateway.cli.common import (
    DEFAULT_CONFIG,
    USAGE,
    ConfigOption,
    JsonOption,
    fail,
    out,
    print_json,
    settings_or_exit,
    show_facts,
    show_trail,
    table_of,
)

T = TypeVar("T")

BackendArgument = Annotated[str, typer.Argument(help="Its name; `gateway backends list` shows them.")]
QueryArgument = Annotated[str, typer.Argument(help="The gateway's id of the query, or the engine's.")]
UrlOption = Annotated[
    str | None,
    typer.Option("--admin", envvar="GATEWAY_ADMIN", help="Admin URL or socket path; default: the settings'."),
]
TOKEN_VARIABLE = "GATEWAY_ADMIN_TOKEN"  # noqa: S105 - the name of a variable
backends = typer.Typer(help="The engines behind the gateway.", no_args_is_help=True)
queries = typer.Typer(help="Running and past queries.", no_args_is_help=True)


def target(config: Path, admin: str | None) -> Target:
    """Where the admin API is: as given, else the socket or port of the settings."""
    token = os.environ.get(TOKEN_VARIABLE)
    if admin is not None:
        try:
            return Target(url=admin, token=token) if "://" in admin else Target(socket=Path(admin))
        except ValueError as error:
            fail(f"--admin: {error}", USAGE)
    chosen = settings_or_exit(config).admin
    if chosen.socket is not None:
        return Target(socket=chosen.socket)
    if chosen.port is not None:
        known = token or (chosen.token.reveal() if chosen.token is not None else None)
        return Target(url=f"http://{chosen.host}:{chosen.port}", token=known)
    fail("the settings open no admin API; set admin.socket (or admin.port and admin.token)")


def ask(config: Path, admin: str | None, call: Callable[[AdminClient], Coroutine[Any, Any, T]]) -> T:
    """One call of the admin API, or its refusal in words."""
    try:
        with SyncAdminClient(target(config, admin)) as client:
            return client.run(call(client.client))
    except (AdminUnreachable, AdminRefused) as error:
        fail(str(error))


def top(
    config: ConfigOption = DEFAULT_CONFIG,
    admin: UrlOption = None,
    interval: Annotated[float, typer.Option(min=0.2, max=60, help="Seconds between refreshes.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print one table and leave.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Watch running queries live, and cancel from there. Prints one table when not on a terminal."""
    from gateway.cli.top import run_top

    run_top(target(config, admin), interval, as_json=as_json, once=once)


def reload(
    config: ConfigOption = DEFAULT_CONFIG, admin: UrlOption = None, as_json: JsonOption = False
) -> None:
    """Take up changed settings and rules now; mistakes change nothing."""
    done = ask(config, admin, lambda client: client.reload())
    if as_json:
        print_json(asdict(done))
    elif done.active:
        out.print("reloaded", style="green")
    if not done.active:
        fail("not reloaded, the last good settings stay:\n" + "\n".join(done.problems))


@backends.command(name="list")
def list_backends(
    config: ConfigOption = DEFAULT_CONFIG, admin: UrlOption = None, as_json: JsonOption = False
) -> None:
    """Show every backend: health, load, drain."""
    _show_backends(ask(config, admin, lambda client: client.backends()), as_json)


@backends.command()
def drain(
    name: BackendArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    admin: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a backend nothing new; what runs on it finishes. Ends with a restart or `undrain`."""
    _show_backends([ask(config, admin, lambda client: client.drain(name))], as_json)


@backends.command()
def undrain(
    name: BackendArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    admin: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Use a drained backend again."""
    _show_backends([ask(config, admin, lambda client: client.undrain(name))], as_json)


def _show_backends(states: Any, as_json: bool) -> None:
    found: list[BackendState] = list(states)
    if as_json:
        print_json([asdict(state) for state in found])
        return
    table = table_of(
        "backend", "engine", "group", "state", "running", "version", "problem", whole=["backend"]
    )
    for state in found:
        word = "draining" if state.draining else "up" if state.healthy else "down"
        style = {"up": "green", "down": "red", "draining": "yellow"}[word]
        load = f"{state.running}/{state.limit}" if state.limit else str(state.running)
        row = (state.name, state.engine, state.group, word, load, state.version or "", state.problem or "")
        table.add_row(*(Text(cell, style if cell is word else "") for cell in row))
    out.print(table)


@queries.command(name="history")
def history(
    config: ConfigOption = DEFAULT_CONFIG,
    admin: UrlOption = None,
    user: Annotated[str | None, typer.Option(help="Only this principal's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The most that are shown.")] = 30,
    as_json: JsonOption = False,
) -> None:
    """Show queries, newest first: when, whose, how they ended. `gateway queries show ID` tells the rest."""
    filters = {} if user is None else {"principal": user}
    page = ask(config, admin, lambda client: client.history(limit=limit, **filters))
    if as_json:
        print_json([record.as_dict() for record in page.queries])
        return
    if not page.queries:
        out.print("no queries yet")
        return
    names = ("when", "principal", "wire", "kind", "outcome", "backend", "rows", "ms", "why", "id")
    table = table_of(*names, whole=["id", "when"])
    for q in page.queries:
        row = (
            _local_time(q.time),
            q.principal,
            q.wire,
            q.kind,
            q.outcome or "running",
            q.backend,
            None if q.rows is None else f"{q.rows:,}",
            None if q.total_ms is None else f"{q.total_ms:,.0f}",
            q.rule or q.refusal or q.error_code,
            q.id,
        )
        table.add_row(*(Text(cell or "") for cell in row))
    out.print(table)


def _local_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


@queries.command()
def show(
    query_id: QueryArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    admin: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show everything that is known of one query, its trail included; never its text."""
    known = ask(config, admin, lambda client: client.query(query_id)).as_dict()
    if as_json:
        print_json(known)
        return
    trail = known.pop("trail") or ()
    show_facts(known | {"time": _local_time(known["time"]), "outcome": known["outcome"] or "running"})
    show_trail(trail)


@queries.command()
def cancel(
    query_id: QueryArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    admin: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a running query."""
    done = ask(config, admin, lambda client: client.cancel(query_id))
    if as_json:
        print_json(asdict(done))
    else:
        out.print(f"{done.id}: {done.state}", markup=False, highlight=False)
