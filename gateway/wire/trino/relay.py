"""Relaying one page: ask the backend, write our own URIs at its head, let the rest stream through."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from gateway.core.decision import IDENTITY, PositionMap
from gateway.wire.http.client import (
    ConnectFailed,
    PoolFull,
    UpstreamError,
    UpstreamPool,
    UpstreamResponse,
    UpstreamTimeout,
)
from gateway.wire.http.message import BodyTooLarge, Headers
from gateway.wire.http.responder import Responder
from gateway.wire.trino.errors import map_error_back
from gateway.wire.trino.pages import (
    WHOLE_LIMIT,
    Head,
    NotAPage,
    PageFacts,
    PageTap,
    error_document,
    read_head,
)
from gateway.wire.trino.request import Forwarded
from gateway.wire.trino.uris import BadUri, Page, info_uri, page_of_uri

HeaderList = list[tuple[str, str]]

STARTED_TRANSACTION = "X-Trino-Started-Transaction-Id"
_PASSED = {
    name.lower(): name
    for name in (
        "Content-Type",
        "Cache-Control",
        "Retry-After",
        "X-Trino-Set-Catalog",
        "X-Trino-Set-Schema",
        "X-Trino-Set-Path",
        "X-Trino-Set-Session",
        "X-Trino-Clear-Session",
        "X-Trino-Set-Role",
        "X-Trino-Added-Prepare",
        "X-Trino-Deallocated-Prepare",
        "X-Trino-Clear-Transaction-Id",
        "X-Trino-Set-Authorization-User",
        "X-Trino-Reset-Authorization-User",
    )
}
_SMALL_LIMIT = 64 * 1024
_COMPRESS_FROM = 16 * 1024
_COMPRESS_LEVEL = 1


@dataclass(frozen=True, slots=True)
class PageCall:
    """One client's request for one page, and how the reply must look.

    `own_head` says that the URIs must be written anew: the backend does not process forwarded headers, or
    the client knows the query by another id. `positions` maps error places back; it needs `own_head`.
    """

    method: str
    page: Page
    query: str
    base: str
    forwarded: Forwarded | None
    gzip: bool
    own_head: bool
    positions: PositionMap = IDENTITY
    want_tail: bool = True
    traceparent: str | None = None
    wrap_transaction: Callable[[str], str] = str

    def target(self) -> str:
        path = self.page.engine_path()
        return f"{path}?{self.query}" if self.query else path

    def headers(self) -> HeaderList:
        coding = "gzip" if self.gzip and not self.own_head else "identity"
        built = [("Accept-Encoding", coding)]
        if self.traceparent is not None:
            built.append(("traceparent", self.traceparent))
        return built + (self.forwarded.headers() if self.forwarded is not None else [])


class BadReply(Exception):
    """The backend's reply cannot be passed on. The text is for clients and quotes nothing of the reply."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Relayed:
    """What passed. `complete` is False where either side broke off; `error` says why the engine did."""

    status: int
    facts: PageFacts
    bytes: int
    complete: bool = True
    error: UpstreamError | None = None


def in_words(problem: UpstreamError | BadReply) -> str:
    """What is wrong with a backend, for clients: the error's own text names addresses inside our network."""
    match problem:
        case PoolFull():
            return "has no free connection"
        case ConnectFailed():
            return "cannot be reached"
        case UpstreamTimeout():
            return "does not answer"
        case UpstreamError():
            return "broke the connection"
        case _:
            return str(problem)


async def ask(pool: UpstreamPool, call: PageCall, timeout_s: float) -> UpstreamResponse:
    """Send the request for a page. Raises UpstreamError."""
    return await pool.request(call.method, call.target(), call.headers(), None, head_timeout_s=timeout_s)


async def relay(response: UpstreamResponse, call: PageCall, responder: Responder) -> Relayed:
    """Pass a backend's reply on. Raises BadReply while nothing was sent, UpstreamError where it broke then."""
    async with response:
        if response.status != 200:
            return await _relay_small(response, responder)
        headers = session_headers(response.headers, call.wrap_transaction)
        if call.method == "HEAD":
            await responder.send(200, headers)
            return Relayed(200, PageFacts(), 0)
        if call.own_head:
            return await _relay_rewritten(response, call, responder, headers)
        return await _relay_as_is(response, call, responder, headers)


