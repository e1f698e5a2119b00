"""`gateway audit …`."""

from __future__ import annotations

import typer

from gateway.cli.common import (
    DEFAULT_CONFIG,
    FAILED,
    ConfigOption,
    JsonOption,
    out,
    print_json,
    settings_or_exit,
)

app = typer.Typer(help="The audit record.", no_args_is_help=True)


@app.command()
def verify(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Follow the hash chain of every process's segments to the first broken link, if there is one."""
    from gateway.store.audit_verify import verify as verify_chain

    report = verify_chain(settings_or_exit(config).audit.directory)
    print_json(report) if as_json else out.print(str(report), markup=False, highlight=False)
    if not report.ok:
        raise typer.Exit(FAILED)
