"""One planned query from admission to its last byte: dispatch, relay, and what to do when either side dies."""

from __future__ import annotations

import asyncio
import logging
import uuid
from dataclasses import dataclass

from gateway.core.decision import Plan
from gateway.core.statement import StatementKind
from gateway.edge.contract import Backend, Lease, Outcome, Query
from gateway.wire.clickhouse import kill
from gateway.wire.clickhouse.body import Gathered
from gateway.wire.clickhouse.errors import (
    NETWORK_ERROR,
    QUERY_WAS_CANCELLED,
    TIMEOUT_EXCEEDED,
    WireError,
)
from gateway.wire.clickhouse.ids import Namespace
from gateway.wire.clickhouse.multipart import ExternalTable
from gateway.wire.clickhouse.request import ClickHouseRequest
from gateway.wire.clickhouse.shared import Shared
from gateway.wire.clickhouse.stream import Tail, exception_in, summary_of
from gateway.wire.clickhouse.upstream import UpstreamRequest, answer_headers, build, header_text
from gateway.wire.http.client import ConnectFailed, UpstreamError, UpstreamResponse, UpstreamTimeout
from gateway.wire.http.message import BodyTooLarge, ClientGone, HttpError
from gateway.wire.http.responder import Responder

log = logging.getLogger(__name__)

# Error texts and results that name ids; they are small and get the client's own id back.
_ID_ERRORS = frozenset({"216", "372", "373"})
_TEXT_FORMATS = frozenset({"TSV", "TabSeparated", "CSV", "JSON", "JSONCompact", "JSONEachRow", "Pretty",
                           "PrettyCompact", "PrettySpace", "Vertical", "TSVWithNames", "TSVWithNamesAndTypes",
                           "TabSeparatedWithNames", "TabSeparatedWithNamesAndTypes", "Values"})  # fmt: skip
_PROGRESS = "send_progress_in_http_headers"
_MAX_NAMED_IDS = 64 * 1024
# An engine says these before it knows who asks: our own credentials are wrong, not the client's.
_LOGIN_ERRORS = frozenset({"192", "193", "194", "516"})


@dataclass(frozen=True, slots=True)
class Work:
    """What an exchange is about: the query and its plan, and what its client asked, understood."""

    query: Query
    plan: Plan
    asked: ClickHouseRequest
    gathered: Gathered
    tables: tuple[ExternalTable, ...]
    namespace: Namespace


