"""A small Trino coordinator: the statement protocol over HTTP, answered by the embedded engine."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import duckdb
import orjson

from gateway.core.tasks import Supervisor
from gateway.engines.duckdb.engine import Engine
from gateway.engines.duckdb.failures import CODES, TrinoFailure, fail
from gateway.engines.duckdb.session import VERSION, Session, read_session
from gateway.engines.duckdb.virtual import RuntimeView, moment
from gateway.wire.http.message import BodyTooLarge, Request
from gateway.wire.http.responder import Responder
from gateway.wire.trino.documents import QueryResults, ResultColumn, Stats, stats_document
from gateway.wire.trino.errors import Failure, query_error
from gateway.wire.trino.ids import QueryIds
from gateway.wire.trino.results import (
    MAX_WAIT_S,
    NO_CONTENT,
    NOT_FOUND,
    Chunk,
    HeaderPairs,
    LocalQuery,
    Reply,
    ResultLimits,
)
from gateway.wire.trino.uris import Page, info_uri, is_query_id

log = logging.getLogger(__name__)

MAX_STATEMENT = 1_000_000
_MAX_QUERIES = 10_000
_MAX_WAITING = 1000
_SWEEP_S = 5.0
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)(B|kB|MB|GB)")
_UNITS = {"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,255}")


@dataclass(eq=False, slots=True)
class Running:
    """One query, from its POST until it is forgotten."""

    statement: str
    session: Session
    state: LocalQuery
    created: float
    started: float | None = None
    ended: float | None = None
    task: asyncio.Task[None] | None = None
    connection: duckdb.DuckDBPyConnection | None = None
    waiters: list[asyncio.Future[None]] = field(default_factory=list)

    def changed(self) -> None:
        """Wake everybody who waits for news of this query."""
        waiters, self.waiters = self.waiters, []
        for one in waiters:
            if not one.done():
                one.set_result(None)

    async def news(self, timeout_s: float) -> None:
        """Wait for a change, at most this long."""
        future = asyncio.get_running_loop().create_future()
        self.waiters.append(future)
        await asyncio.wait([future], timeout=timeout_s)

    def interrupt(self) -> None:
        """Stop what DuckDB is doing for this query."""
        if self.connection is not None:
            self.connection.interrupt()


class _Sink:
    """Brings results from the worker thread to the loop; blocks the thread while nobody fetches."""

    def __init__(self, running: Running, loop: asyncio.AbstractEventLoop) -> None:
        self._running = running
        self._loop = loop

    def begin(self, columns: Sequence[ResultColumn], headers: HeaderPairs, update_type: str | None) -> None:
        def tell() -> None:
            self._running.state.begin(
                columns, headers=headers, update_type=update_type, now=self._loop.time()
            )

        self._loop.call_soon_threadsafe(tell)

    def offer(self, chunk: Chunk) -> bool:
        return asyncio.run_coroutine_threadsafe(self._offer(chunk), self._loop).result()

    async def _offer(self, chunk: Chunk) -> bool:
        state = self._running.state
        while not state.has_room and not state.done and not state.stop_requested:
            await self._running.news(_SWEEP_S)
        state.offer(chunk)
        return not state.done and not state.stop_requested

    def using(self, connection: duckdb.DuckDBPyConnection | None) -> None:
        def tell() -> None:
            self._running.connection = connection
            if connection is not None and (self._running.state.done or self._running.state.stop_requested):
                connection.interrupt()

        if connection is None:
            # The connection is about to close: an interrupt must not meet a closed one.
            done: Future[None] = Future()

            def forget() -> None:
                tell()
                done.set_result(None)

            self._loop.call_soon_threadsafe(forget)
            done.result()
        else:
            self._loop.call_soon_threadsafe(tell)


class Coordinator:
    """Serves `handle` to HttpServer. `environment` is what `/v1/info` tells."""

    def __init__(
        self,
        database: str,
        catalog_name: str,
        *,
        environment: str = "embedded",
        workers: int = 8,
        limits: ResultLimits | None = None,
        memory_limit: str | None = None,
        threads: int | None = None,
    ) -> None:
        self.ids = QueryIds()
        self.environment = environment
        self.limits = limits or ResultLimits()
        self._born = time.monotonic()
        self._queries: OrderedDict[str, Running] = OrderedDict()
        self._supervisor = Supervisor("duckdb")
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="duckdb")
        self._slots = asyncio.Semaphore(workers)
        self._waiting = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        runtime = RuntimeView(
            node_id=self.ids.suffix,
            uri="http://embedded",
            version=VERSION,
            connectors={"system": "system", "memory": "memory", catalog_name: "duckdb"},
            queries=self._query_rows,
        )
        self.engine = Engine(
            database,
            catalog_name,
            runtime=runtime,
            kill=self._kill,
            memory_limit=memory_limit,
            threads=threads,
        )

    def start(self) -> None:
        """Begin housekeeping; call on the loop."""
        self._loop = asyncio.get_running_loop()
        self._supervisor.spawn(self._sweep_forever(), "sweep")

    async def close(self) -> None:
        """Stop every query and DuckDB."""
        now = asyncio.get_running_loop().time()
        for one in list(self._queries.values()):
            one.state.fail(
                Failure(CODES["SERVER_SHUTTING_DOWN"], "The embedded engine is shutting down"), now=now
            )
            one.interrupt()
        await self._supervisor.close()
        self._workers.shutdown(wait=False, cancel_futures=True)
        self.engine.close()

    # -- HTTP

    async def handle(self, request: Request, responder: Responder) -> None:
        """One request."""
        reply, kind = await self._answer(request)
        headers = [
            ("Content-Type", kind),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        await responder.send(
            reply.status, [*headers, *reply.headers] if reply.body else list(reply.headers), reply.body
        )

    async def _answer(self, request: Request) -> tuple[Reply, str]:
        path, method = request.path, request.method
        json = "application/json"
        if path == "/v1/statement":
            return (
                await self._statement(request)
                if method == "POST"
                else Reply(405 if method != "HEAD" else 200)
            ), json
        if path.startswith("/v1/statement/"):
            return await self._page(request), json
        if path.startswith("/v1/query"):
            return self._query_resource(request), json
        if path in ("/v1/info", "/v1/info/state", "/v1/status") and method in ("GET", "HEAD"):
            return Reply(200, orjson.dumps(self._info(path))), json
        if path == "/ui/query.html":
            return Reply(
                200, b"This is the embedded engine; the gateway's portal shows queries.\n"
            ), "text/plain"
        return NOT_FOUND, json

    def _info(self, path: str) -> Any:
        if path.endswith("/state"):
            return "ACTIVE"
        uptime = f"{time.monotonic() - self._born:.2f}s"
        if path.endswith("/status"):
            return {
                "nodeId": self.ids.suffix, "nodeVersion": {"version": VERSION}, "environment": self.environment,
                "coordinator": True, "uptime": uptime, "externalAddress": "127.0.0.1", "internalAddress": "127.0.0.1",
            }  # fmt: skip
        return {
            "nodeVersion": {"version": VERSION},
            "environment": self.environment,
            "coordinator": True,
            "starting": False,
            "uptime": uptime,
            "coordinatorId": self.ids.suffix,
            "nodeId": self.ids.suffix,
            "state": "ACTIVE",
        }

    # -- statements

    async def _statement(self, request: Request) -> Reply:
        base = base_url(request)
        query_id = self.ids.next()
        try:
            session = read_session(request.headers)
            statement = (await request.body.read(MAX_STATEMENT)).decode()
            if not statement.strip():
                fail("SYNTAX_ERROR", "SQL statement is empty")
            if len(self._queries) >= _MAX_QUERIES:
                fail("QUERY_QUEUE_FULL", f"{_MAX_QUERIES} queries are known already; try again in a moment")
        except TrinoFailure as error:
            return _failed(query_id, base, error.failure)
        except BodyTooLarge:
            return _failed(
                query_id, base, Failure(CODES["SYNTAX_ERROR"], f"The statement is over {MAX_STATEMENT} bytes")
            )
        except UnicodeDecodeError:
            return _failed(query_id, base, Failure(CODES["SYNTAX_ERROR"], "The statement is not UTF-8"))
        running = self._register(query_id, statement, session)
        return running.state.created(base)

    def _register(self, query_id: str, statement: str, session: Session) -> Running:
        state = LocalQuery(
            query_id,
            now=asyncio.get_running_loop().time(),
            capabilities=session.capabilities,
            limits=self.limits,
        )
        running = Running(statement, session, state, time.time())
        state.on_change(running.changed)
        self._queries[query_id] = running
        return running

    async def _page(self, request: Request) -> Reply:
        page = Page.parse(request.path)
        running = self._queries.get(page.id) if page is not None else None
        if page is None or running is None or not running.state.knows(page.phase, page.token, page.slug):
            return NOT_FOUND
        if request.method == "DELETE":
            return self._stop(running, partial=page.stage is not None)
        if request.method == "HEAD":
            running.state.touch(asyncio.get_running_loop().time())
            return Reply(200)
        if request.method != "GET" or page.stage is not None:
            return Reply(405)
        return await self._fetch(running, page, request)

    def _stop(self, running: Running, *, partial: bool) -> Reply:
        if partial:
            running.state.partial_cancel()
        else:
            running.state.cancel(asyncio.get_running_loop().time())
        running.interrupt()
        return NO_CONTENT

    async def _fetch(self, running: Running, page: Page, request: Request) -> Reply:
        options = parse_qs(request.query)
        wait_s = _duration(options.get("maxWait", [""])[0])
        target = _size(options.get("targetResultSize", [""])[0])
        base, loop = base_url(request), asyncio.get_running_loop()
        if running.task is None:
            running.task = self._supervisor.spawn(self._run(running), running.state.id)
        deadline = loop.time() + wait_s
        while True:
            now = loop.time()
            waited = now >= deadline
            if page.phase == "queued":
                reply = running.state.queued(page.token, page.slug, base, now, waited=waited)
            else:
                reply = running.state.executing(
                    page.token, page.slug, base, now, target_bytes=target, waited=waited
                )
            if reply is not None:
                return reply
            await running.news(deadline - now)

    async def _run(self, running: Running) -> None:
        loop = asyncio.get_running_loop()
        state = running.state
        if self._waiting >= _MAX_WAITING:
            state.fail(
                Failure(CODES["QUERY_QUEUE_FULL"], f"{_MAX_WAITING} queries wait already"), now=loop.time()
            )
            return
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            if state.done:
                return
            running.started = time.time()
            await self._work(running)
        finally:
            running.ended = time.time()
            self._slots.release()

    async def _work(self, running: Running) -> None:
        loop, state = asyncio.get_running_loop(), running.state
        sink = _Sink(running, loop)
        try:
            count = await loop.run_in_executor(
                self._workers, self.engine.run, running.statement, running.session, sink
            )
        except TrinoFailure as error:
            if state.stop_requested and error.failure.code is CODES["USER_CANCELED"]:
                state.finish(now=loop.time())
            else:
                state.fail(error.failure, now=loop.time())
        except Exception:
            state.fail(_internal(), now=loop.time())
            raise
        else:
            state.finish(update_count=count, now=loop.time())

    # -- queries

    def _query_resource(self, request: Request) -> Reply:
        query_id = request.path.removeprefix("/v1/query").strip("/")
        if not query_id and request.method == "GET":
            return Reply(200, orjson.dumps([self._described(one) for one in self._queries.values()]))
        running = self._queries.get(query_id) if is_query_id(query_id) else None
        if request.method == "DELETE":
            if running is not None:
                self._stop(running, partial=False)
            return NO_CONTENT
        if running is None:
            return Reply(410)
        return Reply(200, orjson.dumps(self._described(running)))

    def _described(self, running: Running) -> dict[str, Any]:
        state = running.state
        document: dict[str, Any] = {
            "queryId": state.id,
            "session": {
                "queryId": state.id, "user": running.session.user, "source": running.session.source,
                "catalog": running.session.catalog, "schema": running.session.schema,
                "timeZoneKey": running.session.zone,
            },
            "state": state.state.value,
            "scheduled": running.started is not None,
            "self": f"/v1/query/{state.id}",
            "query": running.statement,
            "updateType": state.update_type,
            "queryStats": stats_document(state.stats()),
        }  # fmt: skip
        if state.failure is not None:
            error = query_error(state.failure)
            code = {"code": error["errorCode"], "name": error["errorName"], "type": error["errorType"]}
            document |= {
                "errorType": error["errorType"],
                "errorCode": code,
                "failureInfo": error["failureInfo"],
            }
        return document

    def _query_rows(self) -> list[tuple[Any, ...]]:
        """`system.runtime.queries`; called from worker threads, so it copies first."""
        rows = []
        for one in list(self._queries.values()):
            failure = one.state.failure
            queued = int(1000 * ((one.started or time.time()) - one.created))
            rows.append(
                (
                    one.state.id, one.state.state.value, one.session.user, one.session.source, one.statement,
                    ["global"], queued, 0, 0, moment(one.created), moment(one.started),
                    moment(one.ended or time.time()),
                    moment(one.ended), failure.code.type.value if failure else None,
                    failure.code.name if failure else None,
                )
            )  # fmt: skip
        return rows

    def _kill(self, query_id: str, message: str | None) -> None:
        """`CALL system.runtime.kill_query`; called from a worker thread."""
        running = self._queries.get(query_id)
        if running is None:
            fail("NOT_FOUND", f"Target query not found: {query_id}")
        loop = self._loop
        assert loop is not None
        text = f"Query killed. Message: {message}" if message else "Query killed."

        def kill() -> None:
            running.state.fail(Failure(CODES["ADMINISTRATIVELY_KILLED"], text), now=loop.time())
            running.interrupt()

        loop.call_soon_threadsafe(kill)

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = asyncio.get_running_loop().time()
            for query_id, one in list(self._queries.items()):
                before = one.state.done
                if one.state.expire(now):
                    del self._queries[query_id]
                if one.state.done and not before:
                    one.interrupt()
            self.engine.end_idle_transactions()


def base_url(request: Request) -> str:
    """Scheme and host as the client sees them (Trino's `process-forwarded`)."""
    headers = request.headers
    scheme = headers.get("X-Forwarded-Proto") or ("https" if request.peer.tls else "http")
    host = headers.get("X-Forwarded-Host") or headers.get("Host") or "localhost"
    port = headers.get("X-Forwarded-Port")
    if _HOST.fullmatch(host) is None:
        host = "localhost"
    standard = {"http": "80", "https": "443"}.get(scheme)
    if port and port.isdigit() and port != standard and not re.search(r":\d+$", host):
        host = f"{host}:{port}"
    return f"{'https' if scheme == 'https' else 'http'}://{host}"


def _failed(query_id: str, base: str, failure: Failure) -> Reply:
    document = QueryResults(
        id=query_id, info_uri=info_uri(base, query_id), stats=Stats("FAILED"), failure=failure
    )
    return Reply(200, document.encode())


def _internal() -> Failure:
    return Failure(CODES["GENERIC_INTERNAL_ERROR"], "The embedded engine failed; its log has the details")


def _duration(written: str) -> float:
    found = _DURATION.fullmatch(written)
    if found is None:
        return MAX_WAIT_S
    return min(MAX_WAIT_S, float(found[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0}[found[2]])


def _size(written: str) -> int | None:
    found = _SIZE.fullmatch(written)
    return None if found is None else int(float(found[1]) * _UNITS[found[2]])
