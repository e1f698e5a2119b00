"""The Trino wire: which requests there are, and what becomes of each."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

from gateway.core.decision import Answer, Plan, Refusal
from gateway.core.principal import Principal
from gateway.core.tasks import Supervisor
from gateway.edge.contract import Edge, Outcome, Query, WireOptions
from gateway.identity.contract import AuthenticationFailed, ImpersonationDenied
from gateway.identity.trino import trino_credentials
from gateway.wire.http.message import BodyTooLarge, ClientGone, Request
from gateway.wire.http.responder import Responder
from gateway.wire.trino import errors
from gateway.wire.trino.dispatch import CannotRun, Dispatcher, Started, Ticket
from gateway.wire.trino.errors import Failure, failure_of
from gateway.wire.trino.finder import CoordinatorFinder, TooManyLookups
from gateway.wire.trino.ids import QueryIds
from gateway.wire.trino.info import Info
from gateway.wire.trino.local import Local, LocalQueries
from gateway.wire.trino.options import TrinoOptions
from gateway.wire.trino.origin import BadHost, OriginRules, base_url
from gateway.wire.trino.owned import OwnedQueries, OwnedQuery, local_query_info
from gateway.wire.trino.paging import Paging
from gateway.wire.trino.registry import Registry
from gateway.wire.trino.replies import (
    JSON,
    not_allowed,
    plain_page,
    send_created,
    send_failure,
    send_page,
    send_reply,
    send_text,
    try_again,
    unauthorized,
)
from gateway.wire.trino.request import (
    BadRequest,
    ClientRequest,
    Forwarded,
    read_request,
)
from gateway.wire.trino.results import answer_query
from gateway.wire.trino.settling import Settler, settle_page
from gateway.wire.trino.transactions import TransactionIds
from gateway.wire.trino.uris import Page, is_query_id

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
        self._paging = Paging(edge, options, self._trino, self._registry, self._dispatcher, self._supervisor)
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
            await send_text(responder, 400, str(bad))
        except ImpersonationDenied as denied:
            await send_text(responder, 403, f"Access Denied: {denied}")
        except AuthenticationFailed as failed:
            await unauthorized(responder, str(failed), failed.retry_after)

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
            await not_allowed(responder, routes)

    async def _other(self, request: Request, responder: Responder) -> None:
        for prefix, methods in (("/v1/query/", ("GET", "DELETE")), ("/ui/query/", ("GET", "HEAD"))):
            query_id = request.path.removeprefix(prefix)
            if query_id == request.path or not is_query_id(query_id):
                continue
            if request.method not in methods:
                await not_allowed(responder, methods)
            elif prefix == "/ui/query/":
                await self._show_page(query_id, request, responder)
            else:
                await self._owned_query(request, responder, query_id)
            return
        await send_text(responder, 404, "Not found: this server speaks the Trino client protocol under /v1/")

    # -- who

    async def _principal(self, request: Request) -> Principal:
        peer = request.peer
        offered = trino_credentials(request.headers, certificate=peer.client_cert_der, peer=peer.host)
        return await self._edge.authenticate(offered)

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
            await send_text(responder, 400, "SQL statement is empty")
            return
        query = await self._edge.open(
            client.statement, principal, peer=request.peer.host, traceparent=client.traceparent
        )
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

    async def _refuse(self, responder: Responder, origin: Forwarded, failure: Failure) -> None:
        await send_failure(responder, base_url(origin), failure, self._ids.next())

    async def _answer(self, query: Query, answer: Answer, responder: Responder, origin: Forwarded) -> None:
        now = asyncio.get_running_loop().time()
        local = self._locals.add(query, self._ids.next(), now)
        answer_query(local.state, answer, now=now)
        await self._send_created(local, responder, origin)

    async def _send_created(self, local: Local, responder: Responder, origin: Forwarded) -> None:
        try:
            await send_reply(responder, local.state.created(base_url(origin)))
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
        try:
            await send_created(responder, created, live.client_id, base_url(origin))
        except ClientGone:
            # Nobody knows its id, so nobody will ask for its first page: it never runs.
            live.query.finish(Outcome.DISCONNECTED)
            self._registry.forget(live)
            self._settler.cancel(live)
            raise

    # -- pages

    async def _page_request(self, request: Request, responder: Responder, page: Page) -> None:
        if request.method not in (("DELETE",) if page.stage is not None else ("GET", "HEAD", "DELETE")):
            await not_allowed(responder, ("DELETE",) if page.stage is not None else ("GET", "HEAD", "DELETE"))
            return
        if page.moved_to is None and page.suffix == self.suffix:
            await self._local_page(request, responder, page)
            return
        try:
            backend = await self._finder.find(page.suffix)
        except TooManyLookups:
            await try_again(responder, "Too many unknown query ids are being looked up")
            return
        if backend is None:
            await send_text(responder, 404, "Query not found")
            return
        await self._paging.serve(request, responder, page, backend)

    async def _local_page(self, request: Request, responder: Responder, page: Page) -> None:
        local = self._locals.get(page.id)
        if local is None:
            await send_text(responder, 404, "Query not found")
        elif request.method == "DELETE":
            await self._cancel_local(local, page, responder)
        else:
            base = base_url(self._origins.of_request(request.headers, request.peer))
            polls = local.polls = local.polls + 1
            responder.on_disconnect(lambda: self._left(local, polls))
            reply = await self._locals.page(local, page, base, _target_bytes(request.query))
            await send_reply(responder, reply)

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
            await send_text(responder, 404, "Query not found")
            return
        if local.started is not None:
            self._settler.cancel(local.started.live)
        await responder.send(204, [])

    # -- queries of their owner

    async def _owned_query(self, request: Request, responder: Responder, query_id: str) -> None:
        principal = await self._principal(request)
        local = self._locals.get(query_id)
        if local is not None and local.started is None:
            if principal.name != local.query.principal.name:
                await send_text(responder, 404, "Query not found")
            elif request.method == "DELETE":
                self._locals.stop(local, asyncio.get_running_loop().time())
                await responder.send(204, [])
            else:
                await responder.send(200, [JSON], local_query_info(local, principal))
            return
        found = await self._queries.find(query_id, principal)
        if found is None:
            await send_text(responder, 404, "Query not found")
        elif request.method == "DELETE":
            await self._stop_owned(query_id, found, principal, responder)
        else:
            await responder.send(200, [JSON], found.document)

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
        await responder.send(200, [JSON], await self._info.server_info())

    async def _status(self, request: Request, responder: Responder) -> None:
        await responder.send(200, [JSON], await self._info.node_status())

    async def _state(self, request: Request, responder: Responder) -> None:
        await responder.send(200, [JSON], b'"ACTIVE"')

    async def _coordinator(self, request: Request, responder: Responder) -> None:
        await responder.send(200, [])

    async def _query_page(self, request: Request, responder: Responder) -> None:
        if is_query_id(request.query):
            await self._show_page(request.query, request, responder)
        else:
            await send_text(responder, 404, "Query not found")

    async def _show_page(self, query_id: str, request: Request, responder: Responder) -> None:
        """What is known of a query, for its owner. Who is not gets the page of an id that nobody knows."""
        page = self._trino.info_page
        known = page(query_id, await self._principal(request)) if page is not None else None
        await send_page(responder, known if known is not None else plain_page(query_id))

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


_HOUSEKEEPING_S = 2.0
_LEFT_GRACE_S = 5.0


def _target_bytes(query: str) -> int | None:
    match = _TARGET_SIZE.search(query)
    return None if match is None else int(match[1]) * _UNITS[match[2]]
