"""Owned background tasks: every task has a name, an owner and a visible end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)


class Supervisor:
    """Owns background tasks; a task that fails is logged with its name, never silently lost.

    `close()` cancels what is left and waits at most `grace` seconds for it.
    """

    def __init__(self, name: str, grace: float = 5.0) -> None:
        self._name = name
        self._grace = grace
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start `work` as an owned task. Raises RuntimeError once the supervisor is closed."""
        if self._closed:
            work.close()
            raise RuntimeError(f"supervisor {self._name} is closed; cannot start {name}")
        task = asyncio.get_running_loop().create_task(work, name=f"{self._name}/{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background task %s failed", task.get_name(), exc_info=error)

    async def close(self) -> None:
        """Cancel every task that is left and wait for it, bounded by `grace`."""
        self._closed = True
        pending = list(self._tasks)
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending, timeout=self._grace)
