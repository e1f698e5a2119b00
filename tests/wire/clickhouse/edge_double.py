"""A small Edge for the wire's tests: everything is planned as written, on real backends.

What the tests need to see (queries, outcomes, releases) is kept; decisions other than passing through are
given by the test as a function.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.core.decision import Decision, EngineKind, Plan, Refusal, RefusalCode
from gateway.core.principal import Principal
from gateway.core.statement import Statement, Wire
from gateway.edge.contract import Backend, Outcome, Refused
from gateway.identity.contract import AuthenticationFailed, Credentials
from gateway.sql.kinds import classify
from gateway.wire.http.client import UpstreamPool

Decide = Callable[[Statement, Principal], Decision]


@dataclass
class DoubleBackend:
    name: str
    url: str
    pool: UpstreamPool
    headers: list[tuple[str, str]] = field(default_factory=list)
    kind: EngineKind = EngineKind.CLICKHOUSE
    healthy: bool = True
    process_forwarded: bool = False

    def engine_headers(self, principal: Principal) -> list[tuple[str, str]]:
        return list(self.headers)


@dataclass
class DoubleLease:
    backend: DoubleBackend
    edge: DoubleEdge
    open: bool = True

    def release(self) -> None:
        if self.open:
            self.open = False
            self.edge.slots_out -= 1


@dataclass
class DoubleQuery:
    edge: DoubleEdge
    statement: Statement
    principal: Principal
    decision: Decision
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    outcome: Outcome | None = None
    error_code: str | None = None
    error_text: str | None = None
    engine_id: str | None = None
    backend: str | None = None
    cancel: Callable[[], None] | None = None
    totals: dict[str, object] = field(default_factory=dict)
    lease: DoubleLease | None = None

    def started(self, backend: Backend, engine_query_id: str, cancel: Callable[[], None]) -> None:
        self.engine_id, self.backend, self.cancel = engine_query_id, backend.name, cancel

    def progress(self, **totals: object) -> None:
        self.totals.update({k: v for k, v in totals.items() if v is not None})

    def finish(
        self, outcome: Outcome, *, error_code: str | None = None, error_text: str | None = None
    ) -> None:
        if self.outcome is None:
            self.outcome, self.error_code, self.error_text = outcome, error_code, error_text
            if self.lease is not None:
                self.lease.release()


class DoubleBackends:
    def __init__(self, backends: list[DoubleBackend]) -> None:
        self._by_name = {backend.name: backend for backend in backends}

    def get(self, name: str) -> DoubleBackend | None:
        return self._by_name.get(name)

    def all(self) -> list[DoubleBackend]:
        return list(self._by_name.values())

    def by_coordinator(self, suffix: str) -> None:
        return None

    def learn_coordinator(self, suffix: str, backend: Backend) -> None:
        raise AssertionError("Trino only")

    async def find_coordinator(self, suffix: str, timeout_s: float) -> None:
        return None


class DoubleEdge:
    """Users log in with the password `<name>-pw`; without any proof one is `default`."""

    def __init__(self, backends: list[DoubleBackend], decide: Decide | None = None) -> None:
        self.backends = DoubleBackends(backends)
        self.decide = decide or self.pass_through
        self.queries: list[DoubleQuery] = []
        self.credentials: list[Credentials] = []
        self.slots_out = 0
        self.counted: dict[str, float] = {}
        self.gate: asyncio.Event | None = None
        """Where set, everyone waits for it before a slot is given."""

    def pass_through(self, statement: Statement, principal: Principal) -> Decision:
        return Plan(
            text=statement.text,
            kind=classify(statement.text, Wire.CLICKHOUSE).kind,
            engine=EngineKind.CLICKHOUSE,
            group="all",
            backends=tuple(backend.name for backend in self.backends.all()),
        )

    async def authenticate(self, credentials: Credentials) -> Principal:
        self.credentials.append(credentials)
        if credentials.act_as is not None:
            raise AuthenticationFailed("a name without a password proves nothing here")
        if credentials.user is None:
            return Principal("default")
        if credentials.user == "default" and not credentials.password:
            return Principal("default", method="password")
        if credentials.password != f"{credentials.user}-pw":
            raise AuthenticationFailed("password is incorrect, or there is no user with such name")
        return Principal(credentials.user, method="password")

    async def open(
        self, statement: Statement, principal: Principal, *, peer: str = "", traceparent: str | None = None
    ) -> DoubleQuery:
        query = DoubleQuery(self, statement, principal, self.decide(statement, principal))
        self.queries.append(query)
        del self.queries[:-100]
        return query

    async def admit(self, query: DoubleQuery, *, exclude: frozenset[str] = frozenset()) -> DoubleLease:
        plan = query.decision
        assert isinstance(plan, Plan)
        if self.gate is not None:
            await self.gate.wait()
        for name in plan.backends:
            backend = self.backends.get(name)
            if name not in exclude and backend is not None and backend.healthy:
                self.slots_out += 1
                query.lease = DoubleLease(backend, self)
                return query.lease
        raise Refused(Refusal(RefusalCode.NO_BACKEND, "No healthy backend is left for this statement"))

    def find(self, engine_query_id: str) -> DoubleQuery | None:
        return next((q for q in self.queries if q.engine_id == engine_query_id and q.outcome is None), None)

    def count(self, name: str, labels: Mapping[str, str] | None = None, by: float = 1) -> None:
        self.counted[name] = self.counted.get(name, 0) + by
