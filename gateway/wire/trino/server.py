"""The Trino wire: which requests there are, and what becomes of each."""

from __future__ import annotations

import asyncio
import html
import math
import re
from collections.abc import Awaitable, Callable, Iterable

from gateway.core.decision import IDENTITY, Answer, Plan, PositionMap, Refusal
from gateway.core.principal import Principal
from gateway.core.tasks import Supervisor
from gateway.edge.contract import Backend, Edge, Outcome, Query, WireOptions
from gateway.identity.contract import AuthenticationFailed, ImpersonationDenied
from gateway.wire.http.client import ConnectFailed, PoolFull, UpstreamError, UpstreamTimeout
from gateway.wire.http.message import BodyTooLarge, ClientGone, Request
from gateway.wire.http.responder import Responder
from gateway.wire.trino import errors
from gateway.wire.trino.dispatch import BACKEND_ERRORS, CannotRun, Dispatcher, Started, Ticket
from gateway.wire.trino.documents import QueryResults, Stats
from gateway.wire.trino.errors import Failure, failure_of
from gateway.wire.trino.finder import CoordinatorFinder, TooManyLookups
from gateway.wire.trino.ids import QueryIds
from gateway.wire.trino.info import Info
from gateway.wire.trino.local import Local, LocalQueries
from gateway.wire.trino.options import TrinoOptions
from gateway.wire.trino.origin import BadHost, OriginRules, base_url
from gateway.wire.trino.owned import OwnedQueries, OwnedQuery, local_query_info
from gateway.wire.trino.pages import PageFacts
from gateway.wire.trino.registry import Live, Registry
from gateway.wire.trino.relay import (
    BadReply,
    Created,
    HeaderList,
    PageCall,
    Relayed,
    accepts_gzip,
    ask,
    relay,
)
from gateway.wire.trino.request import (
    BadRequest,
    ClientRequest,
    Forwarded,
    Unauthenticated,
    credentials_of,
    read_request,
    traceparent_of,
)
from gateway.wire.trino.results import Reply, answer_query
from gateway.wire.trino.settling import Settler, lost_outcome, settle_page
from gateway.wire.trino.transactions import TransactionIds
from gateway.wire.trino.uris import BadUri, Page, info_uri, is_query_id, page_of_uri, page_query

_JSON = ("Content-Type", "application/json")
_TEXT = ("Content-Type", "text/plain; charset=utf-8")
_HTML = ("Content-Type", "text/html; charset=utf-8")
_RETRY_PAUSE_S = 0.2
_TARGET_SIZE = re.compile(r"(?:^|&)targetResultSize=([0-9]{1,9})(B|kB|MB)?(?:&|$)")
_UNITS = {None: 1, "B": 1, "kB": 1 << 10, "MB": 1 << 20}

Route = Callable[[Request, Responder], Awaitable[None]]


