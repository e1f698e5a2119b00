"""The live backends of one process: pools, health, credentials, and which coordinator a query id names."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from gateway.core.decision import EngineKind
from gateway.core.principal import Principal
from gateway.core.tasks import Supervisor
from gateway.engines.clickhouse import ClickHouseClient
from gateway.engines.contract import EngineClient, EngineError, Health
from gateway.engines.trino import TrinoClient
from gateway.wire.http.client import ConnectFailed, UpstreamPool

MAX_SUFFIXES = 10_000
"""Remembered coordinator suffixes, old ones of restarted coordinators included."""


HEADERS_S = 1.0
"""How long a backend's headers are remembered: a rotated secret counts that late, and is not read per request."""

_MAX_USERS = 1_000

RETIRE_S = 60.0
"""How long the pool of a removed backend stays open for the exchanges that use it."""


class NoEngineUser(ConnectFailed):
    """The principal is not in the backend's `user_map`: it is never asked as anybody else instead."""


class Secret(Protocol):
    """A secret that is read when it is used, so that a rotated file is picked up."""

    def reveal(self) -> str: ...


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """How to reach one backend and who the gateway is there.

    `user_mode`: *impersonate* sends the principal's name with the gateway's credentials (Trino), *mapped*
    translates it by `user_map` (its `*` is for everyone else; without it others are not served), *service*
    always uses the gateway's own user.
    """

    name: str
    kind: EngineKind
    url: str
    group: str
    user: str = "gateway"
    password: Secret | None = None
    token: Secret | None = None
    user_mode: str = "service"
    user_map: Mapping[str, str] = field(default_factory=dict)
    process_forwarded: bool = True
    health_interval_s: float = 5.0
    health_timeout_s: float = 5.0
    health_failures: int = 2
    """Failed probes in a row before it counts as down; one good probe brings it back."""
    health_statement: str | None = None
    """A statement that must succeed too."""


class LiveBackend:
    """One end point: its pool, its health, and the headers the gateway sends to it."""

    def __init__(self, options: BackendOptions, pool: UpstreamPool) -> None:
        self.options = options
        self.pool = pool
        self.health = Health(False, "not probed yet")
        self.draining = False
        self.failures = 0
        self._known_headers: dict[str, list[tuple[str, str]]] = {}
        self._known_until = 0.0
        self.client: EngineClient = (
            TrinoClient(pool, self._own_headers, timeout_s=options.health_timeout_s)
            if self.speaks_trino
            else ClickHouseClient(pool, self._own_headers, timeout_s=options.health_timeout_s)
        )

    @property
    def name(self) -> str:
        return self.options.name

    @property
    def kind(self) -> EngineKind:
        return self.options.kind

    @property
    def url(self) -> str:
        return self.options.url

    @property
    def process_forwarded(self) -> bool:
        """See `contract.Backend.process_forwarded`."""
        return self.options.process_forwarded

    @property
    def healthy(self) -> bool:
        return self.health.up

    @property
    def speaks_trino(self) -> bool:
        return self.options.kind in (EngineKind.TRINO, EngineKind.DUCKDB)

    def engine_headers(self, principal: Principal) -> list[tuple[str, str]]:
        """See `contract.Backend.engine_headers`."""
        return self._headers(self._user_for(principal))

    def serves(self, principal: Principal) -> bool:
        """Whether this backend has a user for the principal."""
        options = self.options
        return options.user_mode != "mapped" or principal.name in options.user_map or "*" in options.user_map

    def _own_headers(self) -> list[tuple[str, str]]:
        return self._headers(self.options.user)

    def _user_for(self, principal: Principal) -> str:
        options = self.options
        if options.user_mode == "impersonate":
            return principal.name
        if options.user_mode == "mapped":
            if not self.serves(principal):
                raise NoEngineUser(f"backend {self.name} has no user for this principal")
            return options.user_map.get(principal.name) or options.user_map["*"]
        return options.user

    def _headers(self, user: str) -> list[tuple[str, str]]:
        now = time.monotonic()
        if now >= self._known_until or len(self._known_headers) > _MAX_USERS:
            self._known_headers.clear()
            self._known_until = now + HEADERS_S
        known = self._known_headers.get(user)
        if known is None:
            known = self._known_headers[user] = self._headers_now(user)
        return known.copy()

    def _headers_now(self, user: str) -> list[tuple[str, str]]:
        options = self.options
        if not self.speaks_trino:
            headers = [("X-ClickHouse-User", user)]
            if options.password is not None:
                headers.append(("X-ClickHouse-Key", options.password.reveal()))
            return headers
        headers = [("X-Trino-User", user)]
        if options.token is not None:
            headers.append(("Authorization", f"Bearer {options.token.reveal()}"))
        elif options.password is not None:
            pair = f"{options.user}:{options.password.reveal()}".encode()
            headers.append(("Authorization", "Basic " + base64.b64encode(pair).decode()))
        return headers


