"""`gateway audit …`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import typer

from gateway.cli.common import (
    DEFAULT_CONFIG,
    FAILED,
    ConfigOption,
    JsonOption,
    err,
    fail,
    out,
    print_json,
    settings_or_exit,
)
from gateway.settings import Settings
from gateway.store.audit_chain import Link

app = typer.Typer(help="The audit record.", no_args_is_help=True)


@app.command()
def verify(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Follow the hash chain of every process's segments to the first broken link, if there is one.

    Exits 0 when every link holds, 1 otherwise.
    """
    from gateway.admin.contract import AuditVerified
    from gateway.runtime.state import StateDir, StateUnusable, audit_key
    from gateway.store.audit_verify import verify as verify_chain

    settings = settings_or_exit(config)
    if not settings.audit.directory.is_dir():
        fail(f"there is no audit directory {settings.audit.directory}; has this gateway run yet?")
    try:
        key = audit_key(settings, StateDir.at(settings))
    except StateUnusable as error:
        fail(str(error))
    anchors = asyncio.run(_anchors(settings, key))
    report = AuditVerified.of(verify_chain(settings.audit.directory, key=key, anchors=anchors))
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


async def _anchors(settings: Settings, key: bytes) -> list[tuple[str, Link]]:
    """What the store remembers of the chain, so that a replaced directory shows too; none without a store."""
    from sqlalchemy.exc import SQLAlchemyError

    from gateway.runtime.stores import store_url
    from gateway.store.audit_ingest import AuditIngest
    from gateway.store.migrate import SchemaError
    from gateway.store.store import Store

    try:
        store = await Store.open(store_url(settings), migrate=False)
    except (SQLAlchemyError, OSError, SchemaError) as error:
        err.print(
            f"the store is not readable ({type(error).__name__}); checking the files alone", style="yellow"
        )
        return []
    try:
        return await AuditIngest(store, settings.audit.directory, key=key).anchors()
    finally:
        await store.close()