class TrinoWire:
    """Serves the Trino client protocol on the HTTP carrier: `HttpServer(wire.handle)`.

    `suffix` ends the ids of queries that this process answers itself; requests for them that reach another
    process must be brought here.
    """

    def __init__(self, edge: Edge, options: WireOptions, trino: TrinoOptions | None = None) -> None:
        self._edge, self._options = edge, options
        self._trino = trino or TrinoOptions()
        self._origins = OriginRules.of(options.external_url, options.forwarded_from)
        self._ids = QueryIds(self._trino.suffix)
        self._supervisor = Supervisor("trino-wire")
        self._registry = Registry()
        self._locals = LocalQueries()
        self._info = Info(edge.backends, self._trino.environment, self._trino.suffix)
        self._finder = CoordinatorFinder(edge.backends, self._trino)
        self._settler = Settler(self._registry, self._supervisor, self._trino)
        transactions = TransactionIds(self._trino.transaction_key)
        self._dispatcher = Dispatcher(edge, self._trino, self._registry, transactions, self._settler.cancel)
        self._queries = OwnedQueries(edge, self._registry, self._finder)
        self._housekeeping: asyncio.Task[None] | None = None
        self._routes: dict[str, dict[str, Route]] = {
            "/v1/statement": {"POST": self._post, "HEAD": self._check_credentials},
            "/v1/info": {"GET": self._server_info, "HEAD": self._server_info},
            "/v1/info/state": {"GET": self._state, "HEAD": self._state},
            "/v1/info/coordinator": {"GET": self._coordinator, "HEAD": self._coordinator},
            "/v1/status": {"GET": self._status, "HEAD": self._status},
            "/ui/query.html": {"GET": self._query_page, "HEAD": self._query_page},
        }

    @property
    def suffix(self) -> str:
        return self._trino.suffix

    @property
    def live_queries(self) -> int:
        """Queries of this process that are on an engine or wait here."""
        return len(self._registry) + len(self._locals)

    async def handle(self, request: Request, responder: Responder) -> None:
        """One request. Never raises for what a client or a backend does; ClientGone passes through."""
        self._start_housekeeping()
        try:
            await self._route(request, responder)
        except BadHost as bad:
            await _send_text(responder, 400, str(bad))
        except Unauthenticated:
            await _unauthorized(responder, "Invalid credentials")
        except ImpersonationDenied as denied:
            await _send_text(responder, 403, f"Access Denied: {denied}")
        except AuthenticationFailed as failed:
            await _unauthorized(responder, str(failed), failed.retry_after)

    async def close(self) -> None:
        """Stop background work; queries on engines go on and can be fetched from another process."""
        await self._locals.close()
        await self._supervisor.close()

    # -- routing

    async def _route(self, request: Request, responder: Responder) -> None:
        path = request.path
        if (page := Page.parse(path)) is not None:
            await self._page_request(request, responder, page)
            return
        routes = self._routes.get(path)
        if routes is None:
            await self._other(request, responder)
        elif (route := routes.get(request.method)) is not None:
            await route(request, responder)
        else:
            await _not_allowed(responder, routes)

    async def _other(self, request: Request, responder: Responder) -> None:
        for prefix, methods in (("/v1/query/", ("GET", "DELETE")), ("/ui/query/", ("GET", "HEAD"))):
            query_id = request.path.removeprefix(prefix)
            if query_id == request.path or not is_query_id(query_id):
                continue
            if request.method not in methods:
                await _not_allowed(responder, methods)
            elif prefix == "/ui/query/":
                await self._show_page(query_id, responder)
            else:
                await self._owned_query(request, responder, query_id)
            return
        await _send_text(responder, 404, "Not found: this server speaks the Trino client protocol under /v1/")

    # -- who

    async def _principal(self, request: Request) -> Principal:
        return await self._edge.authenticate(credentials_of(request.headers, request.peer))

    async def _check_credentials(self, request: Request, responder: Responder) -> None:
        # The JDBC driver validates a connection by `HEAD /v1/statement`.
        await self._principal(request)
        await responder.send(200, [])

    # -- statements

    async def _post(self, request: Request, responder: Responder) -> None:
        principal = await self._principal(request)
        origin = self._origins.of_request(request.headers, request.peer)
        try:
            client = await self._read(request)
        except BadRequest as bad:
            await self._refuse(responder, origin, Failure(errors.GENERIC_USER_ERROR, str(bad)))
            return
        except BodyTooLarge as large:
            text = f"The statement is larger than {large.limit} bytes; split it, or load its data as a table."
            await self._refuse(responder, origin, Failure(errors.QUERY_TEXT_TOO_LARGE, text))
            return
        if not client.statement.text:
            await _send_text(responder, 400, "SQL statement is empty")
            return
        query = await self._edge.open(client.statement, principal, peer=request.peer.host)
        match query.decision:
            case Refusal() as refusal:
                failure = failure_of(refusal)
                query.finish(Outcome.REFUSED, error_code=failure.code.name, error_text=failure.message)
                await self._refuse(responder, origin, failure)
            case Answer() as answer:
                await self._answer(query, answer, responder, origin)
            case Plan() as plan:
                await self._run(query, plan, client, responder, origin)

    async def _read(self, request: Request) -> ClientRequest:
        body = await request.body.read(self._options.max_statement_bytes)
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            raise BadRequest("The statement is not UTF-8; send it as text/plain; charset=utf-8") from None
        return read_request(text, request.headers, self._trino.rules)

    async def _refuse(
        self, responder: Responder, origin: Forwarded, failure: Failure, query_id: str | None = None
    ) -> None:
        body = self._failed(base_url(origin), failure, query_id or self._ids.next())
        await responder.send(200, [_JSON], body)

    @staticmethod
    def _failed(base: str, failure: Failure, query_id: str) -> bytes:
        document = QueryResults(query_id, info_uri(base, query_id), Stats("FAILED"), failure=failure)
        return document.encode()

    async def _answer(self, query: Query, answer: Answer, responder: Responder, origin: Forwarded) -> None:
        now = asyncio.get_running_loop().time()
        local = self._locals.add(query, self._ids.next(), now)
        answer_query(local.state, answer, now=now)
        await self._send_created(local, responder, origin)

    async def _send_created(self, local: Local, responder: Responder, origin: Forwarded) -> None:
        try:
            await _send_reply(responder, local.state.created(base_url(origin)))
        except ClientGone:
            self._locals.stop(local, asyncio.get_running_loop().time(), Outcome.DISCONNECTED)
            raise

    async def _run(
        self, query: Query, plan: Plan, client: ClientRequest, responder: Responder, origin: Forwarded
    ) -> None:
        ticket = Ticket()
        starting = self._supervisor.spawn(self._start(query, plan, client, origin, ticket), "start")
        try:
            done, _ = await asyncio.wait({starting}, timeout=self._trino.patience_s)
        except asyncio.CancelledError:
            starting.cancel()
            query.finish(Outcome.DISCONNECTED)
            raise
        if not done:
            ticket.client_id = self._ids.next()
            now = asyncio.get_running_loop().time()
            local = self._locals.add(query, ticket.client_id, now)
            self._locals.await_start(local, starting)
            await self._send_created(local, responder, origin)
            return
        outcome = starting.result()
        if isinstance(outcome, Failure):
            await self._refuse(responder, origin, outcome)
        else:
            await self._started(outcome, responder, origin)

    async def _start(
        self, query: Query, plan: Plan, client: ClientRequest, origin: Forwarded, ticket: Ticket
    ) -> Started | Failure:
        """As `Dispatcher.start`, and whatever goes wrong ends the query."""
        try:
            return await self._dispatcher.start(query, plan, client, origin, ticket)
        except CannotRun as cannot:
            failure = cannot.failure
            query.finish(Outcome.REFUSED, error_code=failure.code.name, error_text=failure.message)
            return failure
        except asyncio.CancelledError:
            query.finish(Outcome.CANCELLED, error_code=errors.USER_CANCELED.name)
            raise
        except BaseException:
            query.finish(Outcome.FAILED, error_code=errors.GENERIC_INTERNAL_ERROR.name)
            raise

    async def _started(self, started: Started, responder: Responder, origin: Forwarded) -> None:
        live, created = started.live, started.created
        if settle_page(live.query, created.facts, live.bytes_out):
            self._registry.forget(live)
        body = created.document(live.client_id, base_url(origin))
        try:
            await responder.send(200, [_JSON, *_without_type(created.headers)], body)
        except ClientGone:
            # Nobody knows its id, so nobody will ask for its first page: it never runs.
            live.query.finish(Outcome.DISCONNECTED)
            self._registry.forget(live)
            self._settler.cancel(live)
            raise

    # -- pages

    async def _page_request(self, request: Request, responder: Responder, page: Page) -> None:
        if request.method not in (("DELETE",) if page.stage is not None else ("GET", "HEAD", "DELETE")):
            await _not_allowed(
                responder, ("DELETE",) if page.stage is not None else ("GET", "HEAD", "DELETE")
            )
            return
        if page.moved_to is None and page.suffix == self.suffix:
            await self._local_page(request, responder, page)
            return
        try:
            backend = await self._finder.find(page.suffix)
        except TooManyLookups:
            await _try_again(responder, "Too many unknown query ids are being looked up")
            return
        if backend is None:
            await _send_text(responder, 404, "Query not found")
            return
        await self._relay(request, responder, page, backend)

    async def _local_page(self, request: Request, responder: Responder, page: Page) -> None:
        local = self._locals.get(page.id)
        if local is None:
            await _send_text(responder, 404, "Query not found")
        elif request.method == "DELETE":
            await self._cancel_local(local, page, responder)
        else:
            base = base_url(self._origins.of_request(request.headers, request.peer))
            polls = local.polls = local.polls + 1
            responder.on_disconnect(lambda: self._left(local, polls))
            reply = await self._locals.page(local, page, base, _target_bytes(request.query))
            await _send_reply(responder, reply)

    def _left(self, local: Local, polls: int) -> None:
        """The client broke off while it waited for a page: unless it asks again soon, nobody wants the rest."""
        grace = max(self._options.disconnect_grace_s, _LEFT_GRACE_S)
        asyncio.get_running_loop().call_later(grace, self._stop_left, local, polls)

    def _stop_left(self, local: Local, polls: int) -> None:
        if local.polls == polls and local.started is None and local.query_open:
            self._locals.stop(local, asyncio.get_running_loop().time(), Outcome.DISCONNECTED)

    async def _cancel_local(self, local: Local, page: Page, responder: Responder) -> None:
        now = asyncio.get_running_loop().time()
        if not self._locals.cancel(local, page, now):
            await _send_text(responder, 404, "Query not found")
            return
        if local.started is not None:
            self._settler.cancel(local.started.live)
        await responder.send(204, [])

    async def _relay(self, request: Request, responder: Responder, page: Page, backend: Backend) -> None:
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
                await _try_again(responder, f"All connections to backend {backend.name} are busy")
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
            await self._refuse(responder, origin, outcome, live.client_id)
            return
        body = outcome.document(live.client_id, base_url(origin))
        await responder.send(200, [_JSON, *_without_type(outcome.headers)], body)

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
        outcome = Outcome.FAILED if live is None else lost_outcome(live)
        failure = _lost_failure(backend, problem, outcome)
        if live is not None:
            live.query.finish(outcome, error_code=failure.code.name, error_text=failure.message)
            self._registry.forget(live)
        if method == "GET":
            await self._refuse(responder, origin, failure, page.id)
        elif method == "DELETE":
            await responder.send(204, [])
        else:
            await _send_text(responder, 404, "Query not found")

    # -- queries of their owner

    async def _owned_query(self, request: Request, responder: Responder, query_id: str) -> None:
        principal = await self._principal(request)
        local = self._locals.get(query_id)
        if local is not None and local.started is None:
            if not _owns(principal, local.query.principal.name):
                await _send_text(responder, 404, "Query not found")
            elif request.method == "DELETE":
                self._locals.stop(local, asyncio.get_running_loop().time())
                await responder.send(204, [])
            else:
                await responder.send(200, [_JSON], local_query_info(local, principal))
            return
        found = await self._queries.find(query_id, principal)
        if found is None:
            await _send_text(responder, 404, "Query not found")
        elif request.method == "DELETE":
            await self._stop_owned(query_id, found, principal, responder)
        else:
            await responder.send(200, [_JSON], found.document)

    async def _stop_owned(
        self, query_id: str, found: OwnedQuery, principal: Principal, responder: Responder
    ) -> None:
        await self._queries.stop(found, principal)
        live = self._registry.get(query_id)
        if live is not None:
            live.query.finish(Outcome.CANCELLED, error_code=errors.USER_CANCELED.name)
            self._registry.forget(live)
        await responder.send(204, [])

    # -- about this server

    async def _server_info(self, request: Request, responder: Responder) -> None:
        await responder.send(200, [_JSON], await self._info.server_info())

    async def _status(self, request: Request, responder: Responder) -> None:
        await responder.send(200, [_JSON], await self._info.node_status())

    async def _state(self, request: Request, responder: Responder) -> None:
        await responder.send(200, [_JSON], b'"ACTIVE"')

    async def _coordinator(self, request: Request, responder: Responder) -> None:
        await responder.send(200, [])

    async def _query_page(self, request: Request, responder: Responder) -> None:
        if is_query_id(request.query):
            await self._show_page(request.query, responder)
        else:
            await _send_text(responder, 404, "Query not found")

    async def _show_page(self, query_id: str, responder: Responder) -> None:
        render = self._trino.info_page or _plain_page
        await responder.send(200, [_HTML, *_PAGE_POLICY], render(query_id))

    # -- housekeeping

    def _start_housekeeping(self) -> None:
        if self._housekeeping is None:
            self._housekeeping = self._supervisor.spawn(self._keep_house(), "housekeeping")

    async def _keep_house(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_HOUSEKEEPING_S)
            self._locals.sweep(loop.time())
            self._settler.sweep(loop.time())


