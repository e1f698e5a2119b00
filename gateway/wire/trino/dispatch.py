"""From a plan to a query that a backend knows: choosing, registering, moving on when a backend is gone.

A POST only registers a statement; Trino creates the query at the first GET (`QueuedStatementResource`).
Until then it may be registered on another backend without any risk of running twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from gateway.core.decision import EngineKind, Plan, RefusalCode
from gateway.edge.contract import Backend, Edge, Lease, Query, Refused
from gateway.wire.http.client import UpstreamError
from gateway.wire.http.message import InvalidHeader
from gateway.wire.trino import errors
from gateway.wire.trino.errors import Failure, failure_of
from gateway.wire.trino.options import TrinoOptions
from gateway.wire.trino.registry import Live, Registry, Replay
from gateway.wire.trino.relay import BadReply, Created, in_words, read_created
from gateway.wire.trino.request import ClientRequest, Forwarded, upstream_headers
from gateway.wire.trino.transactions import TransactionIds, UnknownTransaction
from gateway.wire.trino.uris import suffix_of

log = logging.getLogger(__name__)

BACKEND_ERRORS = "gateway_backend_errors_total"
_REJECTED_LIMIT = 4_096


class CannotRun(Exception):
    """No backend took the statement; `failure` is what the client is told."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code.name)
        self.failure = failure


class Elsewhere(Exception):
    """This backend did not take the statement; another one may. The text names backend and reason."""


@dataclass(slots=True)
class Ticket:
    """The id that a client was told meanwhile, while its statement waits for a slot."""

    client_id: str | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """A statement that a backend has registered, and the backend's first document."""

    live: Live
    created: Created


class Dispatcher:
    """Registers plans on backends. One for each process."""

    def __init__(
        self,
        edge: Edge,
        options: TrinoOptions,
        registry: Registry,
        transactions: TransactionIds,
        cancel: Callable[[Live], None],
    ) -> None:
        self._edge, self._options, self._registry = edge, options, registry
        self._transactions, self._cancel = transactions, cancel

    async def start(
        self, query: Query, plan: Plan, request: ClientRequest, origin: Forwarded, ticket: Ticket
    ) -> Started:
        """Register the statement on a backend of the plan. Raises CannotRun."""
        if plan.engine not in _SPEAK_TRINO:
            raise CannotRun(_failure(errors.NOT_SUPPORTED, _OTHER_WIRE))
        lease, created = await self._place(query, plan, request, origin, frozenset())
        engine_id = created.id
        client_id = ticket.client_id or engine_id
        now = asyncio.get_running_loop().time()
        live = Live(query, lease, client_id, engine_id, created=now, seen=now)
        live.first_page = live.next_page = created.next_page(client_id)
        if not request.in_transaction and (not plan.kind.writes or self._options.replay_writes):
            live.replay = Replay(request, plan, origin, _size(plan, request))
        forgotten = self._registry.add(live)
        if forgotten is not None:
            self._cancel(forgotten)
        self._announce(live)
        return Started(live, created)

    async def move(self, live: Live, replay: Replay) -> Created | Failure:
        """Register a query again whose backend is gone; its client keeps the id it knows."""
        gone = live.backend.name
        live.lease.release()
        try:
            lease, created = await self._place(
                live.query, replay.plan, replay.request, replay.origin, frozenset({gone})
            )
        except CannotRun as cannot:
            return cannot.failure
        live.lease, live.engine_id = lease, created.id
        live.next_page = created.next_page(live.client_id)
        self._registry.own(live)
        self._announce(live)
        return created

    def _announce(self, live: Live) -> None:
        self._edge.backends.learn_coordinator(suffix_of(live.engine_id), live.backend)
        live.query.started(live.backend, live.engine_id, lambda: self._cancel(live))

    async def _place(
        self, query: Query, plan: Plan, request: ClientRequest, origin: Forwarded, exclude: frozenset[str]
    ) -> tuple[Lease, Created]:
        transaction, pinned = self._transaction(request, plan)
        if pinned is not None:
            exclude |= frozenset(plan.backends) - {pinned}
        problems: list[str] = []
        for _ in range(1 if pinned is not None else self._options.max_attempts):
            try:
                lease = await self._edge.admit(query, exclude=exclude)
            except Refused as refused:
                if problems and refused.refusal.code in (RefusalCode.NO_BACKEND, RefusalCode.UNAVAILABLE):
                    break
                raise CannotRun(failure_of(refused.refusal)) from None
            try:
                return lease, await self._post(lease.backend, query, plan, request, origin, transaction)
            except Elsewhere as problem:
                self._edge.count(BACKEND_ERRORS, {"backend": lease.backend.name, "event": "post"})
                lease.release()
                problems.append(str(problem))
                exclude |= {lease.backend.name}
            except BaseException:
                lease.release()
                raise
        raise CannotRun(_nobody(problems, pinned))

    def _transaction(self, request: ClientRequest, plan: Plan) -> tuple[str | None, str | None]:
        """(the engine's id, the only backend that knows it), both None outside of transactions."""
        if not request.in_transaction:
            return None, None
        try:
            transaction, backend = self._transactions.unwrap(request.transaction or "")
        except UnknownTransaction:
            raise CannotRun(_failure(errors.UNKNOWN_TRANSACTION, _UNKNOWN_TRANSACTION)) from None
        if backend not in plan.backends:
            raise CannotRun(_failure(errors.NOT_SUPPORTED, _OTHER_BACKEND))
        return transaction, backend

    async def _post(
        self,
        backend: Backend,
        query: Query,
        plan: Plan,
        request: ClientRequest,
        origin: Forwarded,
        transaction: str | None,
    ) -> Created:
        headers = upstream_headers(
            request,
            backend.engine_headers(query.principal),
            settings=plan.settings,
            # The text of a rewritten plan is whole; what a client had prepared must not reach an engine.
            prepared_statements=() if plan.rewritten else None,
            transaction=transaction,
            forwarded=origin if backend.process_forwarded else None,
        )
        try:
            response = await backend.pool.request(
                "POST",
                "/v1/statement",
                headers,
                plan.text.encode(),
                head_timeout_s=self._options.post_timeout_s,
                idempotent=True,
            )
            async with response:
                if response.status != 200:
                    await _rejected(backend.name, response.status, await response.read(_REJECTED_LIMIT))
                return await read_created(response, lambda given: self.wrap(given, backend))
        except (UpstreamError, BadReply) as problem:
            log.warning("backend %s did not take a statement: %s", backend.name, problem)
            raise Elsewhere(f"{backend.name} {in_words(problem)}") from None
        except InvalidHeader:
            text = "A value of the request cannot be sent in an HTTP header; remove what is not printable."
            raise CannotRun(_failure(errors.GENERIC_USER_ERROR, text)) from None

    def wrap(self, transaction: str, backend: Backend) -> str:
        """The transaction id for the client. Raises BadReply."""
        try:
            return self._transactions.wrap(transaction, backend.name)
        except UnknownTransaction as strange:
            raise BadReply(str(strange), 200) from None


