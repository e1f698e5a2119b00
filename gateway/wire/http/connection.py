"""One client connection: reads requests strictly, runs one handler at a time, answers in order."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from gateway.wire.http.chunked import ChunkedDecoder, FixedDecoder
from gateway.wire.http.grammar import BARE_LINE_END, RequestHead, parse_request_head
from gateway.wire.http.message import (
    HIGH_WATER,
    LOW_WATER,
    BadMessage,
    Body,
    BodyTimeout,
    ClientGone,
    HttpError,
    Peer,
    Request,
)
from gateway.wire.http.responder import REASONS, Flow, Responder
from gateway.wire.http.sweep import NEVER, unsent_bytes

if TYPE_CHECKING:
    from gateway.wire.http.server import HttpServer

log = logging.getLogger(__name__)

Handler = Callable[[Request, Responder], Awaitable[None]]

_PIPELINE_BYTES = 64 * 1024
_REQUEST_LINE_EXTRA = 64
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_RESET_DELAY_S = 0.2

# What the next bytes of the client are: a head, the current body, a later request, or nothing we want.
_HEAD, _BODY, _BUSY, _DISCARD = range(4)


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds on what one client can cost. Times in seconds, sizes in bytes.

    `max_header_bytes` bounds all fields of a head together (a single Trino field may be large),
    `header_timeout_s` the time from the first byte of a head to its end (and from accept to the first
    head), `body_idle_timeout_s` the silence inside a body, `write_idle_timeout_s` the time in which a
    client that has data waiting must take some. `half_close_grace_s`: a client that ends its sending side
    may be a half-closed one that still reads or one that is gone; the answer has this long before it
    counts as gone.
    `linger_s`: how long input is thrown away after an answer that came before the end of the request.
    """

    max_header_bytes: int = 256 * 1024
    max_headers: int = 1000
    max_target_bytes: int = 1024 * 1024
    header_timeout_s: float = 15.0
    idle_timeout_s: float = 75.0
    body_idle_timeout_s: float = 60.0
    write_idle_timeout_s: float = 60.0
    max_connections: int = 10_000
    half_close_grace_s: float = 0.25
    linger_s: float = 2.0


