"""Writes history and statement texts in batches, behind a queue that never makes a query wait."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from gateway.core.tasks import Supervisor
from gateway.store.records import QueryRecord
from gateway.store.store import Store
from gateway.store.vault import StatementText, Vault

log = logging.getLogger(__name__)

Item = QueryRecord | StatementText

STORE_ERRORS = (SQLAlchemyError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """`items` and `bytes` bound the queue; `batch` bounds one transaction; times in seconds."""

    items: int = 20_000
    bytes: int = 32 << 20
    batch: int = 200
    interval_s: float = 0.5
    retry_s: float = 1.0
    close_timeout_s: float = 5.0


class HistoryWriter:
    """`offer` is O(1) and never blocks; what does not fit while the store is slow or away is counted.

    Nothing is lost for good by that as far as the audit goes: `AuditIngest` writes the same queries from
    the audit's files. Only statement texts exist nowhere else.
    """

    def __init__(
        self,
        store: Store,
        vault: Vault,
        *,
        limits: HistoryLimits = HistoryLimits(),
        on_lost: Callable[[int], None] = lambda count: None,
        on_written: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._store = store
        self._vault = vault
        self._limits = limits
        self._on_lost = on_lost
        self._on_written = on_written
        self._queue: deque[Item] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._failing = False

    @property
    def waiting(self) -> int:
        """Records in the queue."""
        return len(self._queue)

    def offer(self, record: Item) -> bool:
        """Take a record to be written soon; False if the queue is full and it was dropped and counted."""
        size = _size(record)
        if size and not self._vault.enabled:
            return True
        if len(self._queue) >= self._limits.items or self._bytes + size > self._limits.bytes:
            self._on_lost(1)
            return False
        self._queue.append(record)
        self._bytes += size
        if len(self._queue) >= self._limits.batch:
            self._wake.set()
        return True

    def start(self, supervisor: Supervisor) -> None:
        """Begin writing, as a task that `supervisor` owns."""
        self._task = supervisor.spawn(self._run(), "history")

    async def close(self) -> None:
        """Write what is left, for a bounded time; what remains is counted as lost."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=self._limits.close_timeout_s)
        if self._queue:
            self._on_lost(len(self._queue))
            log.error("history: %d records were not written before the end", len(self._queue))

    async def _run(self) -> None:
        while not (self._closing and not self._queue):
            await self._pause(self._limits.interval_s)
            while self._queue:
                if not await self._write_batch():
                    if self._closing:
                        return
                    await asyncio.sleep(self._limits.retry_s)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _write_batch(self) -> bool:
        batch = [self._queue[i] for i in range(min(len(self._queue), self._limits.batch))]
        try:
            await self._store.save_queries(item for item in batch if isinstance(item, QueryRecord))
            await self._vault.save(item for item in batch if isinstance(item, StatementText))
        except STORE_ERRORS as error:
            if not self._failing:
                log.warning("history: the store does not take records (%s); they wait", describe(error))
            self._failing = True
            return False
        for item in batch:
            self._queue.popleft()
            self._bytes -= _size(item)
        if self._failing:
            log.info("history: the store takes records again")
        self._failing = False
        self._on_written(len(batch))
        return True


def describe(error: BaseException) -> str:
    """A driver's error without the statement and parameters that SQLAlchemy adds: they hold names."""
    return f"{type(error).__name__}: {getattr(error, 'orig', None) or type(error).__doc__ or ''}".split("\n")[
        0
    ]


def _size(item: Item) -> int:
    return len(item.text) if isinstance(item, StatementText) else 0
