"""Child processes of a gateway: started, started again when they end, told of signals, ended with it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

RESTART_S = 1.0


@dataclass(slots=True)
class KeptChild:
    """One `gateway serve` in a role of its own. `keep()` runs until `stopping`, and returns the exit code."""

    name: str
    config: Path
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    stopping: bool = False
    _process: asyncio.subprocess.Process | None = None

    async def keep(self) -> int:
        """Start it, and again whenever it ends by itself."""
        while True:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "gateway", "serve", "--config", str(self.config), *self.arguments),
                env={**os.environ, **self.environment},
            )
            code = await self._process.wait()
            if self.stopping:
                return code
            log.error("%s ended with exit code %d; starting it again", self.name, code)
            await asyncio.sleep(RESTART_S)

    def send(self, number: signal.Signals) -> None:
        """Pass a signal on; SIGTERM means that it is not started again."""
        self.stopping = self.stopping or number is signal.SIGTERM
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)