async def _rejected(backend: str, status: int, body: bytes) -> None:
    if status == 400:
        # Trino's words about a header or the statement; they are about what this client sent.
        text = body.decode("utf-8", "replace").strip()
        raise CannotRun(
            _failure(errors.GENERIC_USER_ERROR, text or "The engine does not accept the request.")
        )
    if status in (401, 403):
        raise Elsewhere(
            f"{backend} refused the gateway's own credentials or user (HTTP {status}); the operator must "
            "check the backend's `user` and secret, and Trino's impersonation rules"
        )
    raise Elsewhere(f"{backend} answered with HTTP status {status}")


def _nobody(problems: list[str], pinned: str | None) -> Failure:
    detail = "; ".join(problems) or "none is left to try"
    if pinned is not None:
        text = (
            f"The transaction lives on a backend that does not take statements now ({detail}). Its changes "
            "were not committed by this statement; roll back and start a new transaction."
        )
    else:
        text = f"No backend took the statement ({detail}). It did not run; try again in a moment."
    return _failure(errors.NO_NODES_AVAILABLE, text)


def _failure(code: errors.ErrorCode, message: str) -> Failure:
    return Failure(code, message)


_SPEAK_TRINO = frozenset({EngineKind.TRINO, EngineKind.DUCKDB})
_OTHER_WIRE = (
    "The statement was planned for an engine that does not speak this protocol. Ask your operator: "
    "`gateway explain` shows which rule chose it."
)
_UNKNOWN_TRANSACTION = (
    "Unknown transaction id: it was not given out by this gateway, or its key has changed since. "
    "Start a new transaction."
)
_OTHER_BACKEND = (
    "The statement would run on another backend than the one its transaction was started on. "
    "Commit or roll back first, or use only tables of that backend in the transaction."
)


def _size(plan: Plan, request: ClientRequest) -> int:
    prepared = sum(len(name) + len(text) for name, text in request.statement.prepared)
    session = sum(len(name) + len(value) for name, value in request.statement.properties)
    return 1024 + len(plan.text) + prepared + session
