"""`gateway audit …`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from gateway.cli.common import (
    DEFAULT_CONFIG,
    FAILED,
    ConfigOption,
    JsonOption,
    err,
    out,
    print_json,
    settings_or_exit,
)

app = typer.Typer(help="The audit record.", no_args_is_help=True)


@app.command()
def verify(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Follow the hash chain of every process's segments to the first broken link, if there is one."""
    from gateway.admin.contract import AuditVerified
    from gateway.store.audit_verify import verify as verify_chain

    report = AuditVerified.of(verify_chain(settings_or_exit(config).audit.directory))
    if as_json:
        print_json(asdict(report))
    elif report.ok:
        out.print(f"{report.records} records of {report.streams} processes, every link holds", style="green")
    for problem in report.problems:
        err.print(
            f"{problem.file}:{problem.line}: {problem.what}: {problem.detail}", style="red", markup=False
        )
    if report.lost:
        err.print(f"{report.lost} records could not be written at the time; the chain says so itself")
    if not report.ok:
        raise typer.Exit(FAILED)