def session_headers(headers: Headers, wrap_transaction: Callable[[str], str]) -> HeaderList:
    """The headers of a reply that clients act upon, by allow-list; repeats stay separate."""
    passed: HeaderList = []
    for name, value in headers.items():
        known = _PASSED.get(name.lower())
        if known is not None:
            passed.append((known, value))
        elif name.lower() == STARTED_TRANSACTION.lower():
            passed.append((STARTED_TRANSACTION, wrap_transaction(value)))
    return passed


_PASSED_STATUS = frozenset({204, 400, 404, 410, 429, 502, 503, 504})


async def _relay_small(response: UpstreamResponse, responder: Responder) -> Relayed:
    status = response.status
    if status not in _PASSED_STATUS:
        raise BadReply(f"answered a page request with HTTP status {status}", status)
    try:
        body = await response.read(_SMALL_LIMIT)
    except BodyTooLarge:
        body = b""
    headers = [(name, value) for name, value in response.headers.items() if name.lower() == "retry-after"]
    text = _STATUS_TEXT.get(status, "")
    if status in (400, 429) and _PLAIN.fullmatch(body[:1000]):
        text = body[:1000].decode("ascii")
    await responder.send(
        status, [("Content-Type", "text/plain"), *headers] if text else headers, text.encode()
    )
    return Relayed(status, PageFacts(), 0)


# Jetty's own error pages name the server and its version; these say the same in our words.
_STATUS_TEXT = {
    404: "Query not found",
    410: "The page is gone: the query has moved on, or its token is not the current one",
    502: "The backend is behind a proxy that cannot reach it; the client may try again",
    503: "The backend is not ready; the client may try again",
    504: "The backend did not answer in time; the client may try again",
}
_PLAIN = re.compile(rb"[ -~]{1,1000}")


async def _relay_as_is(
    response: UpstreamResponse, call: PageCall, responder: Responder, headers: HeaderList
) -> Relayed:
    coding = response.headers.get("Content-Encoding")
    if coding is not None and coding.lower() not in ("gzip", "identity"):
        raise BadReply("compressed a page in a way that nobody asked for", response.status)
    coding = "gzip" if coding is not None and coding.lower() == "gzip" else None
    tap = PageTap(coding, want_tail=call.want_tail)
    vary = [("Vary", "Accept-Encoding")]
    encoded = [("Content-Encoding", coding)] if coding else []
    piped = await response.pipe_to(responder, headers=headers + vary + encoded, tap=tap.feed)
    facts = tap.finish() if piped.complete else PageFacts()
    return Relayed(200, facts, piped.bytes, piped.complete, piped.error)


async def _relay_rewritten(
    response: UpstreamResponse, call: PageCall, responder: Responder, headers: HeaderList
) -> Relayed:
    if (response.headers.get("Content-Encoding") or "identity").lower() != "identity":
        raise BadReply("compressed a page although it was asked not to", response.status)
    tap = PageTap()
    start = bytearray()
    async for chunk in response:
        start += chunk
        tap.feed(chunk)
        if tap.head is not None:
            break
        if len(start) > WHOLE_LIMIT:
            break
    head = tap.head
    if head is None:
        raise BadReply("answered with something that is not a page of results", response.status)
    own = own_head(head, call.page.id, call.page.engine_id, call.base)
    if head.get("nextUri") is None and not call.positions.identity and not head.has_data:
        return await _relay_mapped(response, call, responder, headers, own + bytes(start[head.end :]), tap)
    rest = own + bytes(start[head.end :])
    if call.gzip and (response.length is None or response.length >= _COMPRESS_FROM):
        return await _relay_compressed(response, responder, headers, rest, tap)
    length = None if response.length is None else response.length - head.end + len(own)
    await responder.start(200, headers, length=length)
    await responder.write(rest)
    piped = await response.pipe_to(responder, tap=tap.feed)
    facts = tap.finish() if piped.complete else PageFacts()
    return Relayed(200, facts, piped.bytes, piped.complete, piped.error)


