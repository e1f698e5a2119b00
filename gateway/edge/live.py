"""The edge of one process, made of its parts. See `contract.Edge` for the order in which wires use it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from gateway.core.decision import Fix, Plan, Refusal, RefusalCode
from gateway.core.principal import Principal
from gateway.core.statement import Statement
from gateway.edge.admission import Admission, AdmissionRefused, Tiers
from gateway.edge.backends import LiveBackend, LiveBackends
from gateway.edge.contract import Outcome, Query, Refused
from gateway.edge.decider import Decided, Decider
from gateway.edge.query import LiveQuery, Settlement, query_id
from gateway.identity.contract import Authenticator, Credentials

ENDED_KEPT = 200
"""Ended queries whose page a client can still open."""


class Ledger(Protocol):
    """Where decisions and ends are written: audit (durable, first), history, metrics."""

    def decided(self, query: LiveQuery) -> None:
        """Take the record of a decision; `commit` makes it durable."""
        ...

    async def commit(self) -> None:
        """Every record taken so far is as durable as configured. Raises LedgerUnavailable."""
        ...

    def finished(self, query: LiveQuery, end: Settlement) -> None:
        """Take the record of an end; never waits, never raises."""
        ...

    def count(self, name: str, labels: Mapping[str, str], by: float) -> None:
        """Add to a counter of the metrics catalogue."""
        ...


class LedgerUnavailable(Exception):
    """The audit cannot be written and the operator chose to refuse queries then."""


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """`queue_seconds` is how long a query may wait for a slot unless a routing rule says otherwise."""

    queue_seconds: float = 60.0
    live_queries: int = 50_000


@dataclass(slots=True)
class _Lease:
    """See `contract.Lease`."""

    backend: LiveBackend
    _free: Callable[[], None]

    def release(self) -> None:
        """Give the slot back; harmless when it was given back already."""
        self._free()


class LiveEdge:
    """See `contract.Edge`."""

    def __init__(
        self,
        *,
        authenticator: Callable[[], Authenticator],
        decider: Decider,
        backends: LiveBackends,
        admission: Admission,
        ledger: Ledger,
        limits: EdgeLimits = EdgeLimits(),
    ) -> None:
        self._authenticator = authenticator
        self._decider = decider
        self._backends = backends
        self._admission = admission
        self._ledger = ledger
        self.limits = limits
        self._live: dict[str, LiveQuery] = {}
        self._by_engine_id: dict[str, LiveQuery] = {}
        self._ended: OrderedDict[str, LiveQuery] = OrderedDict()
        self.draining = False
        self.idle = asyncio.Event()
        """Set while no query is live."""
        self.idle.set()

    @property
    def backends(self) -> LiveBackends:
        """See `contract.Edge.backends`."""
        return self._backends

    def live(self) -> Iterable[LiveQuery]:
        """The queries that have not ended, oldest first."""
        return list(self._live.values())

    def live_query(self, gateway_id: str) -> LiveQuery | None:
        """A live query by the gateway's own id."""
        return self._live.get(gateway_id)

    async def authenticate(self, credentials: Credentials) -> Principal:
        """See `contract.Edge.authenticate`."""
        authenticator = self._authenticator()
        return authenticator.remembered(credentials) or await authenticator.authenticate(credentials)

    async def decide(self, statement: Statement, principal: Principal) -> Decided:
        """A decision without a query: what `gateway explain` shows."""
        return self._served(await self._decider.decide(statement, principal), principal)

    async def open(
        self, statement: Statement, principal: Principal, *, peer: str = "", traceparent: str | None = None
    ) -> LiveQuery:
        """See `contract.Edge.open`."""
        if self.draining:
            return self._closed(statement, principal, peer, _DRAINING)
        if len(self._live) >= self.limits.live_queries:
            return self._closed(statement, principal, peer, _TOO_MANY)
        decided = self._served(await self._decider.decide(statement, principal), principal)
        query = self._query(statement, principal, decided, peer)
        query.traceparent = traceparent
        self._live[query.id] = query
        self.idle.clear()
        self._ledger.decided(query)
        try:
            await self._ledger.commit()
        except LedgerUnavailable:
            query.finish(Outcome.REFUSED, error_code="AUDIT_UNAVAILABLE")
            return self._closed(statement, principal, peer, _NO_AUDIT)
        return query

    def _served(self, decided: Decided, principal: Principal) -> Decided:
        """The decision with those backends only that have a user for the principal; a refusal without any."""
        plan = decided.decision
        if not isinstance(plan, Plan):
            return decided
        backends = self._backends
        strange = {n for n in plan.backends if (b := backends.get(n)) is not None and not b.serves(principal)}
        if not strange:
            return decided
        kept = tuple(name for name in plan.backends if name not in strange)
        decision = replace(plan, backends=kept) if kept else _not_mapped(plan)
        return replace(decided, decision=decision)

    def _closed(self, statement: Statement, principal: Principal, peer: str, refusal: Refusal) -> LiveQuery:
        decided = Decided(refusal, self._decider.snapshot)
        return self._query(statement, principal, decided, peer)

    def _query(self, statement: Statement, principal: Principal, decided: Decided, peer: str) -> LiveQuery:
        return LiveQuery(query_id(), statement, principal, decided, peer, self._settle, self._by_engine_id)

    async def admit(self, query: Query, *, exclude: frozenset[str] = frozenset()) -> _Lease:
        """See `contract.Edge.admit`."""
        assert isinstance(query, LiveQuery)
        plan = query.plan
        assert plan is not None, "only a plan can be admitted"
        self._release(query)
        tiers = self._tiers(plan, exclude)
        principal = query.principal.name
        try:
            name = self._admission.try_acquire(principal, tiers)
            if name is None:
                query.progress(state="queued")
                wait = plan.max_queue_seconds
                name = await self._admission.acquire(
                    principal, tiers, self.limits.queue_seconds if wait is None else wait
                )
        except AdmissionRefused as error:
            self.count("gateway_queue_refused_total", {"group": plan.group})
            raise Refused(_admission_refusal(error, plan)) from error
        query.admitted(name)
        backend = self._backends.get(name)
        assert backend is not None, "admission grants only what it was offered"
        return _Lease(backend, lambda: self._release(query))

    def _tiers(self, plan: Plan, exclude: frozenset[str]) -> Tiers:
        tiers: dict[str, list[str]] = {}
        for name in plan.backends:
            backend = self._backends.get(name)
            if backend is not None and name not in exclude:
                tiers.setdefault(backend.options.group, []).append(name)
        return tuple(map(tuple, tiers.values()))

    def find(self, engine_query_id: str) -> LiveQuery | None:
        """See `contract.Edge.find`."""
        return self._by_engine_id.get(engine_query_id)

    def recent(self, engine_query_id: str) -> LiveQuery | None:
        """A query of this process that is live or ended not long ago, by the engine's id."""
        return self._by_engine_id.get(engine_query_id) or self._ended.get(engine_query_id)

    def count(self, name: str, labels: Mapping[str, str] | None = None, by: float = 1) -> None:
        """See `contract.Edge.count`."""
        self._ledger.count(name, labels or {}, by)

    def _release(self, query: LiveQuery) -> None:
        if query.granted is not None:
            granted, query.granted = query.granted, None
            self._admission.release(query.principal.name, granted)

    def _settle(self, query: LiveQuery, end: Settlement) -> None:
        self._release(query)
        self._live.pop(query.id, None)
        self._ended[query.engine_query_id or query.id] = query
        if len(self._ended) > ENDED_KEPT:
            self._ended.popitem(last=False)
        if not self._live:
            self.idle.set()
        if query.engine_query_id is not None:
            self._by_engine_id.pop(query.engine_query_id, None)
        self._ledger.finished(query, end)


