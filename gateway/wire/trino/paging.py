"""Pages of queries on engines: relayed, watched in passing, and what is said when a backend is gone."""

from __future__ import annotations

import asyncio
import logging

from gateway.core.decision import IDENTITY, Plan, PositionMap
from gateway.core.tasks import Supervisor
from gateway.edge.contract import Backend, Edge, Outcome, WireOptions
from gateway.wire.http.client import ConnectFailed, PoolFull, UpstreamError, UpstreamTimeout
from gateway.wire.http.message import Request
from gateway.wire.http.responder import Responder
from gateway.wire.trino import errors
from gateway.wire.trino.dispatch import BACKEND_ERRORS, Dispatcher
from gateway.wire.trino.errors import Failure
from gateway.wire.trino.options import TrinoOptions
from gateway.wire.trino.origin import OriginRules, base_url
from gateway.wire.trino.pages import PageFacts
from gateway.wire.trino.registry import Live, Registry
from gateway.wire.trino.relay import BadReply, Created, PageCall, Relayed, accepts_gzip, ask, in_words, relay
from gateway.wire.trino.replies import send_created, send_failure, send_text, try_again
from gateway.wire.trino.request import Forwarded, traceparent_of
from gateway.wire.trino.settling import lost_outcome, settle_page
from gateway.wire.trino.uris import BadUri, Page, page_of_uri, page_query

log = logging.getLogger(__name__)

_RETRY_PAUSE_S = 0.2
_TAIL_EVERY_S = 1.0


