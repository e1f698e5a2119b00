"""The `gateway` command. One file a group; everything that is live goes through the admin API."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway import __version__
from gateway.cli import audit, check, config, demo, explain, live, serve, users

app = typer.Typer(
    name="gateway",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(serve.serve)
app.command()(demo.demo)
app.command()(check.check)
app.command()(explain.explain)
app.command()(live.top)
app.command()(live.reload)
app.add_typer(live.backends, name="backends")
app.add_typer(live.queries, name="queries")
app.add_typer(config.app, name="config")
app.add_typer(users.app, name="users")
app.add_typer(audit.app, name="audit")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A SQL gateway in front of Trino and ClickHouse.

    `gateway demo` shows it; `gateway config init`, `check`, `serve` run it in front of your own engines.
    """


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Entry point of the `gateway` command."""
    app()
