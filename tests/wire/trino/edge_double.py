"""An Edge of contract values only: everyone is let in, everything passes, slots are never scarce.

The engines behind it are real; `decide` and `admit` can be replaced by a test to cause what it needs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.core.decision import Decision, EngineKind, Plan, Refusal, RefusalCode
from gateway.core.principal import Principal
from gateway.core.statement import Statement, StatementKind
from gateway.edge.contract import Backend, Outcome, Refused
from gateway.identity.contract import AuthenticationFailed, Credentials, ImpersonationDenied
from gateway.wire.http.client import UpstreamPool


@dataclass(eq=False)
class DoubleBackend:
    name: str
    pool: UpstreamPool
    kind: EngineKind = EngineKind.TRINO
    url: str = ""
    healthy: bool = True
    process_forwarded: bool = True
    user: str | None = None
    running: int = 0

    def engine_headers(self, principal: Principal) -> list[tuple[str, str]]:
        return [("X-Trino-User", self.user or principal.name)]


@dataclass
class DoubleLease:
    backend: DoubleBackend
    held: bool = True

    def release(self) -> None:
        if self.held:
            self.held = False
            self.backend.running -= 1


@dataclass(eq=False)
class DoubleQuery:
    id: str
    statement: Statement
    principal: Principal
    decision: Decision
    index: dict[str, DoubleQuery]
    outcome: Outcome | None = None
    error_code: str | None = None
    error_text: str | None = None
    engine_ids: list[str] = field(default_factory=list)
    backends: list[str] = field(default_factory=list)
    seen: list[dict[str, object]] = field(default_factory=list)
    lease: DoubleLease | None = None
    cancel: Callable[[], None] | None = None

    def started(self, backend: Backend, engine_query_id: str, cancel: Callable[[], None]) -> None:
        self.engine_ids.append(engine_query_id)
        self.backends.append(backend.name)
        self.index[engine_query_id] = self
        self.cancel = cancel

    def progress(self, **totals: object) -> None:
        self.seen.append({name: value for name, value in totals.items() if value is not None})

    def finish(
        self, outcome: Outcome, *, error_code: str | None = None, error_text: str | None = None
    ) -> None:
        if self.outcome is None:
            self.outcome, self.error_code, self.error_text = outcome, error_code, error_text
            if self.lease is not None:
                self.lease.release()


class DoubleBackends:
    def __init__(self, backends: list[DoubleBackend]) -> None:
        self.by_name = {backend.name: backend for backend in backends}
        self.suffixes: dict[str, DoubleBackend] = {}
        self.lookups: list[str] = []
        self.findable: dict[str, str] = {}

    def get(self, name: str) -> DoubleBackend | None:
        return self.by_name.get(name)

    def all(self) -> list[DoubleBackend]:
        return list(self.by_name.values())

    def by_coordinator(self, suffix: str) -> DoubleBackend | None:
        return self.suffixes.get(suffix)

    def learn_coordinator(self, suffix: str, backend: Backend) -> None:
        self.suffixes[suffix] = self.by_name[backend.name]

    async def find_coordinator(self, suffix: str, timeout_s: float) -> DoubleBackend | None:
        self.lookups.append(suffix)
        return self.by_name.get(self.findable.get(suffix, ""))


def _kind(text: str) -> StatementKind:
    word = text.split(None, 1)[0].lower() if text.split() else ""
    reads = {"select", "show", "values", "with", "table", "("}
    return StatementKind.QUERY if word in reads else StatementKind.UNKNOWN


class DoubleEdge:
    """`passwords` switches authentication on; `allowed` are (name, act_as) pairs."""

    def __init__(self, *backends: DoubleBackend) -> None:
        self.backends = DoubleBackends(list(backends))
        self.passwords: dict[str, str] = {}
        self.allowed: set[tuple[str, str]] = set()
        self.queries: list[DoubleQuery] = []
        self.index: dict[str, DoubleQuery] = {}
        self.decide: Callable[[Statement, Principal], Decision] = self.pass_through
        self.admitting: Callable[[DoubleQuery], object] | None = None
        self._ids = itertools.count()

    def pass_through(self, statement: Statement, principal: Principal) -> Decision:
        names = tuple(self.backends.by_name)
        return Plan(statement.text, _kind(statement.text), EngineKind.TRINO, "all", names)

    async def authenticate(self, credentials: Credentials) -> Principal:
        if not self.passwords:  # an open engine: whoever comes is whom it says
            if credentials.act_as is None and credentials.user is None:
                raise AuthenticationFailed
            return Principal(credentials.act_as or credentials.user or "")
        name = credentials.user
        if name is None or self.passwords.get(name) != credentials.password:
            raise AuthenticationFailed
        act_as = credentials.act_as
        if act_as is not None and (name, act_as) not in self.allowed:
            raise ImpersonationDenied(f"{name} may not act as {act_as}")
        return Principal(act_as or name, impersonator=name if act_as else None)

    async def open(
        self, statement: Statement, principal: Principal, *, peer: str = "", traceparent: str | None = None
    ) -> DoubleQuery:
        decision = self.decide(statement, principal)
        query = DoubleQuery(f"q{next(self._ids)}", statement, principal, decision, self.index)
        self.queries.append(query)
        return query

    async def admit(self, query: DoubleQuery, *, exclude: frozenset[str] = frozenset()) -> DoubleLease:
        if self.admitting is not None:
            await self.admitting(query)  # type: ignore[misc]
        assert isinstance(query.decision, Plan)
        for name in query.decision.backends:
            backend = self.backends.by_name[name]
            if name not in exclude and backend.healthy:
                backend.running += 1
                query.lease = DoubleLease(backend)
                return query.lease
        raise Refused(Refusal(RefusalCode.NO_BACKEND, "No backend is up."))

    def find(self, engine_query_id: str) -> DoubleQuery | None:
        return self.index.get(engine_query_id)

    def count(self, name: str, labels: Mapping[str, str] | None = None, by: float = 1) -> None:
        pass