class Paging:
    """Serves pages of queries that run on a backend, known to this process or not."""

    def __init__(
        self,
        edge: Edge,
        options: WireOptions,
        trino: TrinoOptions,
        registry: Registry,
        dispatcher: Dispatcher,
        supervisor: Supervisor,
    ) -> None:
        self._edge, self._options, self._trino = edge, options, trino
        self._registry, self._dispatcher, self._supervisor = registry, dispatcher, supervisor
        self._origins = OriginRules.of(options.external_url, options.forwarded_from)

    async def serve(self, request: Request, responder: Responder, page: Page, backend: Backend) -> None:
        origin = self._origins.of_request(request.headers, request.peer)
        live = self._registry.get(page.id)
        if live is not None and page.engine_id != live.engine_id:
            if live.moved is not None and live.is_first_page(page):
                await self._moved_page(live, live.moved, responder, origin)
                return
            # Another query under this id: what its page says must not be told of this one.
            live = self._registry.get(page.engine_id)
        # Only who holds the slug we handed out last may change what is remembered when the backend is silent.
        known = live if live is not None and live.is_next_page(page) else None
        call = self._call(request, page, backend, live, origin)
        problem: UpstreamError | BadReply | None = None
        for last_try in (False, True):
            try:
                response = await ask(backend.pool, call, self._options.upstream_head_timeout_s)
                self._polled(known)
                relayed = await relay(response, call, responder)
                break
            except PoolFull:
                await try_again(responder, f"All connections to backend {backend.name} are busy")
                return
            except ConnectFailed as error:
                if await self._move(known, page, request.method, responder, origin):
                    return
                problem = error
            except UpstreamTimeout as error:
                self._polled(known)
                problem = error
                last_try = True
            except UpstreamError as error:
                self._polled(known)
                problem = error
            except BadReply as error:
                problem = error
                last_try = True
            if responder.started:
                responder.abort()
                return
            if last_try:
                await self._lost(request.method, page, backend, known, problem, responder, origin)
                return
            await asyncio.sleep(_RETRY_PAUSE_S)
        self._seen(page, live, request.method, relayed)

    def _call(
        self, request: Request, page: Page, backend: Backend, live: Live | None, origin: Forwarded
    ) -> PageCall:
        positions: PositionMap = IDENTITY
        want_tail = True
        if live is not None:
            now = asyncio.get_running_loop().time()
            if isinstance(plan := live.query.decision, Plan):
                positions = plan.positions
            want_tail = now - live.tail_at >= _TAIL_EVERY_S
        moved = page.moved_to is not None
        return PageCall(
            method=request.method,
            page=page,
            query=page_query(request.query),
            base=base_url(origin),
            forwarded=origin if backend.process_forwarded else None,
            gzip=accepts_gzip(request.headers),
            own_head=moved or not backend.process_forwarded or not positions.identity,
            positions=positions,
            want_tail=want_tail,
            traceparent=traceparent_of(request.headers),
            wrap_transaction=lambda given: self._dispatcher.wrap(given, backend),
        )

    def _polled(self, live: Live | None) -> None:
        """The backend may have seen a request for a page: from now on the query may be running there."""
        if live is not None and not live.polled:
            live.polled = True
            self._registry.drop_replay(live)

    def _seen(self, page: Page, live: Live | None, method: str, relayed: Relayed) -> None:
        """What a page that has passed means for its query."""
        facts = relayed.facts
        if live is None:
            query = self._edge.find(page.engine_id)
            if query is not None and facts.id is not None:
                settle_page(query, facts, relayed.bytes)
            elif self._trino.on_foreign_page is not None and facts.id is not None:
                self._trino.on_foreign_page(page.engine_id, facts)
            return
        live.seen = asyncio.get_running_loop().time()
        if method == "DELETE":
            if relayed.status == 204 and page.stage is None:
                live.query.finish(Outcome.CANCELLED, error_code=errors.USER_CANCELED.name)
                self._registry.forget(live)
            return
        if facts.id is not None:
            self._polled(live)
        live.bytes_out += relayed.bytes
        if facts.seen_tail:
            live.tail_at = live.seen
        if facts.id is not None:
            live.next_page = _next_page(facts, live) or live.next_page
            if settle_page(live.query, facts, live.bytes_out):
                self._registry.forget(live)
        elif relayed.status == 404 and page.engine_id == live.engine_id and live.next_page == page:
            live.query.finish(Outcome.UNKNOWN, error_text="the backend does not know the query any more")
            self._registry.forget(live)

    # -- a backend that is gone

    async def _move(
        self, live: Live | None, page: Page, method: str, responder: Responder, origin: Forwarded
    ) -> bool:
        """Register a query elsewhere that nobody has asked its backend for yet. True: the client is served."""
        if (
            live is None
            or live.replay is None
            or live.polled
            or method != "GET"
            or not live.is_first_page(page)
        ):
            return False
        replay = live.replay
        self._edge.count(BACKEND_ERRORS, {"backend": live.backend.name, "event": "moved"})
        self._registry.drop_replay(live)
        live.moved = self._supervisor.spawn(self._dispatcher.move(live, replay), "move")
        await self._moved_page(live, live.moved, responder, origin)
        return True

    async def _moved_page(
        self, live: Live, moved: asyncio.Future[Created | Failure], responder: Responder, origin: Forwarded
    ) -> None:
        outcome = await asyncio.shield(moved)
        if isinstance(outcome, Failure):
            live.query.finish(Outcome.FAILED, error_code=outcome.code.name, error_text=outcome.message)
            self._registry.forget(live)
            await send_failure(responder, base_url(origin), outcome, live.client_id)
            return
        await send_created(responder, outcome, live.client_id, base_url(origin))

    async def _lost(
        self,
        method: str,
        page: Page,
        backend: Backend,
        live: Live | None,
        problem: UpstreamError | BadReply | None,
        responder: Responder,
        origin: Forwarded,
    ) -> None:
        """The backend does not answer for this query any more: say so in the client's own terms."""
        self._edge.count(BACKEND_ERRORS, {"backend": backend.name, "event": "page"})
        log.warning("backend %s lost query %s: %s", backend.name, page.engine_id, problem)
        outcome = Outcome.FAILED if live is None else lost_outcome(live)
        failure = _lost_failure(backend, problem, outcome)
        if live is not None:
            live.query.finish(outcome, error_code=failure.code.name, error_text=failure.message)
            self._registry.forget(live)
        if method == "GET":
            await send_failure(responder, base_url(origin), failure, page.id)
        elif method == "DELETE":
            await responder.send(204, [])
        else:
            await send_text(responder, 404, "Query not found")


def _next_page(facts: PageFacts, live: Live) -> Page | None:
    if facts.next_uri is None:
        return None
    try:
        return page_of_uri(facts.next_uri).known_as(live.client_id)
    except BadUri:
        return None


def _lost_failure(backend: Backend, problem: UpstreamError | BadReply | None, outcome: Outcome) -> Failure:
    reason = in_words(problem) if problem is not None else "is gone"
    text = f"Backend {backend.name}, which ran this query, {reason}. "
    if outcome is Outcome.UNKNOWN:
        text += "Whether the statement took effect is unknown; look before you run it again."
    else:
        text += "Run the statement again; it will go to a backend that is up."
    code = errors.PAGE_TRANSPORT_TIMEOUT if isinstance(problem, UpstreamTimeout) else errors.REMOTE_HOST_GONE
    return Failure(code, text)
