"""Runs DuckDB and chdb as child processes that speak the Trino and ClickHouse protocols on a Unix socket.

One child per engine (both allow one writing process per database), so a crash or a runaway query in the
engine's native code never takes the gateway with it; a child that ends is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from gateway.core.decision import EngineKind
from gateway.core.tasks import Supervisor

log = logging.getLogger(__name__)

STARTUP_S = 30.0
STOP_S = 5.0
RESTART_S = 1.0
MODULES = {EngineKind.DUCKDB: "gateway.engines.duckdb", EngineKind.CHDB: "gateway.engines.chdb"}


class EmbeddedFailed(RuntimeError):
    """The child did not come up; the message says what it wrote last."""


@dataclass(slots=True)
class EmbeddedEngine:
    """One child. It listens on `socket` and ends when its standard input closes, which is also what the
    gateway's own death looks like to it.
    """

    kind: EngineKind
    socket: Path
    database: Path | None = None
    arguments: tuple[str, ...] = ()
    _process: asyncio.subprocess.Process | None = None
    _supervisor: Supervisor = field(default_factory=lambda: Supervisor("embedded"))

    async def start(self) -> None:
        """Start it and wait until it listens. Raises EmbeddedFailed."""
        await self._spawn()
        self._supervisor.spawn(self._keep_running(), self.kind.value)

    async def stop(self) -> None:
        """End it: close its input, then insist."""
        await self._supervisor.close()
        process = self._process
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        self.socket.unlink(missing_ok=True)

    async def _spawn(self) -> None:
        self.socket.unlink(missing_ok=True)
        database = str(self.database) if self.database is not None else ":memory:"
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            MODULES[self.kind],
            "--socket",
            str(self.socket),
            "--database",
            database,
            "--watch-stdin",
            *self.arguments,
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl-C is for the gateway, which then stops its children
        )
        deadline = time.monotonic() + STARTUP_S
        while not await self._listens():
            if self._process.returncode is not None:
                raise EmbeddedFailed(
                    f"the {self.kind.value} process ended at once (exit code {self._process.returncode}); "
                    "its output is above"
                )
            if time.monotonic() > deadline:
                self._process.kill()
                raise EmbeddedFailed(f"the {self.kind.value} process did not listen within {STARTUP_S:g} s")
            await asyncio.sleep(0.05)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(self.socket)
        except OSError:
            return False
        writer.close()
        return True

    async def _keep_running(self) -> None:
        while True:
            process = self._process
            assert process is not None
            code = await process.wait()
            log.error("the %s process ended (exit code %s); starting it again", self.kind.value, code)
            await asyncio.sleep(RESTART_S)
            try:
                await self._spawn()
            except (EmbeddedFailed, OSError) as error:
                log.error("%s", error)
