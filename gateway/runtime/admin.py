"""The running gateway as the admin API sees it: this process, and through their sockets its siblings."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ruamel.yaml import YAML

from gateway import __version__
from gateway.admin.client import AdminClient, AdminRefused, AdminUnreachable, Target
from gateway.admin.contract import (
    Actor,
    AdminError,
    BackendState,
    Explained,
    ExplainRequest,
    Health,
    LiveFilter,
    LiveQuery,
    Reloaded,
    SnapshotInfo,
)
from gateway.admin.explain import explained
from gateway.admin.server import AdminServer
from gateway.core.statement import Statement, Wire
from gateway.edge import query as edge_query
from gateway.edge.admission import LocalAdmission
from gateway.edge.live import LiveEdge
from gateway.runtime.explain import known_principal
from gateway.runtime.ledger import query_record
from gateway.runtime.process import GatewayProcess
from gateway.runtime.proxy import Proxy
from gateway.runtime.stores import encryption_keys
from gateway.settings import SettingsError, load_settings, redacted
from gateway.store.audit_records import AdminAction
from gateway.store.audit_verify import Report, verify
from gateway.store.records import Page, QueryFilter, QueryRecord
from gateway.store.store import Store
from gateway.store.vault import Vault

log = logging.getLogger(__name__)
T = TypeVar("T")

SIBLING_TIMEOUT_S = 2.0


class ProcessAdmin:
    """See `admin.contract.AdminBackend`; speaks for this process and asks `siblings` (their sockets) too.

    Only the first process has siblings to ask: the others would ask each other without end.
    A sibling that does not answer is left out: it is starting, ending or hung, and its queries with it.
    """

    def __init__(
        self,
        process: GatewayProcess,
        config: Path,
        siblings: Callable[[], Sequence[Path]] = tuple,
    ) -> None:
        self._process = process
        self._config = config
        self._siblings = siblings
        self._activated = time.time()
        self._started = time.monotonic()
        self._stale: tuple[str, ...] = ()

    # -- live queries

    async def live_queries(self, matching: LiveFilter) -> Sequence[LiveQuery]:
        """This process's and the siblings', oldest first."""
        mine = [self._live(query) for query in self._edge.live()]
        theirs = await self._ask_siblings(lambda client: client.queries())
        everyone = [query for answer in (mine, *theirs) for query in answer]
        return sorted((q for q in everyone if matching.matches(q)), key=lambda q: q.time)

    def _live(self, query: edge_query.LiveQuery) -> LiveQuery:
        plan, seen = query.plan, query.seen
        return LiveQuery(
            id=query.id,
            time=query.opened_at,
            age_ms=round(query.age_s * 1000, 1),
            principal=query.principal.name,
            wire=query.statement.wire.value,
            kind=query.decision.kind.value,
            state=seen.state,
            process=self._process.metrics.process,
            source=query.statement.source,
            engine=plan.engine.value if plan else None,
            backend=query.backend.name if query.backend else None,
            engine_query_id=query.engine_query_id,
            fraction=seen.fraction,
            rows=seen.rows,
            bytes_out=seen.bytes_out,
            bytes_scanned=seen.bytes_scanned,
        )

    async def cancel(self, query_id: str, actor: Actor) -> bool:
        """See `AdminBackend.cancel`."""
        query = self._edge.live_query(query_id) or self._edge.find(query_id)
        if query is not None:
            return query.cancel()

        async def ask(client: AdminClient) -> bool:
            await client.cancel(query_id)
            return True

        return any(await self._ask_siblings(ask))

    # -- history

    async def history(self, matching: QueryFilter, limit: int, cursor: str | None) -> Page:
        """See `AdminBackend.history`."""
        return await self._store().recent_queries(matching, limit=limit, cursor=cursor)

    async def query(self, query_id: str) -> QueryRecord | None:
        """See `AdminBackend.query`."""
        live = self._edge.live_query(query_id) or self._edge.find(query_id)
        if live is not None:
            return query_record(live, self._process.metrics.process)
        return await self._store().query(query_id)

    async def texts(self, query_id: str, actor: Actor, purpose: str) -> Mapping[str, str]:
        """See `AdminBackend.texts`."""
        store = self._store()
        keys = encryption_keys(self._process.settings)
        if not keys:
            return {}
        vault = Vault(store.database, keys)
        texts = await vault.read(query_id, actor=actor.name, purpose=purpose, audit=self._process.audit)
        return {part.value: text for part, text in texts.items()}

    def _store(self) -> Store:
        store = self._process.store
        if store is None:
            raise AdminError(
                503, "store_unavailable", "The store is not reachable; history comes back with it"
            )
        return store

    # -- backends

    async def backends(self) -> Sequence[BackendState]:
        """See `AdminBackend.backends`."""
        return [self._state(name) for name in (b.name for b in self._proxy.backends.all())]

    def _state(self, name: str) -> BackendState:
        backend = self._proxy.backends.get(name)
        assert backend is not None
        admission = self._proxy.admission
        book = admission.book if isinstance(admission, LocalAdmission) else None
        running = book.running_on[name] if book else sum(q.granted == name for q in self._edge.live())
        return BackendState(
            name=name,
            engine=backend.kind.value,
            group=backend.options.group,
            url=backend.url,
            healthy=backend.healthy,
            draining=backend.draining,
            running=running,
            queued=book.queued if book else 0,
            limit=book.limits.per_backend.get(name) if book else None,
            version=backend.health.version or None,
            problem=backend.health.detail or None,
        )

    async def drain(self, name: str, draining: bool, actor: Actor) -> BackendState | None:
        """See `AdminBackend.drain`."""
        backend = self._proxy.backends.get(name)
        if backend is None:
            return None
        backend.draining = draining
        self._proxy.health_changed()
        await self._ask_siblings(lambda c: c.drain(name) if draining else c.undrain(name))
        return self._state(name)

    # -- configuration

    async def snapshot(self) -> SnapshotInfo:
        """See `AdminBackend.snapshot`."""
        version = dict(self._proxy.snapshots.current.version)
        theirs = await self._ask_siblings(lambda client: client.snapshot())
        processes = {self._process.metrics.process: _digest(version)}
        for number, other in enumerate(theirs):
            processes[f"sibling-{number}"] = _digest(dict(other.parts))
        return SnapshotInfo(version, self._activated, processes, self._stale)

    async def reload(self, actor: Actor) -> Reloaded:
        """See `AdminBackend.reload`."""
        try:
            settings = await asyncio.to_thread(load_settings, self._config)
            await self._process.reload(settings)
        except SettingsError as error:
            self._stale = tuple(map(str, error.problems))
            self._process.refused(list(self._stale))
            return Reloaded(False, self._stale, dict(self._proxy.snapshots.current.version))
        self._stale, self._activated = (), time.time()
        await self._ask_siblings(lambda client: client.reload())
        return Reloaded(True, (), dict(self._proxy.snapshots.current.version))

    async def explain(self, request: ExplainRequest, actor: Actor) -> Explained:
        """See `AdminBackend.explain`; engines are asked where the decision needs it."""
        statement = Statement(request.sql, Wire(request.wire), catalog=request.catalog, schema=request.schema)
        groups = frozenset(request.groups or ())
        principal = await asyncio.to_thread(known_principal, self._process.settings, request.as_, groups)
        return explained((await self._edge.decide(statement, principal)).decision)

    async def health(self) -> Health:
        """See `AdminBackend.health`."""
        checks = self._process.readiness()
        checks["store"] = None if self._process.store is not None else "not reachable"
        uptime = (time.monotonic() - self._started) * 1000
        return Health(all(problem is None for problem in checks.values()), __version__, uptime, checks)

    async def config(self) -> Mapping[str, Any]:
        """See `AdminBackend.config`."""
        shown: dict[str, Any] = YAML(typ="safe", pure=True).load(redacted(self._process.settings))
        return shown

    async def verify_audit(self) -> Report:
        """See `AdminBackend.verify_audit`."""
        process = self._process
        anchors = await process.audit_anchors()
        directory, key = process.settings.audit.directory, process.audit_key
        return await asyncio.to_thread(lambda: verify(directory, key=key, anchors=anchors))

    async def record(self, action: AdminAction) -> None:
        """See `AdminBackend.record`."""
        self._process.audit.append(action)
        await self._process.audit.commit()

    # -- the others

    @property
    def _proxy(self) -> Proxy:
        proxy = self._process.proxy
        if proxy is None:
            raise AdminError(503, "starting", "The gateway is starting; try again in a moment")
        return proxy

    @property
    def _edge(self) -> LiveEdge:
        return self._proxy.edge

    async def _ask_siblings(self, ask: Callable[[AdminClient], Awaitable[T]]) -> list[T]:
        async def one(path: Path) -> T | None:
            try:
                async with AdminClient(Target(socket=path), timeout_s=SIBLING_TIMEOUT_S) as client:
                    return await ask(client)
            except AdminRefused:
                return None  # it knows no such query or backend
            except AdminUnreachable as error:
                log.warning("admin: a sibling does not answer: %s", error)
                return None

        answers = await asyncio.gather(*(one(path) for path in self._siblings()))
        return [answer for answer in answers if answer is not None]


def _digest(version: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(version.items()))


class AdminDoors:
    """Where the admin API of a process listens: its own socket for siblings, and the configured ones."""

    def __init__(self, process: GatewayProcess, config: Path) -> None:
        self._process = process
        place = process.place
        others = [process.state.admin_socket(index) for index in range(1, place.count)]
        self._private = AdminServer(ProcessAdmin(process, config))
        self._public = (
            AdminServer(ProcessAdmin(process, config, lambda: others)) if place.index == 0 else None
        )

    async def open(self) -> None:
        """Listen. Raises OSError for an address that is taken."""
        admin = self._process.settings.admin
        await self._private.start_unix(self._process.state.admin_socket(self._process.place.index))
        if self._public is None:
            return
        if admin.socket is not None:
            await self._public.start_unix(admin.socket)
        if admin.port is not None and admin.token is not None:
            await self._public.start_tcp(admin.host, admin.port, {"admin": admin.token.reveal()})

    async def close(self) -> None:
        """Stop listening."""
        await self._private.close()
        if self._public is not None:
            await self._public.close()