class LiveBackends:
    """All backends of this process; runs their health probes.

    `run_dir` is where sibling proxy processes leave sockets named after the suffix of the query ids they
    answer themselves (`wire-xxxxx.sock`), so a page request reaches the process that has the result.
    """

    def __init__(
        self,
        backends: list[LiveBackend],
        *,
        run_dir: Path | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._backends = {backend.name: backend for backend in backends}
        self._suffixes: OrderedDict[str, LiveBackend] = OrderedDict()
        self._run_dir = run_dir
        self._siblings: dict[str, LiveBackend] = {}
        self._on_change = on_change
        self._asking: asyncio.Task[None] | None = None
        self._supervisor = Supervisor("health")
        self._watchers: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Probe every backend now and then, each at its own interval."""
        for backend in self._backends.values():
            self._watch_soon(backend)

    def _watch_soon(self, backend: LiveBackend) -> None:
        self._watchers[backend.name] = self._supervisor.spawn(self._watch(backend), backend.name)

    async def replace(self, wanted: list[LiveBackend]) -> None:
        """Take up changed settings. A backend that stays the same keeps its pool, health and connections;
        one that is gone closes its pool after the exchanges that use it.
        """
        fresh = {backend.name: backend for backend in wanted}
        for name, known in list(self._backends.items()):
            if name in fresh and fresh[name].options == known.options:
                fresh[name] = known
                continue
            if (watcher := self._watchers.pop(name, None)) is not None:
                watcher.cancel()
            self._suffixes = OrderedDict((s, b) for s, b in self._suffixes.items() if b is not known)
            self._supervisor.spawn(self._retire(known), f"retire-{name}")
        new = [backend for name, backend in fresh.items() if self._backends.get(name) is not backend]
        self._backends = fresh
        for backend in new:
            self._watch_soon(backend)
        self._on_change()

    async def _retire(self, backend: LiveBackend) -> None:
        await asyncio.sleep(RETIRE_S)
        await backend.pool.close()

    async def close(self) -> None:
        """Stop probing and close all pools."""
        await self._supervisor.close()
        for backend in [*self._backends.values(), *self._siblings.values()]:
            await backend.pool.close()

    def get(self, name: str) -> LiveBackend | None:
        return self._backends.get(name)

    def all(self) -> list[LiveBackend]:
        return list(self._backends.values())

    def unavailable(self) -> set[str]:
        """Names that must get nothing new."""
        return {b.name for b in self._backends.values() if b.draining or not b.health.up}

    def by_coordinator(self, suffix: str) -> LiveBackend | None:
        """See `contract.Backends.by_coordinator`."""
        return self._suffixes.get(suffix) or self._sibling(suffix)

    def learn_coordinator(self, suffix: str, backend: object) -> None:
        """See `contract.Backends.learn_coordinator`."""
        if isinstance(backend, LiveBackend) and suffix not in self._suffixes:
            self._suffixes[suffix] = backend
            if len(self._suffixes) > MAX_SUFFIXES:
                self._suffixes.popitem(last=False)

    async def find_coordinator(self, suffix: str, timeout_s: float) -> LiveBackend | None:
        """See `contract.Backends.find_coordinator`. Probes run once for all who ask meanwhile."""
        if (known := self.by_coordinator(suffix)) is not None:
            return known
        if self._asking is None or self._asking.done():
            self._asking = self._supervisor.spawn(self._probe_all(), "find-coordinator")
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self._asking)
        except TimeoutError:
            pass  # some backend is slow; the suffix may have been learned from another
        return self.by_coordinator(suffix)

    async def _probe_all(self) -> None:
        await asyncio.gather(*(self.probe(b) for b in self._backends.values() if b.speaks_trino))

    def _sibling(self, suffix: str) -> LiveBackend | None:
        if self._run_dir is None or not (suffix.isascii() and suffix.isalnum()):
            return None
        path = self._run_dir / f"wire-{suffix}.sock"
        known = self._siblings.get(suffix)
        if known is None and path.exists():
            options = BackendOptions(f"sibling-{suffix}", EngineKind.TRINO, f"unix:{path}", "")
            pool = UpstreamPool("localhost", 0, unix_path=str(path))
            known = self._siblings[suffix] = LiveBackend(options, pool)
        return known

    async def _watch(self, backend: LiveBackend) -> None:
        while True:
            await self.probe(backend)
            await asyncio.sleep(backend.options.health_interval_s)

    async def probe(self, backend: LiveBackend) -> Health:
        """One health probe now; learns the coordinator's suffix and reports a change."""
        health = await self._health(backend)
        if health.coordinator:
            self.learn_coordinator(health.coordinator, backend)
        backend.failures = 0 if health.up else backend.failures + 1
        was_up = backend.health.up
        if not was_up or health.up or backend.failures >= backend.options.health_failures:
            backend.health = health
        if backend.health.up != was_up:
            self._on_change()
        return health

    async def _health(self, backend: LiveBackend) -> Health:
        health, statement = await backend.client.health(), backend.options.health_statement
        if health.up and statement is not None:
            try:
                await backend.client.rows(statement, timeout_s=backend.options.health_timeout_s)
            except EngineError as error:
                return replace(health, up=False, detail=f"the health statement failed: {error}")
        return health