class ServerConnection(asyncio.Protocol):
    """The protocol of one accepted connection."""

    __slots__ = ("_body", "_buffer", "_closing", "_decoder", "_drain_waiters", "_eof", "_expects", "_flow",
                 "_keep_alive", "_limits", "_loop", "_paused_reading", "_paused_writing", "_peer",
                 "_responder", "_scanned", "_server", "_skipped_crlf", "_state", "_stuck", "_task", "gone",
                 "read_due", "transport", "write_due")  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, server: HttpServer, peer: Peer | None = None) -> None:
        self._server = server
        self._limits = server.limits
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._state = _HEAD
        self._buffer = bytearray()
        self._scanned = 0
        self._skipped_crlf = False
        self._keep_alive = True
        self._expects = False
        self._body: Body | None = None
        self._decoder: FixedDecoder | ChunkedDecoder | None = None
        self._responder: Responder | None = None
        self._task: asyncio.Task[None] | None = None
        self._flow: Flow | None = None
        self._drain_waiters: deque[asyncio.Future[None]] = deque()
        self._paused_reading = False
        self._paused_writing = False
        self._stuck = 0
        self._eof = False
        self._closing = False
        self.gone = False
        self.read_due = NEVER
        self.write_due = NEVER

    # -- transport events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        if self._peer is None:
            self._peer = plain_peer(transport)
        elif self._peer.tls:
            self._peer = with_certificate(self._peer, transport)
        if not self._server.register(self):
            self._refuse(HttpOverload("too many connections; try again shortly"))
            self._close()
            return
        self.read_due = self._loop.time() + self._limits.header_timeout_s

    def connection_lost(self, exc: Exception | None) -> None:
        self.read_due = self.write_due = NEVER
        self._left(ClientGone("the client closed the connection"))
        self._buffer.clear()
        self._server.unregister(self)

    def _left(self, error: ClientGone) -> None:
        """The client will read no more: tell everyone who works for it."""
        if self.gone:
            return
        self.gone = True
        if self._body is not None:
            self._body.fail(error)
        while self._drain_waiters:
            waiter = self._drain_waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)
        if self._responder is not None:
            self._responder.client_left()

    def eof_received(self) -> bool:
        self._eof = True
        if self._peer is not None and self._peer.tls:
            return False
        if self._state == _HEAD or (self._state == _DISCARD and self._responder is None):
            return False
        if self._state == _BODY and self._body is not None:
            self._body.fail(ClientGone("the client closed the connection in the middle of its request body"))
            self._stop_reading_requests()
        self.read_due = self._loop.time() + self._limits.half_close_grace_s
        return True

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state == _HEAD:
            self._buffer += data
            self._next_request()
        elif state == _BODY:
            self._feed_body(data)
        elif state == _BUSY:
            self._buffer += data
            if len(self._buffer) > _PIPELINE_BYTES:
                self._pause_reading()

    def pause_writing(self) -> None:
        self._paused_writing = True
        self._watch_write()
        if self._flow is not None:
            self._flow.hold()

    def resume_writing(self) -> None:
        self._paused_writing = False
        self.write_due = NEVER
        if self._flow is not None:
            self._flow.release()
        while self._drain_waiters:
            waiter = self._drain_waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)

    # -- reading requests

    def _next_request(self) -> None:
        try:
            head = self._take_head()
            if head is None:
                return
            parsed = parse_request_head(head, self._limits.max_headers)
        except BadMessage as error:
            self._refuse(error)
            return
        self._begin(parsed)

    def _take_head(self) -> bytes | None:
        buffer = self._buffer
        if not self._skipped_crlf and buffer.startswith(b"\r\n"):
            # RFC 9112 2.2: some clients send one empty line after a body.
            del buffer[:2]
            self._skipped_crlf = True
        end = buffer.find(b"\r\n\r\n", max(0, self._scanned - 3))
        self._check_sizes(end)
        if end >= 0:
            head = bytes(buffer[: end + 4])
            del buffer[: end + 4]
            self._scanned = 0
            return head
        if buffer and not 65 <= buffer[0] <= 90 and buffer != b"\r":
            raise BadMessage("this is not HTTP/1.1 in plain text (is it TLS or a PROXY header?)")
        if BARE_LINE_END.search(buffer, max(0, self._scanned - 1)):
            raise BadMessage("lines must end with CRLF")
        if not self._scanned:
            self.read_due = self._loop.time() + self._limits.header_timeout_s
        self._scanned = len(buffer)
        return None

    def _check_sizes(self, end: int) -> None:
        limits, buffer = self._limits, self._buffer
        size = end + 4 if end >= 0 else len(buffer)
        if size <= limits.max_header_bytes and size <= limits.max_target_bytes:
            return
        line = buffer.find(b"\r\n", 0, limits.max_target_bytes + _REQUEST_LINE_EXTRA)
        if line < 0 and size > limits.max_target_bytes:
            raise BadMessage(f"the request target is longer than {limits.max_target_bytes} bytes", 414)
        if line >= 0 and size - line > limits.max_header_bytes:
            raise BadMessage(f"the header fields are larger than {limits.max_header_bytes} bytes", 431)

    def _begin(self, head: RequestHead) -> None:
        self._skipped_crlf = False
        self._keep_alive = head.keep_alive
        self._expects = head.expect_continue
        target = head.target
        path, _, query = target.partition("?")
        if head.length == 0:
            body = Body(0)
            self._state = _BUSY
            self.read_due = NEVER
        else:
            body = Body(head.length, self._first_read if self._expects else None, self._body_low)
            self._decoder = ChunkedDecoder() if head.length is None else FixedDecoder(head.length)
            self._state = _BODY
            self.read_due = self._loop.time() + self._limits.body_idle_timeout_s
        self._body = body
        peer = self._peer
        assert peer is not None  # set by connection_made
        request = Request(head.method, target, path, query, head.headers, head.version, peer, body)
        responder = self._responder = Responder(self, head.version, head.method == "HEAD")
        if self._state == _BODY and self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            self._feed_body(data)
        if len(self._buffer) > _PIPELINE_BYTES:
            self._pause_reading()
        if self._eof:
            self.read_due = self._loop.time() + self._limits.half_close_grace_s
        # A context of its own: variables of one exchange must not reach the next on this connection.
        context = self._server.context.copy()
        self._task = self._loop.create_task(self._run(request, responder), context=context)
        self._server.running.add(self._task)

    def _feed_body(self, data: bytes) -> None:
        body, decoder = self._body, self._decoder
        assert body is not None  # both exist in this state
        assert decoder is not None
        try:
            pieces = decoder.feed(data)
        except BadMessage as error:
            body.fail(error)
            self._stop_reading_requests()
            return
        full = False
        for piece in pieces:
            full = body.feed(piece)
        if decoder.done:
            self._state = _BUSY
            self._decoder = None
            self.read_due = NEVER
            body.finish()
            self._buffer += decoder.rest
        elif full:
            self._pause_reading()
            self.read_due = NEVER
        else:
            self.read_due = self._loop.time() + self._limits.body_idle_timeout_s

    def _first_read(self) -> None:
        """The handler wants a body that the client holds back until told (RFC 9110 10.1.1)."""
        if self._state == _BODY and self._expects and not self.gone and self._responder is not None:
            self._expects = False
            if not self._responder.started and not self._responder.begun:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _body_low(self) -> None:
        if self._state == _BODY and self._paused_reading:
            self._resume_reading()
            self.read_due = self._loop.time() + self._limits.body_idle_timeout_s

    def _stop_reading_requests(self) -> None:
        self._state = _DISCARD
        self._keep_alive = False
        self._decoder = None
        self._buffer.clear()
        self.read_due = NEVER
        self._resume_reading()

    def _pause_reading(self) -> None:
        if not self._paused_reading and not self._eof:
            self._paused_reading = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._paused_reading and not self.gone:
            self._paused_reading = False
            self.transport.resume_reading()

    # -- running the handler

    async def _run(self, request: Request, responder: Responder) -> None:
        try:
            await self._server.handler(request, responder)
            if not responder.started:
                await self._answer_failure(responder, HttpError("the request was not answered"))
        except ClientGone as error:
            await self._answer_failure(responder, error)
        except HttpError as error:
            await self._answer_failure(responder, error)
        except asyncio.CancelledError:
            self.transport.abort()
            raise
        except Exception:
            log.exception("%s: the handler of %s failed", self._server.name, request.method)
            await self._answer_failure(
                responder, HttpError("an internal error; the server's log has details")
            )
        finally:
            task = self._task
            if task is not None:
                self._server.running.discard(task)
            self._finish(responder)

    async def _answer_failure(self, responder: Responder, error: HttpError) -> None:
        if self.gone:
            return
        if responder.started or responder.begun:
            if not responder.ended:
                responder.abort()
            return
        self._keep_alive = False
        responder.send_nowait(error.status, _TEXT, _explain(error))

    def _finish(self, responder: Responder) -> None:
        """The exchange is over: go on with the next one, or close in the way the client understands."""
        self._flow = None
        self._task = None
        self._responder = None
        self._body = None
        if self.gone:
            self.transport.close()
        elif self._closing:
            return
        elif not responder.ended:
            responder.abort()
        elif responder.keep_alive and self._state == _BUSY and self._keep_alive and not self._server.draining:
            self._state = _HEAD
            self.read_due = self._loop.time() + self._limits.idle_timeout_s
            self._resume_reading()
            if self._buffer:
                self._next_request()
            if self._eof and self._state == _HEAD:
                self._close()
        elif (self._state == _BUSY and not self._buffer) or self._eof:
            self._close()
        else:
            self._linger()

    # -- answering

    def keep_alive_after_answer(self) -> bool:
        return self._keep_alive and self._state == _BUSY and not self._server.draining

    def date_line(self) -> str:
        return self._server.date_line()

    def write_paused(self) -> bool:
        return self._paused_writing

    async def drained(self) -> None:
        if self.gone:
            raise ClientGone("the client closed the connection")
        if self._paused_writing:
            waiter = self._loop.create_future()
            self._drain_waiters.append(waiter)
            await waiter

    def set_flow(self, flow: Flow | None) -> None:
        self._flow = flow
        if flow is not None and self._paused_writing:
            flow.hold()

    # -- ends

    def _refuse(self, error: BadMessage) -> None:
        """Answer a request that cannot be believed, and stop listening to this client."""
        body = _explain(error)
        self.transport.write(
            f"HTTP/1.1 {error.status} {REASONS.get(error.status, 'Error')}\r\n"
            f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
            f"{self._server.date_line()}Connection: close\r\n\r\n".encode("latin-1")
            + body
        )
        self._server.refused(error)
        self._linger()

    def _linger(self) -> None:
        """Close after the client had time to read the answer: closing with input unread resets the
        connection, and a reset can overtake the answer."""
        self._stop_reading_requests()
        self.read_due = self._loop.time() + self._limits.linger_s
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _close(self) -> None:
        self._closing = True
        self.read_due = NEVER
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._watch_write()

    def cut(self, *, reset: bool) -> None:
        """End the connection in the middle of an answer. `reset`: where a plain close would look like a
        proper end (an answer that ends with the connection), close with RST after what was written."""
        if self.gone or self._closing:
            return
        self._stop_reading_requests()
        if not reset:
            self._close()
            return
        self._closing = True
        self._loop.call_later(_RESET_DELAY_S, self.reset)

    def reset(self) -> None:
        """Drop the connection now, with RST."""
        if self.gone:
            return
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    def close_if_idle(self) -> None:
        """For draining: a connection between requests can go now."""
        if self._state == _HEAD and not self._buffer and not self._closing:
            self._close()

    # -- deadlines

    def _watch_write(self) -> None:
        self._stuck = unsent_bytes(self.transport)
        self.write_due = self._loop.time() + self._limits.write_idle_timeout_s

    def on_deadline(self, now: float) -> None:
        if self.write_due <= now:
            size = unsent_bytes(self.transport)
            if size >= self._stuck:
                self.write_due = NEVER
                self.transport.abort()
                return
            self._stuck = size
            self.write_due = now + self._limits.write_idle_timeout_s
        if self.read_due <= now:
            self.read_due = NEVER
            self._read_deadline()

    def _read_deadline(self) -> None:
        if self._eof and self._responder is not None:
            self._left(ClientGone("the client closed its side and did not wait for the answer"))
        elif self._state == _BODY and self._body is not None:
            self._body.fail(BodyTimeout("the request body stopped arriving"))
            self._stop_reading_requests()
        elif self._state == _HEAD and self._buffer:
            self._refuse(BadMessage("the request head took too long to arrive", 408))
        elif self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self._close()


class HttpOverload(BadMessage):
    """No room for another connection."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, 503)


_TEXT = [("Content-Type", "text/plain; charset=utf-8")]


def _explain(error: HttpError) -> bytes:
    return f"{error.status} {REASONS.get(error.status, 'Error')}: {error}\n".encode("utf-8", "replace")


def plain_peer(transport: asyncio.BaseTransport) -> Peer:
    """The peer of a connection without TLS; a Unix socket has an empty host."""
    address = transport.get_extra_info("peername")
    if isinstance(address, tuple) and len(address) >= 2:
        return Peer(str(address[0]), int(address[1]))
    return Peer("", 0)


def with_certificate(peer: Peer, transport: asyncio.BaseTransport) -> Peer:
    """`peer` plus the certificate that the TLS layer verified, if the client showed one."""
    tls = transport.get_extra_info("ssl_object")
    certificate = tls.getpeercert() if tls is not None else None
    if not certificate:
        return peer
    return Peer(peer.host, peer.port, True, certificate, tls.getpeercert(binary_form=True), peer.via)