_DRAINING = Refusal(
    RefusalCode.UNAVAILABLE,
    "The gateway is shutting down and takes no new statements; try again.",
    rule="drain",
)
_TOO_MANY = Refusal(
    RefusalCode.QUEUE_FULL,
    "The gateway has as many live queries as it may; try again later.",
    rule="live queries",
)
_NO_AUDIT = Refusal(
    RefusalCode.UNAVAILABLE,
    "The audit log cannot be written, and this gateway runs nothing that it cannot audit. "
    "Ask your operator to look at the audit directory (disk full?).",
    rule="audit",
)


def _not_mapped(plan: Plan) -> Refusal:
    return Refusal(
        RefusalCode.DENIED,
        f"You have no user on the engines of group `{plan.group}`.",
        rule="user_map",
        fixes=(Fix("ask your operator to add you to the `user_map` of its backends"),),
        kind=plan.kind,
        fingerprint=plan.fingerprint,
        trail=plan.trail,
    )


def _admission_refusal(error: AdmissionRefused, plan: Plan) -> Refusal:
    group = f"group `{plan.group}`"
    if error.reason == "no_backend":
        return Refusal(
            RefusalCode.NO_BACKEND,
            f"No healthy backend in {group} right now; the gateway keeps probing them. Try again shortly.",
            rule="health",
        )
    if error.reason == "timeout":
        return Refusal(
            RefusalCode.TIMEOUT,
            f"Waited in the queue of {group}, but {error}.",
            rule="queue",
            fixes=(Fix("run it later, or ask for a higher concurrency limit"),),
        )
    return Refusal(
        RefusalCode.QUEUE_FULL,
        f"The queue of {group} is full: {error}.",
        rule="queue",
        fixes=(Fix("run fewer queries at once, or later"),),
    )
