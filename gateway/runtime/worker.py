"""The background process: carries the audit's files into the store, and removes what is too old.

Apart from the proxies, because a database driver's threads and theirs would share one interpreter lock.
"""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy.exc import SQLAlchemyError

from gateway.core.tasks import Supervisor
from gateway.runtime.state import StateDir, audit_key
from gateway.runtime.stores import opened_store
from gateway.settings import Settings
from gateway.store.audit_ingest import AuditIngest
from gateway.store.migrate import SchemaError
from gateway.store.store import Retention, Store
from gateway.telemetry.exchange import SnapshotSocket
from gateway.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

PRUNE_EVERY_S = 3600.0


class WorkerProcess:
    """`start`, `stop`. One per host; two hosts may share a store, each with its own audit directory."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = StateDir.open(settings)
        self.metrics = Metrics("worker")
        self._supervisor = Supervisor("worker")
        self._snapshots = SnapshotSocket(self.state.run, self.metrics)
        self._store: Store | None = None

    async def start(self) -> None:
        """Begin; waits for a store that is away, in the background."""
        await self._snapshots.start()
        self._supervisor.spawn(self._run(), "run")

    async def stop(self) -> None:
        """End after the batch that is being written."""
        await self._supervisor.close()
        await self._snapshots.close()
        if self._store is not None:
            await self._store.close()

    async def _run(self) -> None:
        try:
            self._store = await opened_store(self.settings, self._store_is)
        except SchemaError as error:
            log.error("the store's schema cannot be used, history stays in the audit's files: %s", error)
            return
        ingest = AuditIngest(
            self._store,
            self.settings.audit.directory,
            key=audit_key(self.settings, self.state),
            on_problem=self._chain_broken,
        )
        self._supervisor.spawn(self._prune(self._store, ingest), "prune")
        await ingest.run()

    def _store_is(self, up: bool) -> None:
        self.metrics.set("gateway_dependency_up", float(up), {"dependency": "store"})

    def _chain_broken(self, problem: str) -> None:
        log.error("audit: %s", problem)
        self.metrics.count("gateway_audit_chain_breaks_total")

    async def _prune(self, store: Store, ingest: AuditIngest) -> None:
        while True:
            kept = self.settings.store
            try:
                await store.prune(Retention(kept.retention_days, kept.text_retention_days))
                await ingest.prune_files(self.settings.audit.retention_days)
            except (SQLAlchemyError, OSError) as error:
                log.warning("retention: could not prune: %s", type(error).__name__)
            await asyncio.sleep(PRUNE_EVERY_S)
