"""One proxy process: everything that serves clients, built from settings, started, reloaded, drained, stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.core.facts import Probe
from gateway.core.snapshot import Snapshot
from gateway.core.tasks import Supervisor
from gateway.edge.admission import Admission, AdmissionBook, LocalAdmission
from gateway.edge.admission_socket import SocketAdmission
from gateway.edge.backends import LiveBackends
from gateway.edge.decider import Decider, ProbeFailed
from gateway.edge.live import LiveEdge
from gateway.edge.snapshots import SnapshotHolder
from gateway.engines.contract import EngineError
from gateway.identity.authenticator import IdentityService
from gateway.metadata.model import Catalogue, Described
from gateway.metadata.worker import MetadataWorker, Source
from gateway.pipeline import STAGES
from gateway.runtime import build
from gateway.runtime.big import BigDecisions
from gateway.runtime.doors import Doors
from gateway.runtime.ledger import QueryLedger, log_in_listener
from gateway.runtime.parts import snapshot_parts
from gateway.runtime.state import StateDir, shared_key
from gateway.settings import Settings
from gateway.store.audit import AuditLog
from gateway.store.history import HistoryWriter
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tracing import tracer

log = logging.getLogger(__name__)

FIRST_PROBE_S = 3.0
"""How long a start waits for the backends' first health probes; the rest is found out while serving."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which of the host's proxy processes this is; `count` is 1 where it is the only one."""

    index: int = 0
    count: int = 1


ONLY = Place()


class Proxy:
    """`start`, then `reload` any number of times, `drain`, `stop`."""

    def __init__(
        self,
        settings: Settings,
        *,
        place: Place,
        audit: AuditLog,
        metrics: Metrics,
        history: HistoryWriter | None,
    ) -> None:
        self.settings = settings
        self.place = place
        self.state = StateDir.open(settings)
        self.audit = audit
        self.metrics = metrics
        self.supervisor = Supervisor(f"proxy-{place.index}")
        self.snapshots = SnapshotHolder(Snapshot([*snapshot_parts(settings), Catalogue()]))
        self.backends = LiveBackends(
            [build.live_backend(backend, settings, self.state.run) for backend in settings.backends],
            run_dir=self.state.run,
            on_change=self.health_changed,
        )
        self.admission = self._admission()
        self.identity = IdentityService(log_in_listener(audit, metrics))
        self.metadata = MetadataWorker(self._sources, self.snapshots.replace)
        self.big = BigDecisions(
            settings.limits.decide_cpu, lambda: metrics.count("gateway_decide_killed_total")
        )
        self.ledger = QueryLedger(audit, metrics, history, tracer(settings.telemetry.otlp_endpoint))
        self.edge = LiveEdge(
            authenticator=lambda: self.identity,
            decider=Decider(
                self.snapshots,
                STAGES,
                self._answer_probe,
                build.decider_limits(settings),
                elsewhere=self.big.decide,
                on_stage=_stage_timer(metrics),
            ),
            backends=self.backends,
            admission=self.admission,
            ledger=self.ledger,
            limits=build.edge_limits(settings),
        )
        self.doors = Doors(self.edge, shared_key(settings, self.state), self.state)

    async def start(self) -> None:
        """Serve. Raises OSError for an address that cannot be bound, SettingsError for identity files."""
        await self.identity.reload(self.settings.identity)
        await self.big.start()
        if isinstance(self.admission, SocketAdmission):
            self.admission.start()
        self.backends.start()
        await self._first_probes()
        await self.doors.open(self.settings, reuse_port=self.place.count > 1)
        self.supervisor.spawn(self.metadata.run(), "metadata")

    async def reload(self, settings: Settings) -> None:
        """Take up new settings: identity, rules, modes, limits, backends. Raises before anything changed.

        What needs a restart (listeners' addresses, the state directory, workers) is said in the log.
        """
        fresh = snapshot_parts(settings)
        backends = [build.live_backend(backend, settings, self.state.run) for backend in settings.backends]
        await self.identity.reload(settings.identity)
        await self.backends.replace(backends)
        if isinstance(self.admission, LocalAdmission):
            self.admission.book.limits = build.admission_limits(settings)
        self.edge.limits = build.edge_limits(settings)
        self.doors.reload(settings)
        self.snapshots.replace(*fresh)
        self.settings = settings
        self.metadata.refresh_soon()

    async def drain(self, timeout_s: float) -> bool:
        """Take nothing new, let what runs finish; True if everything ended in time.

        Listeners stay open meanwhile: a client of a running query comes back for its next page.
        """
        self.edge.draining = True
        try:
            async with asyncio.timeout(timeout_s):
                await self.edge.idle.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Close everything; whatever still runs is cut."""
        self.edge.draining = True
        await self.doors.close()
        await self.supervisor.close()
        await self.big.close()
        await self.backends.close()
        if isinstance(self.admission, SocketAdmission):
            await self.admission.close()
        await self.identity.close()

    @property
    def ready(self) -> bool:
        """Whether new statements have somewhere to go."""
        return not self.edge.draining and any(backend.healthy for backend in self.backends.all())

    def _admission(self) -> Admission:
        limits = build.admission_limits(self.settings)
        if self.place.count == 1:
            return LocalAdmission(AdmissionBook(limits))
        return SocketAdmission(self.state.admission_socket, limits, self.place.count)

    async def _first_probes(self) -> None:
        probes = asyncio.gather(*(self.backends.probe(backend) for backend in self.backends.all()))
        try:
            async with asyncio.timeout(FIRST_PROBE_S):
                await probes
        except TimeoutError:
            log.warning("not every backend answered its first health probe; serving the others meanwhile")
        self.health_changed()

    def health_changed(self) -> None:
        """A backend went up or down, or is drained: tell admission, metrics and metadata."""
        unavailable = self.backends.unavailable()
        self.admission.set_unavailable(unavailable)
        for backend in self.backends.all():
            self.metrics.set("gateway_backend_up", float(backend.healthy), {"backend": backend.name})
        self.metadata.refresh_soon()

    def _sources(self) -> list[Source]:
        by_group: dict[str, Source] = {}
        for backend in self.backends.all():
            if backend.healthy:
                by_group.setdefault(
                    backend.options.group, Source(backend.options.group, backend.kind, backend.client)
                )
        return list(by_group.values())

    async def _answer_probe(self, probe: Probe[Any], _snapshot: Snapshot) -> Any:
        if isinstance(probe, Described):
            try:
                return await self.metadata.describe(probe)
            except EngineError as error:
                raise ProbeFailed(probe, str(error)) from error
        raise ProbeFailed(probe, "nobody answers this kind of question")


def _stage_timer(metrics: Metrics) -> Callable[[str, float], None]:
    timers = {stage.name: metrics.histogram("gateway_decide_seconds", stage=stage.name) for stage in STAGES}
    return lambda stage, seconds: timers[stage].observe(seconds)