class Exchange:
    """Runs one plan for one request. `run` returns when the answer is out, or raises WireError before it."""

    def __init__(
        self,
        shared: Shared,
        work: Work,
        responder: Responder,
        client_host: str,
        extra: list[tuple[str, str]],
    ) -> None:
        self._shared, self._edge, self._options = shared, shared.edge, shared.options
        self._query, self._plan = work.query, work.plan
        self._asked, self._gathered, self._tables = work.asked, work.gathered, work.tables
        self._namespace, self._responder = work.namespace, responder
        self._client_host, self._extra = client_host, extra
        # Clients expect of an engine's own id that it is a UUID of version 4; ours goes in a header of its own.
        self.client_id = work.asked.query_id or str(uuid.uuid4())
        self._engine_id = work.namespace.inside(self.client_id)
        self._backend: Backend | None = None
        self._sent = False
        self._early = 0
        self._gone = self._cancelled = False
        self._waiting: asyncio.Task[object] | None = None
        self._response: UpstreamResponse | None = None

    # -- the way there

    async def run(self, text: str, exclude: frozenset[str] = frozenset()) -> None:
        """Dispatch `text` and relay the answer. Settles the query in every case."""
        self._waiting = asyncio.current_task()
        self._responder.on_disconnect(self._client_left)
        try:
            response = await self._dispatch(text, exclude)
        except asyncio.CancelledError:
            self._waiting = None
            task = asyncio.current_task()
            if not (self._gone or self._cancelled) or task is None:
                self._stop_engine()
                self._query.finish(Outcome.CANCELLED)
                raise
            task.uncancel()
            self._give_up()
            return
        finally:
            self._waiting = None
        self._response = response
        try:
            await self._relay(response)
        except asyncio.CancelledError:  # the gateway stops: nobody would read the rest
            self._stop_engine()
            self._query.finish(Outcome.CANCELLED)
            raise

    async def _dispatch(self, text: str, exclude: frozenset[str]) -> UpstreamResponse:
        while True:
            lease = await self._edge.admit(self._query, exclude=exclude)
            self._backend = backend = lease.backend
            self._query.started(backend, self._engine_id, self.cancel)
            try:
                return await self._send(backend, self._request_for(backend, text))
            except UpstreamTimeout as error:
                self._stop_engine()
                raise WireError(
                    TIMEOUT_EXCEEDED,
                    f"Timeout exceeded: the engine gave no answer within {self._options.query_timeout_s:g} s; "
                    "the query was told to stop",
                ) from error
            except UpstreamError as error:
                # Without a connection not even a streamed body was touched.
                if error.sent or not (self._gathered.replayable or isinstance(error, ConnectFailed)):
                    raise self._lost(backend, error) from error
                exclude = self._next(lease, exclude)
            except HttpError:
                self._stop_engine()  # the client's body broke off or is malformed
                raise

    def _next(self, lease: Lease, exclude: frozenset[str]) -> frozenset[str]:
        """Nothing was sent: another backend may be tried."""
        log.warning("query %s: %s cannot be reached; trying another", self._query.id, lease.backend.name)
        lease.release()
        self._backend = None
        self._sent = False
        return exclude | {lease.backend.name}

    def _request_for(self, backend: Backend, text: str) -> UpstreamRequest:
        asked = self._asked
        return build(
            asked,
            self._gathered,
            self._tables,
            text,
            query_id=self._engine_id,
            session_id=None if asked.session_id is None else self._namespace.inside(asked.session_id),
            added_settings=self._plan.settings,
            engine_headers=backend.engine_headers(self._query.principal),
            client_host=self._client_host,
        )

    async def _send(self, backend: Backend, request: UpstreamRequest) -> UpstreamResponse:
        self._sent = True
        # HTTP/1.0 has no head that is sent in parts; elsewhere it costs a write for each part.
        wants_progress = self._asked.http_11 and any(n == _PROGRESS for n, _ in self._asked.settings)
        return await backend.pool.request(
            request.method,
            request.target,
            request.headers,
            request.body,
            head_timeout_s=self._options.query_timeout_s,
            body_length=request.length,
            idempotent=not self._plan.kind.writes,
            on_early_headers=self._pass_early if wants_progress else None,
        )

    def _lost(self, backend: Backend, error: UpstreamError) -> WireError:
        log.warning("query %s: lost %s: %s", self._query.id, backend.name, error)
        outcome = Outcome.UNKNOWN if self._plan.kind.writes else Outcome.FAILED
        self._query.finish(outcome, error_code=str(NETWORK_ERROR), error_text=str(error))
        said = "whether the statement took effect is unknown" if self._plan.kind.writes else "run it again"
        return WireError(NETWORK_ERROR, f"The connection to the engine was lost before it answered; {said}")

    def _pass_early(self, status: int, fields: list[tuple[str, str]]) -> None:
        """Progress fields come while the head is still open, and go on at once."""
        if self._gone or self._responder.disconnected:
            return
        kept = answer_headers(fields, header_text(self.client_id))
        if self._early:
            self._responder.add_early(kept)
        else:
            self._responder.begin(status, kept)
        self._early += len(fields)

    # -- the way back

    async def _relay(self, response: UpstreamResponse) -> None:
        code = response.headers.get("X-ClickHouse-Exception-Code")
        if code in _LOGIN_ERRORS and "X-ClickHouse-Query-Id" not in response.headers:
            response.abort()
            log.error("%s refused the gateway's own log-in (code %s)", self._name, code)
            raise WireError(NETWORK_ERROR, "The engine refused the gateway's own log-in; tell your operator")
        fields = list(response.headers.items())
        headers = answer_headers(fields[self._early :], header_text(self.client_id)) + self._extra
        if self._names_ids(response, code):
            await self._relay_named(response, headers, code)
            return
        tail = Tail(self._show_bytes)
        result = await response.pipe_to(
            self._responder, status=response.status, headers=headers, tap=tail.feed
        )
        self._count(response, result.bytes)
        if result.complete:
            self._settle(code, tail.bytes() if code and not self._encoded(response) else b"")
        elif result.client_gone:
            self._stop_engine()
            self._query.finish(Outcome.DISCONNECTED)
        else:
            self._cut(response, tail, str(result.error))

    def _names_ids(self, response: UpstreamResponse, code: str | None) -> bool:
        if self._encoded(response):
            return False
        if code is not None:
            return code in _ID_ERRORS
        return (
            self._plan.kind is StatementKind.KILL
            and response.headers.get("X-ClickHouse-Format") in _TEXT_FORMATS
        )

    def _encoded(self, response: UpstreamResponse) -> bool:
        return self._asked.native_answer or "Content-Encoding" in response.headers

    async def _relay_named(
        self, response: UpstreamResponse, headers: list[tuple[str, str]], code: str | None
    ) -> None:
        """A small text in which the engine names ids: the client's own go back."""
        try:
            body = await response.read(_MAX_NAMED_IDS)
        except (UpstreamError, BodyTooLarge) as error:
            raise WireError(NETWORK_ERROR, "The engine's answer broke off") from error
        body = body.replace(self._namespace.prefix.encode(), b"")
        self._count(response, len(body))
        self._settle(code, body)
        await self._responder.send(response.status, headers, body)

    def _count(self, response: UpstreamResponse, bytes_out: int) -> None:
        summary = summary_of(response.headers.get("X-ClickHouse-Summary"))
        self._query.progress(
            rows=summary.get("result_rows"), bytes_out=bytes_out, bytes_scanned=summary.get("read_bytes")
        )

    def _show_bytes(self, bytes_out: int) -> None:
        self._query.progress(bytes_out=bytes_out)

    def _settle(self, code: str | None, error_body: bytes) -> None:
        if code is None:
            self._query.finish(Outcome.SUCCEEDED)
            return
        outcome = Outcome.CANCELLED if code == "394" else Outcome.FAILED
        text = error_body[:4000].decode("utf-8", "replace")
        self._query.finish(outcome, error_code=code, error_text=text)

    def _cut(self, response: UpstreamResponse, tail: Tail, reason: str) -> None:
        """The engine cut its answer, and so was the client's: say why, as far as it is known."""
        found = exception_in(tail.bytes(), response.headers.get("X-ClickHouse-Exception-Tag"))
        if found is not None:
            code, text = found
            outcome = Outcome.CANCELLED if code == QUERY_WAS_CANCELLED else Outcome.FAILED
            self._query.finish(outcome, error_code=str(code), error_text=text)
            return
        self._stop_engine()
        log.warning("query %s: the answer of %s broke off: %s", self._query.id, self._name, reason)
        outcome = Outcome.CANCELLED if self._cancelled else Outcome.UNKNOWN
        self._query.finish(outcome, error_code=str(NETWORK_ERROR), error_text=reason)

    # -- stopping

    def cancel(self) -> None:
        """Stop the query (for the edge). An answer that has begun ends as the engine ends it."""
        if self._cancelled:
            return
        self._cancelled = True
        if self._sent and self._backend is not None:
            self._shared.spawn_kill(self._kill_then_insist(self._backend), self._query.id)
        elif self._waiting is not None:
            self._waiting.cancel()

    async def _kill_then_insist(self, backend: Backend) -> None:
        await self._kill(backend)
        await asyncio.sleep(self._options.kill_timeout_s)
        if self._waiting is not None:
            self._waiting.cancel()
        elif self._response is not None:
            self._response.abort()

    def _client_left(self) -> None:
        self._gone = True
        if self._waiting is not None:
            self._waiting.cancel()

    def _give_up(self) -> None:
        self._stop_engine()
        if self._gone:
            self._query.finish(Outcome.DISCONNECTED)
            raise ClientGone("the client closed the connection")
        self._query.finish(Outcome.CANCELLED, error_code=str(QUERY_WAS_CANCELLED))
        raise WireError(QUERY_WAS_CANCELLED, "Query was cancelled")

    def _stop_engine(self) -> None:
        if self._sent and self._backend is not None:
            self._shared.spawn_kill(self._kill(self._backend), self._query.id)

    async def _kill(self, backend: Backend) -> None:
        await kill.kill(
            backend,
            self._query.principal,
            self._engine_id,
            own_id=self._query.id,
            timeout_s=self._options.kill_timeout_s,
        )

    @property
    def _name(self) -> str:
        return self._backend.name if self._backend is not None else "no backend"
