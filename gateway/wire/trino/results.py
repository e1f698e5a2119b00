"""The protocol state of one query that is answered here: no sockets, no threads, no clock of its own.

    POST      -> created()                    a document with the first nextUri; nothing runs yet
    GET       -> queued(), executing()        a Reply, or None: nothing to say yet, ask again after a change
    DELETE    -> cancel(), partial_cancel()

A producer (an engine, or `answered`) calls `begin`, `offer`, `finish` or `fail`. Rows are bytes, already
encoded; at most `buffer_bytes` of them wait here while `has_room` says whether to go on producing. `changed`
is called after every change that a waiting request or a waiting producer may want to see.

Tokens follow Trino (`Query.getCachedResult`): the last page may be fetched again; an older one is gone (410);
one that was never handed out is not found (404).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateway.core.decision import Answer, Refusal
from gateway.wire.trino import errors
from gateway.wire.trino.documents import (
    QueryResults,
    ResultColumn,
    Stats,
    Warning,
    column_documents,
    encode_rows,
)
from gateway.wire.trino.errors import ErrorCode, ErrorType, Failure
from gateway.wire.trino.types import PARAMETRIC_DATETIME, VARCHAR, TrinoType, UnknownType, parse_type
from gateway.wire.trino.uris import info_uri

MAX_WAIT_S = 1.0
"""How long a request may wait for news before it gets an empty page (Trino's limit)."""

ABANDONED_QUERY = ErrorCode("ABANDONED_QUERY", 2, ErrorType.USER_ERROR)

GATEWAY_WARNING = (1, "GATEWAY_WARNING")
"""Number and name under which the gateway's own warnings are shown."""

HeaderPairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ResultLimits:
    """Sizes in bytes, times in seconds."""

    page_bytes: int = 1 << 20
    max_page_bytes: int = 16 << 20
    buffer_bytes: int = 4 << 20
    client_timeout_s: float = 300.0
    keep_finished_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What to send. `headers` carry session changes (`X-Trino-Set-Session`, …); repeats stay separate."""

    status: int
    body: bytes = b""
    headers: HeaderPairs = ()


GONE = Reply(410)
NOT_FOUND = Reply(404)
NO_CONTENT = Reply(204)


class State(StrEnum):
    """Trino's names for where a query is."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Encoded rows, joined by commas, that travel together."""

    data: bytes
    rows: int


def chunks_of(rows: Sequence[bytes], limit: int) -> list[Chunk]:
    """Join encoded rows into chunks of about `limit` bytes, never splitting a row."""
    chunks: list[Chunk] = []
    start = size = 0
    for index, encoded in enumerate(rows):
        size += len(encoded) + 1
        if size >= limit:
            chunks.append(Chunk(b",".join(rows[start : index + 1]), index + 1 - start))
            start, size = index + 1, 0
    if start < len(rows):
        chunks.append(Chunk(b",".join(rows[start:]), len(rows) - start))
    return chunks


@dataclass(slots=True)
class _Served:
    """The last reply of a phase, kept so that a client may ask for it again."""

    token: int = -1
    reply: Reply | None = None


@dataclass(slots=True)
class _Progress:
    started: float | None = None
    ended: float | None = None
    rows: int = 0
    bytes: int = 0


class LocalQuery:
    """One query. `now` arguments are seconds of a monotonic clock; `base` is `http://host:port`."""

    def __init__(
        self,
        query_id: str,
        *,
        now: float,
        capabilities: frozenset[str] = frozenset(),
        limits: ResultLimits | None = None,
        changed: Callable[[], None] | None = None,
        key: bytes | None = None,
    ) -> None:
        self.id = query_id
        self.limits = limits or ResultLimits()
        self.parametric = PARAMETRIC_DATETIME in capabilities
        self.state = State.QUEUED
        self.columns: tuple[ResultColumn, ...] | None = None
        self.failure: Failure | None = None
        self.headers: HeaderPairs = ()
        self.warnings: tuple[Warning, ...] = ()
        self.update_type: str | None = None
        self.update_count: int | None = None
        self.stop_requested = False
        """The client wants no more rows; the producer should end soon and then call `finish`."""
        self._changed = changed or (lambda: None)
        self._key = key or secrets.token_bytes(20)
        self._created = self._polled = now
        self._column_documents: list[dict[str, Any]] | None = None
        self._pending: deque[Chunk] = deque()
        self._pending_bytes = 0
        self._produced = False
        self._drained = False
        self._queued_page = _Served(token=0)
        self._page = _Served()
        self._progress = _Progress()

    def on_change(self, changed: Callable[[], None]) -> None:
        """Exchange the callback that was given at the start."""
        self._changed = changed

    def touch(self, now: float) -> None:
        """The client is still there (HEAD on a page)."""
        self._polled = now

    # -- the producer's side

    def begin(
        self,
        columns: Sequence[ResultColumn],
        *,
        headers: HeaderPairs = (),
        update_type: str | None = None,
        warnings: Sequence[Warning] = (),
        now: float,
    ) -> None:
        """Analysis is done: what the rows will look like, and what changes in the client's session."""
        if self.done:
            return
        self.columns = tuple(columns)
        self._column_documents = column_documents(columns, parametric=self.parametric)
        self.headers, self.update_type, self.warnings = headers, update_type, tuple(warnings)
        self.state = State.RUNNING
        self._progress.started = now
        self._changed()

    @property
    def has_room(self) -> bool:
        """Whether the producer may offer more now."""
        return self._pending_bytes < self.limits.buffer_bytes

    @property
    def done(self) -> bool:
        """Nothing more will be produced."""
        return self._produced or self.state is State.FAILED

    def offer(self, chunk: Chunk) -> None:
        """More rows. Dropped when the query is over (cancelled, failed, stopped)."""
        if self.done or self.stop_requested or not chunk.rows:
            return
        self._pending.append(chunk)
        self._pending_bytes += len(chunk.data)
        self._progress.rows += chunk.rows
        self._progress.bytes += len(chunk.data)
        self._changed()

    def finish(self, *, update_count: int | None = None, now: float) -> None:
        """All rows were offered."""
        if self.done:
            return
        self.update_count = update_count
        self._produced = True
        self._progress.ended = now
        self._changed()

    def fail(self, failure: Failure, *, now: float) -> None:
        """The query failed; rows that wait are dropped. The first failure counts."""
        if self.state in (State.FAILED, State.FINISHED):
            return
        self.failure = failure
        self.state = State.FAILED
        self._progress.ended = now
        self._drop_pending()
        self._changed()

    def _drop_pending(self) -> None:
        self._pending.clear()
        self._pending_bytes = 0

    # -- the client's side

    def created(self, base: str) -> Reply:
        """The answer to the POST."""
        return self._document(base, next_path=self._path("queued", 1))

    def queued(self, token: int, slug: str, base: str, now: float, *, waited: bool = False) -> Reply | None:
        """A `queued` page. None: still queued; ask again after a change, or with `waited` when out of patience."""
        if not self._admits("queued", token, slug):
            return NOT_FOUND
        self._polled = now
        served = self._queued_page
        if token == served.token and served.reply is not None:
            return served.reply
        if token <= served.token:
            return GONE
        if token != served.token + 1:
            return NOT_FOUND
        if self.state is State.FAILED:
            reply = self._document(base)
        elif self.state is State.QUEUED and not waited:
            return None
        else:
            onward = ("queued", token + 1) if self.state is State.QUEUED else ("executing", 0)
            reply = self._document(base, next_path=self._path(*onward))
        self._queued_page = _Served(token, reply)
        return reply

    def executing(
        self,
        token: int,
        slug: str,
        base: str,
        now: float,
        *,
        target_bytes: int | None = None,
        waited: bool = False,
    ) -> Reply | None:
        """A page of rows. None: nothing new; ask again after a change, or with `waited` for an empty page."""
        if not self._admits("executing", token, slug):
            return NOT_FOUND
        self._polled = now
        served = self._page
        if token == served.token and served.reply is not None:
            return served.reply
        if token < served.token:
            return GONE
        if token != served.token + 1 or self._drained:
            return NOT_FOUND
        if not (self._pending or self.done or waited):
            return None
        reply = self._next_page(token, base, target_bytes)
        self._page = _Served(token, reply)
        return reply

    def knows(self, phase: str, token: int, slug: str) -> bool:
        """Whether `slug` is the credential for this page."""
        return self._admits(phase, token, slug)

    def cancel(self, now: float) -> None:
        """The client (or an operator) stops the query; further pages tell that it was cancelled."""
        if self._produced and not self._pending and self.state is not State.FAILED:
            self._finish_delivery()
            return
        self.fail(Failure(errors.USER_CANCELED, "Query was canceled"), now=now)

    def partial_cancel(self) -> None:
        """The client has enough: end with the rows produced so far, without an error."""
        if not self.done and not self.stop_requested:
            self.stop_requested = True
            self._changed()

    def expire(self, now: float) -> bool:
        """Give up a query that nobody polls; True when nothing needs to be kept any more."""
        idle = now - self._polled
        if self._over:
            return idle >= self.limits.keep_finished_s
        if idle < self.limits.client_timeout_s:
            return False
        text = (
            f"Query {self.id} was abandoned by the client: no page was asked for in "
            f"{self.limits.client_timeout_s:.0f} s. Check that the client reads its results to the end."
        )
        self.fail(Failure(ABANDONED_QUERY, text), now=now)
        self._finish_delivery()
        return False

    @property
    def _over(self) -> bool:
        return self._drained or self.state is State.FAILED

    # -- documents

    def _next_page(self, token: int, base: str, target_bytes: int | None) -> Reply:
        data, rows = self._take(target_bytes or self.limits.page_bytes)
        if self.done and not rows:
            self._finish_delivery()
            return self._document(base)
        return self._document(base, next_path=self._path("executing", token + 1), data=data, token=token)

    def _take(self, target_bytes: int) -> tuple[list[bytes], int]:
        wanted = max(1, min(target_bytes, self.limits.max_page_bytes))
        taken: list[bytes] = []
        size = rows = 0
        while self._pending and (not taken or size + len(self._pending[0].data) <= wanted):
            chunk = self._pending.popleft()
            taken.append(chunk.data)
            size += len(chunk.data)
            rows += chunk.rows
        if taken:
            self._pending_bytes -= size
            self._changed()
        return taken, rows

    def _finish_delivery(self) -> None:
        self._drained = True
        if self.state is not State.FAILED:
            self.state = State.FINISHED
        self._changed()

    def _document(
        self,
        base: str,
        *,
        next_path: str | None = None,
        data: list[bytes] | None = None,
        token: int | None = None,
    ) -> Reply:
        failed = self.state is State.FAILED
        partial = None
        if token is not None and next_path is not None:
            slug = self._slug("executing", token)
            partial = f"{base}/v1/statement/executing/partialCancel/{self.id}/0/{slug}/{token}"
        document = QueryResults(
            id=self.id,
            info_uri=info_uri(base, self.id),
            next_uri=f"{base}{next_path}" if next_path else None,
            partial_cancel_uri=partial,
            columns=self._column_documents,
            data=data or None,
            stats=self.stats(),
            failure=self.failure,
            warnings=self.warnings,
            update_type=self.update_type,
            update_count=self.update_count,
        )
        return Reply(200, document.encode(), () if failed else self.headers)

    def stats(self, now: float | None = None) -> Stats:
        """Where the query is, for documents and for `/v1/query`."""
        progress = self._progress
        end = progress.ended or now or self._polled
        begun = progress.started if progress.started is not None else end
        return Stats(
            state=self.state.value,
            queued=self.state is State.QUEUED,
            scheduled=progress.started is not None,
            elapsed_ms=max(0, int(1000 * (end - self._created))),
            queued_ms=max(0, int(1000 * (begun - self._created))),
            processed_rows=progress.rows,
            processed_bytes=progress.bytes,
            peak_memory_bytes=self._pending_bytes,
        )

    # -- credentials

    def _path(self, phase: str, token: int) -> str:
        return f"/v1/statement/{phase}/{self.id}/{self._slug(phase, token)}/{token}"

    def _slug(self, phase: str, token: int) -> str:
        digest = hmac.digest(self._key, f"{phase}/{token}".encode(), hashlib.sha256)[:20]
        return ("x" if phase == "queued" else "y") + digest.hex()

    def _admits(self, phase: str, token: int, slug: str) -> bool:
        return hmac.compare_digest(self._slug(phase, token).encode(), slug.encode())


# -- decisions of the gateway itself


def answer_query(query: LocalQuery, answer: Answer, *, now: float, headers: HeaderPairs = ()) -> LocalQuery:
    """Fill `query` with an answer that is whole already. An unknown column type is shown as varchar."""
    columns = tuple(ResultColumn(column.name, _type_or_varchar(column.type)) for column in answer.columns)
    query.begin(
        columns,
        headers=headers,
        update_type=answer.update_type,
        warnings=[Warning(*GATEWAY_WARNING, text) for text in answer.warnings],
        now=now,
    )
    for chunk in chunks_of(encode_rows(columns, answer.rows, parametric=query.parametric), 256 << 10):
        query.offer(chunk)
    query.finish(now=now)
    return query


def _type_or_varchar(text: str) -> TrinoType:
    try:
        return parse_type(text)
    except UnknownType:
        return VARCHAR


def refuse_query(query: LocalQuery, refusal: Refusal, *, now: float) -> LocalQuery:
    """Fill `query` with a refusal: every page is the error document."""
    query.fail(errors.failure_of(refusal), now=now)
    return query


def refusal_reply(query_id: str, base: str, refusal: Refusal) -> Reply:
    """A refusal as the direct answer to the POST, without a query to remember: 200 and an error document."""
    document = QueryResults(
        id=query_id,
        info_uri=info_uri(base, query_id),
        stats=Stats(State.FAILED.value),
        failure=errors.failure_of(refusal),
    )
    return Reply(200, document.encode())