async def _relay_compressed(
    response: UpstreamResponse, responder: Responder, headers: HeaderList, rest: bytes, tap: PageTap
) -> Relayed:
    packer = zlib.compressobj(_COMPRESS_LEVEL, zlib.DEFLATED, 31)
    coded = [("Vary", "Accept-Encoding"), ("Content-Encoding", "gzip")]
    await responder.start(200, headers + coded)
    try:
        await responder.write(packer.compress(rest))
        async for chunk in response:
            tap.feed(chunk)
            await responder.write(packer.compress(chunk))
        await responder.write(packer.flush())
        await responder.end()
    except UpstreamError as error:
        responder.abort()
        return Relayed(200, PageFacts(), responder.bytes_sent, complete=False, error=error)
    return Relayed(200, tap.finish(), responder.bytes_sent)


async def _relay_mapped(
    response: UpstreamResponse,
    call: PageCall,
    responder: Responder,
    headers: HeaderList,
    start: bytes,
    tap: PageTap,
) -> Relayed:
    """The last page of a query whose text was rewritten: an error's place is told in the client's text."""
    parts, size = [start], len(start)
    async for chunk in response:
        tap.feed(chunk)
        parts.append(chunk)
        size += len(chunk)
        if size > WHOLE_LIMIT:
            raise BadReply("answered with an error that is too large to read", response.status)
    body = b"".join(parts)
    document = error_document(body)
    if document is not None:
        map_error_back(document["error"], call.positions)
        body = orjson.dumps(document)
    await responder.send(200, headers, body)
    return Relayed(200, tap.finish(), len(body))


def own_head(head: Head, client_id: str, engine_id: str, base: str) -> bytes:
    """The head of a page with our URIs and the client's id. Raises BadReply where the backend's are strange."""
    if head.get("id") != engine_id:
        raise BadReply("answered with a page of another query", 200)
    changes = {"id": client_id, "infoUri": info_uri(base, client_id)}
    for name in ("nextUri", "partialCancelUri"):
        if (uri := head.get(name)) is not None:
            changes[name] = base + _own_page(uri, client_id, engine_id).client_path()
    return head.with_members(changes)


def _own_page(uri: str, client_id: str, engine_id: str) -> Page:
    try:
        page = page_of_uri(uri)
    except BadUri as bad:
        raise BadReply(str(bad), 200) from None
    if page.id != engine_id:
        raise BadReply("named a next page of another query", 200)
    return page.known_as(client_id)


@dataclass(frozen=True, slots=True)
class Created:
    """The reply to a POST: a small document without data, read whole."""

    head: Head
    body: bytes
    headers: HeaderList
    facts: PageFacts

    @property
    def id(self) -> str:
        return self.head.get("id") or ""

    def next_page(self, client_id: str) -> Page | None:
        uri = self.head.get("nextUri")
        return None if uri is None else _own_page(uri, client_id, self.id)

    def document(self, client_id: str, base: str) -> bytes:
        """The document as the client shall see it."""
        return own_head(self.head, client_id, self.id, base) + self.body[self.head.end :]


async def read_created(response: UpstreamResponse, wrap_transaction: Callable[[str], str]) -> Created:
    """The backend's reply to a POST. Raises BadReply, UpstreamError."""
    try:
        body = await response.read(WHOLE_LIMIT)
        head = read_head(body)
    except (BodyTooLarge, NotAPage):
        head = None
    if head is None or head.get("id") is None:
        raise BadReply("answered a statement with something that is not a document of the protocol", 200)
    tap = PageTap()
    tap.feed(body)
    return Created(head, body, session_headers(response.headers, wrap_transaction), tap.finish())


def accepts_gzip(headers: Headers) -> bool:
    """Whether the client takes gzip (RFC 9110 section 12.5.3; `q=0` says no)."""
    for value in headers.get_all("Accept-Encoding"):
        for item in value[:1024].split(","):
            coding, _, parameters = item.partition(";")
            if coding.strip().lower() in ("gzip", "x-gzip", "*"):
                return _ZERO.search(parameters) is None
    return False


_ZERO = re.compile(r"q\s*=\s*0(\.0*)?\s*$")