_HOUSEKEEPING_S = 10.0
_TAIL_EVERY_S = 1.0
_LEFT_GRACE_S = 5.0
_PAGE_POLICY: HeaderList = [
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
]


def _owns(principal: Principal, owner: str) -> bool:
    return principal.name == owner


def _next_page(facts: PageFacts, live: Live) -> Page | None:
    if facts.next_uri is None:
        return None
    try:
        return page_of_uri(facts.next_uri).known_as(live.client_id)
    except BadUri:
        return None


def _lost_failure(backend: Backend, problem: UpstreamError | BadReply | None, outcome: Outcome) -> Failure:
    text = f"Backend {backend.name}, which ran this query, cannot go on with it: {problem}. "
    if outcome is Outcome.UNKNOWN:
        text += "Whether the statement took effect is unknown; look before you run it again."
    else:
        text += "Run the statement again; it will go to a backend that is up."
    code = errors.PAGE_TRANSPORT_TIMEOUT if isinstance(problem, UpstreamTimeout) else errors.REMOTE_HOST_GONE
    return Failure(code, text)


def _target_bytes(query: str) -> int | None:
    match = _TARGET_SIZE.search(query)
    return None if match is None else int(match[1]) * _UNITS[match[2]]


def _without_type(headers: HeaderList) -> HeaderList:
    return [(name, value) for name, value in headers if name != "Content-Type"]


