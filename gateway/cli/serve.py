"""`gateway serve`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from gateway.cli.common import DEFAULT_CONFIG, USAGE, ConfigOption, fail, settings_or_exit


def serve(
    config: ConfigOption = DEFAULT_CONFIG,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Proxy processes; overrides `server.workers`.")
    ] = None,
    role: Annotated[
        str, typer.Option(help="all, proxy (clients only) or worker (background work only).")
    ] = "all",
) -> None:
    """Serve clients until SIGTERM; running queries then finish within `server.drain_seconds`.

    SIGHUP, or a changed file, reloads; a mistake in it changes nothing and is shown in log and metrics.
    """
    from gateway.engines.embedded import EmbeddedFailed
    from gateway.runtime.host import Role, run_host
    from gateway.runtime.state import StateUnusable
    from gateway.settings import SettingsError
    from gateway.store.audit import AuditUnavailable
    from gateway.telemetry import logs
    from gateway.wire.http import loop

    try:
        chosen = Role(role)
    except ValueError:
        fail(f"--role: expected one of {', '.join(Role)}, found {role!r}", USAGE)
    settings = settings_or_exit(config)
    logs.configure(level=settings.telemetry.log_level, style=settings.telemetry.log_format)
    try:
        with asyncio.Runner(loop_factory=loop.loop_factory()) as runner:
            clean = runner.run(run_host(config, settings, workers or settings.server.workers, chosen))
    except (OSError, SettingsError, AuditUnavailable, EmbeddedFailed, StateUnusable) as error:
        fail(f"gateway: {error}")
    raise typer.Exit(0 if clean else 1)
