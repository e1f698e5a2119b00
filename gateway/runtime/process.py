"""A proxy process with what stands around it: audit, store, metrics, engines that it runs itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from pathlib import Path

from gateway import __version__
from gateway.core.statement import Wire
from gateway.core.tasks import Supervisor
from gateway.engines.embedded import EmbeddedEngine
from gateway.metadata.model import Catalogue
from gateway.runtime import build
from gateway.runtime.proxy import ONLY, Place, Proxy
from gateway.runtime.state import StateDir, audit_key
from gateway.runtime.stores import encryption_keys, opened_store
from gateway.settings import Settings
from gateway.store.audit import AuditLog
from gateway.store.audit_chain import Link
from gateway.store.audit_ingest import AuditIngest
from gateway.store.audit_records import ConfigReload
from gateway.store.history import HistoryWriter
from gateway.store.measure import measure_state
from gateway.store.migrate import SchemaError
from gateway.store.store import Store
from gateway.store.vault import Vault
from gateway.telemetry.exchange import Collector, SnapshotSocket
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.server import TelemetryServer

log = logging.getLogger(__name__)


class GatewayProcess:
    """`start`, `reload`, `drain`, `stop`. `workers` of them share a host; the first also does the chores."""

    def __init__(self, settings: Settings, place: Place = ONLY) -> None:
        self.settings = settings
        self.place = place
        self.state = StateDir.open(settings)
        self.metrics = Metrics(f"proxy-{place.index}")
        self.audit_key = audit_key(settings, self.state)
        self.audit = AuditLog(
            settings.audit.directory,
            f"proxy-{place.index}",
            sync=settings.audit.sync,
            on_failure=settings.audit.on_failure,
            key=self.audit_key,
        )
        self.supervisor = Supervisor(f"process-{place.index}")
        self.store: Store | None = None
        self.history: HistoryWriter | None = None
        self.engines: list[EmbeddedEngine] = []
        self.proxy: Proxy | None = None
        self.serving = False
        self._snapshots = SnapshotSocket(self.state.run, self.metrics)
        self._collector = Collector(self.state.run, self.metrics)
        self._telemetry = TelemetryServer(self._collector.scrape, self.readiness)

    @property
    def does_chores(self) -> bool:
        """Embedded engines and the metrics port belong to the first process."""
        return self.place.index == 0

    async def start(self) -> None:
        """Serve. Raises what makes serving impossible: AuditUnavailable, EmbeddedFailed, OSError, …"""
        self.audit.open()
        if self.does_chores:
            await self._start_engines()
            await self._start_telemetry()
        self.supervisor.spawn(self._open_store(), "store")
        self.proxy = Proxy(
            self.settings,
            place=self.place,
            audit=self.audit,
            metrics=self.metrics,
            history=self.history,
        )
        await self.proxy.start()
        await self._snapshots.start()
        self.serving = True
        self.supervisor.spawn(self._measure(), "measure")
        self.metrics.set("gateway_build_info", 1, {"version": __version__})
        self._configured("loaded")

    async def reload(self, settings: Settings) -> None:
        """Take up new settings whole, or raise and keep the old ones."""
        assert self.proxy is not None
        await self.proxy.reload(settings)
        self.settings = settings
        self._configured("loaded")

    def refused(self, problems: list[str]) -> None:
        """New settings were not usable: the last good ones stay, and everyone can see it."""
        for problem in problems:
            log.error("settings refused, the last good ones stay: %s", problem)
        self.metrics.count("gateway_config_reload_total", {"result": "refused"})
        self.metrics.set("gateway_config_stale", 1)
        self.audit.append(ConfigReload(time.time(), "refused", detail=f"{len(problems)} problems"))

    def _configured(self, outcome: str) -> None:
        self.metrics.count("gateway_config_reload_total", {"result": outcome})
        self.metrics.set("gateway_config_stale", 0)
        self.metrics.set("gateway_config_last_success_timestamp_seconds", time.time())
        versions = (("settings", self.settings.digest),)
        self.audit.append(ConfigReload(time.time(), outcome, versions))

    async def drain(self) -> bool:
        """Let running queries finish, bounded by `server.drain`."""
        return self.proxy is None or await self.proxy.drain(self.settings.server.drain_seconds)

    async def stop(self) -> None:
        """Stop everything this process started, in the reverse order."""
        if self.proxy is not None:
            await self.proxy.stop()
        await self._telemetry.close()
        await self._snapshots.close()
        if self.history is not None:
            await self.history.close()
        await self.supervisor.close()
        for engine in self.engines:
            await engine.stop()
        await self.audit.close()
        if self.store is not None:
            await self.store.close()

    # -- parts

    async def _start_engines(self) -> None:
        for backend in self.settings.backends:
            if backend.endpoint is None:
                socket = build.embedded_socket(self.state.run, backend)
                self.engines.append(EmbeddedEngine(backend.engine, socket, backend.database))
        await asyncio.gather(*(engine.start() for engine in self.engines))

    async def _start_telemetry(self) -> None:
        metrics = self.settings.metrics
        if metrics is None:
            return
        try:
            await self._telemetry.start(metrics.host, metrics.port)
        except OSError as error:
            raise OSError(f"metrics: cannot listen on {metrics.host}:{metrics.port}: {error}") from error

    async def _open_store(self) -> None:
        try:
            self.store = await opened_store(self.settings, self._store_is)
        except SchemaError as error:
            log.error("the store's schema cannot be used, history stays in the audit's files: %s", error)
            return
        keys = encryption_keys(self.settings)
        if keys:
            self.history = HistoryWriter(
                self.store,
                Vault(self.store.database, keys),
                on_lost=lambda n: self.metrics.count("gateway_history_lost_total", by=n),
                on_written=lambda n: self.metrics.count("gateway_history_written_total", by=n),
            )
            self.history.start(self.supervisor)
            if self.proxy is not None:
                self.proxy.ledger.history = self.history

    def _store_is(self, up: bool) -> None:
        self.metrics.set("gateway_dependency_up", float(up), {"dependency": "store"})

    async def audit_anchors(self) -> list[tuple[str, Link]]:
        """Positions of the chain that the store remembers; none while it is away."""
        if self.store is None:
            return []
        return await AuditIngest(self.store, self.settings.audit.directory, key=self.audit_key).anchors()

    async def _measure(self) -> None:
        """Numbers that are read rather than counted, every few seconds."""
        metrics, process = self.metrics, self.metrics.process
        metrics.set("gateway_process_start_timestamp_seconds", metrics.started, {"process": process})
        while True:
            before = time.perf_counter()
            await asyncio.sleep(1.0)
            lag = max(0.0, time.perf_counter() - before - 1.0)
            metrics.set("gateway_event_loop_lag_seconds", lag, {"process": process})
            metrics.set("gateway_memory_bytes", _resident_bytes(), {"process": process})
            metrics.advance("gateway_cpu_seconds_total", time.process_time(), {"process": process})
            measure_state(metrics, self.audit, self.history)
            self._measure_queries()

    def _measure_queries(self) -> None:
        assert self.proxy is not None
        metrics, live = self.metrics, list(self.proxy.edge.live())
        waiting = Counter(q.plan.group for q in live if q.plan is not None and q.seen.state == "queued")
        for group in {backend.options.group for backend in self.proxy.backends.all()}:
            metrics.set("gateway_queue_depth", waiting[group], {"group": group})
        now = time.time()
        for group, known in self.proxy.snapshots.current[Catalogue].groups.items():
            metrics.set("gateway_metadata_age_seconds", now - known.loaded_at, {"group": group})
        for wire, count in self.proxy.doors.connections().items():
            metrics.set("gateway_connections", count, {"wire": wire.value})
        running = Counter(query.statement.wire for query in live)
        for wire in Wire:
            metrics.set("gateway_queries_running", running[wire], {"wire": wire.value})
        on_backend = Counter(query.granted for query in live)
        for backend in self.proxy.backends.all():
            label = {"backend": backend.name}
            metrics.set("gateway_backend_running", on_backend[backend.name], label)
            metrics.set("gateway_backend_draining", float(backend.draining), label)

    def readiness(self) -> dict[str, str | None]:
        """Name of each thing that new queries need, and what is wrong with it (None: it is well)."""
        proxy = self.proxy
        if proxy is None or not self.serving:
            return {"gateway": "starting"}
        up = any(backend.healthy for backend in proxy.backends.all())
        audit_needed = self.settings.audit.on_failure == "refuse"
        return {
            "gateway": "draining" if proxy.edge.draining else None,
            "backends": None if up else "no backend is healthy",
            "audit": "cannot be written" if audit_needed and not self.audit.healthy else None,
        }


def _resident_bytes() -> float:
    try:
        fields = Path("/proc/self/statm").read_text().split()
    except OSError:
        return 0.0
    return float(fields[1]) * 4096