async def _send_reply(responder: Responder, reply: Reply) -> None:
    if reply.status == 200:
        await responder.send(200, [_JSON, *reply.headers], reply.body)
    elif reply.status == 204:
        await responder.send(204, [])
    else:
        text = "Query not found" if reply.status == 404 else "The page is gone: the query has moved on"
        await _send_text(responder, reply.status, text)


async def _send_text(responder: Responder, status: int, text: str) -> None:
    await responder.send(status, [_TEXT], text.encode())


async def _try_again(responder: Responder, reason: str) -> None:
    # 503 is the one status that Java, Go and Python clients all retry.
    await responder.send(503, [_TEXT, ("Retry-After", "1")], f"{reason}; the client may try again".encode())


async def _not_allowed(responder: Responder, methods: Iterable[str]) -> None:
    allowed = ", ".join(methods)
    await responder.send(405, [_TEXT, ("Allow", allowed)], f"Method not allowed; use {allowed}".encode())


async def _unauthorized(responder: Responder, text: str, retry_after: float | None = None) -> None:
    if retry_after is not None:
        headers = [_TEXT, ("Retry-After", str(math.ceil(retry_after)))]
        await responder.send(429, headers, text.encode())
        return
    challenge = [("WWW-Authenticate", 'Basic realm="Trino"'), ("WWW-Authenticate", 'Bearer realm="Trino"')]
    await responder.send(401, [_TEXT, *challenge], text.encode())


def _plain_page(query_id: str) -> bytes:
    shown = html.escape(query_id)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Query {shown}</title>"
        "<style>body{font:16px system-ui;margin:3em}</style>"
        f"<h1>Query {shown}</h1><p>The gateway runs this query. Its owner gets its state from "
        f"<code>/v1/query/{shown}</code>.</p></html>"
    ).encode()
