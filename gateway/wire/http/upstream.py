"""One keep-alive connection to an engine: one exchange at a time."""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, cast

from gateway.wire.http.grammar import ResponseHead, parse_fields, parse_response_head
from gateway.wire.http.message import HIGH_WATER, LOW_WATER, BadMessage, Headers
from gateway.wire.http.response import UpstreamResponse
from gateway.wire.http.sweep import NEVER, unsent_bytes
from gateway.wire.http.upstream_errors import StaleConnection, UpstreamBroken, UpstreamTimeout

_JOIN_BELOW = 16 * 1024
_MAX_INTERIM = 32
_IDLE_SAFETY_S = 1.0
_DEAD_EVENTS = select.POLLIN | select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)

EarlyHeaders = Callable[[int, list[tuple[str, str]]], None]
RequestBody = bytes | AsyncIterator[bytes] | None


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of a pool; times in seconds, sizes in bytes.

    `read_idle_timeout_s` bounds silence inside a response body, `write_idle_timeout_s` the time in which an
    engine must take some of a request, `acquire_timeout_s` and `max_waiting` the queue for a connection.
    """

    max_connections: int = 100
    max_waiting: int = 1000
    acquire_timeout_s: float = 30.0
    connect_timeout_s: float = 5.0
    idle_keep_alive_s: float = 30.0
    read_idle_timeout_s: float = 600.0
    write_idle_timeout_s: float = 60.0
    max_header_bytes: int = 1024 * 1024
    max_headers: int = 10_000


class Owner(Protocol):
    """What a connection needs from its pool."""

    @property
    def limits(self) -> PoolLimits: ...
    def opened(self, connection: UpstreamConnection) -> None: ...
    def released(self, connection: UpstreamConnection) -> None: ...
    def lost(self, connection: UpstreamConnection) -> None: ...
    def spawn_pump(
        self, body: AsyncIterator[bytes], connection: UpstreamConnection, length: int | None
    ) -> asyncio.Task[None]: ...


class UpstreamConnection(asyncio.Protocol):
    __slots__ = ("_buffer", "_drain", "_early", "_early_at", "_early_status", "_head_timeout", "_head_waiter",
                 "_interim", "_loop", "_method", "_paused_writing", "_poll", "_pool", "_pump", "_response", "_scanned",
                 "_stuck", "closed", "idle_until", "read_due", "transport", "used", "write_due")  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, pool: Owner) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._scanned = 0
        self._interim = 0
        self._method = ""
        self._head_waiter: asyncio.Future[UpstreamResponse] | None = None
        self._head_timeout = NEVER
        self._early: EarlyHeaders | None = None
        self._early_at = 0
        self._early_status = 0
        self._response: UpstreamResponse | None = None
        self._pump: asyncio.Task[None] | None = None
        self._drain: asyncio.Future[None] | None = None
        self._paused_writing = False
        self._poll: select.poll | None = None
        self._stuck = 0
        self.closed = False
        self.used = False
        self.idle_until = NEVER
        self.read_due = NEVER
        self.write_due = NEVER

    # -- transport events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        self._pool.opened(self)

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is not None:
            self.read_due = self._loop.time() + self._pool.limits.read_idle_timeout_s
            response.feed(data)
        elif self._head_waiter is not None:
            self._buffer += data
            self._read_head()
        else:
            self.abort("the engine sent bytes that nobody asked for")

    def connection_lost(self, exc: Exception | None) -> None:
        detail = f": {exc}" if exc else ""
        broken = UpstreamBroken(f"the engine closed the connection{detail}")
        self._fail(broken, by_peer=True, clean=exc is None)

    def pause_writing(self) -> None:
        self._paused_writing = True
        self._watch_write()

    def resume_writing(self) -> None:
        self._paused_writing = False
        self.write_due = NEVER
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)

    # -- one exchange

    async def exchange(
        self,
        method: str,
        head: bytes,
        body: RequestBody,
        body_length: int | None,
        head_timeout_s: float,
        early: EarlyHeaders | None,
    ) -> UpstreamResponse:
        if self.closed:
            raise StaleConnection(sent=False)
        self._method = method
        self._early = early
        self._early_at = self._early_status = self._interim = 0
        self._head_timeout = head_timeout_s
        waiter: asyncio.Future[UpstreamResponse] = self._loop.create_future()
        self._head_waiter = waiter
        if body is None or isinstance(body, bytes):
            self._send_whole(head, body)
            self.read_due = self._loop.time() + head_timeout_s
        else:
            self.transport.write(head)
            self.read_due = NEVER
            self._pump = self._pool.spawn_pump(body, self, body_length)
        try:
            return await waiter
        except asyncio.CancelledError:
            # The answer may have come in the same moment, and this connection serve another exchange already.
            if self._head_waiter is waiter:
                self.abort("the request was given up")
            elif not waiter.cancelled() and waiter.exception() is None:
                waiter.result().abort()
            raise

    def _send_whole(self, head: bytes, body: bytes | None) -> None:
        if not body:
            self.transport.write(head)
        elif len(body) < _JOIN_BELOW:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))

    async def pump(self, body: AsyncIterator[bytes], length: int | None) -> None:
        """Send a body piece by piece; its failure is the exchange's failure."""
        left = length
        try:
            async for piece in body:
                if not piece:
                    continue
                if left is None:
                    self.transport.writelines((b"%x\r\n" % len(piece), piece, b"\r\n"))
                else:
                    left -= len(piece)
                    if left < 0:
                        raise ValueError(f"the request body is longer than the announced {length} bytes")
                    self.transport.write(piece)
                if self._paused_writing:
                    await self._drained()
            if left:
                raise ValueError(f"the request body ended {left} bytes early")
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the response
            self._pump = None
            self._fail(error)
            return
        if left is None and not self.closed:
            self.transport.write(b"0\r\n\r\n")
        self._pump = None
        if self._response is None:
            self.read_due = self._loop.time() + self._head_timeout
        else:
            self._response.request_sent()

    async def _drained(self) -> None:
        if self.closed:
            raise UpstreamBroken("the engine closed the connection while the request was being sent")
        self._drain = self._loop.create_future()
        try:
            await self._drain
        finally:
            self._drain = None

    def _read_head(self) -> None:
        limits = self._pool.limits
        while self._response is None and self._buffer:
            end = self._buffer.find(b"\r\n\r\n", max(0, self._scanned - 3))
            size = end + 4 if end >= 0 else len(self._buffer)
            if size > limits.max_header_bytes:
                self._fail(
                    UpstreamBroken(f"the response head is larger than {limits.max_header_bytes} bytes")
                )
                return
            try:
                if end < 0:
                    self._scanned = size
                    self._head_goes_on()
                    return
                self._take_head(bytes(self._buffer[:size]), size)
            except BadMessage as error:
                self._fail(UpstreamBroken(f"the engine's response is not valid HTTP: {error}"))
                return

    def _take_head(self, raw: bytes, size: int) -> None:
        head = parse_response_head(raw, self._pool.limits.max_headers, head_request=self._method == "HEAD")
        rest = bytes(self._buffer[size:])
        del self._buffer[:]
        self._scanned = 0
        if head.status < 200:
            self._interim += 1
            if head.status == 101 or self._interim > _MAX_INTERIM:
                raise BadMessage("unexpected interim responses")
            self.read_due = self._loop.time() + self._head_timeout
            self._buffer += rest
            return
        waiter = self._head_waiter
        self._head_waiter = self._early = None
        if waiter is None or waiter.done():
            self.abort("the request was given up")
            return
        self._response = response = UpstreamResponse(self, head)
        self.read_due = self._loop.time() + self._pool.limits.read_idle_timeout_s
        waiter.set_result(response)
        response.feed(rest)

    def _head_goes_on(self) -> None:
        """The head is still open: show what is there of it to whoever wants it early."""
        if self._pump is None:
            self.read_due = self._loop.time() + self._head_timeout
        stop = self._buffer.rfind(b"\r\n") + 2
        if self._early is None or stop < 2 or stop <= self._early_at:
            return
        start = self._early_at
        if not start:
            start = self._buffer.find(b"\r\n") + 2
            line = bytes(self._buffer[:start]) + b"\r\n"
            self._early_status = parse_response_head(line, 0, head_request=True).status
        self._early_at = stop
        if self._early_status >= 200:
            self._early(self._early_status, parse_fields(bytes(self._buffer[start:stop])))

    # -- for the response

    def pause(self) -> None:
        if not self.closed:
            self.read_due = NEVER
            self.transport.pause_reading()

    def resume(self) -> None:
        if not self.closed:
            self.read_due = self._loop.time() + self._pool.limits.read_idle_timeout_s
            self.transport.resume_reading()

    @property
    def sending(self) -> bool:
        """The request body is still on its way."""
        return self._pump is not None

    def finished(self, head: ResponseHead, rest: bytes) -> None:
        """The response ended properly."""
        self._response = None
        self.read_due = NEVER
        if self.sending or rest or not head.keep_alive or self.transport.get_write_buffer_size():
            self.abort("done")
            return
        self.used = True
        self.idle_until = self._loop.time() + self._idle_allowance(head.headers)
        self._pool.released(self)

    def _idle_allowance(self, headers: Headers) -> float:
        allowed = self._pool.limits.idle_keep_alive_s
        offer = headers.get("keep-alive")
        if offer is None:
            return allowed
        # ClickHouse counts `max` down with each request; the rest is the same each time.
        return min(allowed, _offered_idle_s(offer.partition(", max=")[0]))

    def still_good(self) -> bool:
        """Was it left alone while idle? The kernel knows of a close before our loop does."""
        self.read_due = NEVER
        if self.closed or self.transport.is_closing() or self.idle_until <= self._loop.time():
            return False
        if self._pool.limits.idle_keep_alive_s <= 0:
            return False
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.transport.get_extra_info("socket").fileno(), _DEAD_EVENTS)
        return not self._poll.poll(0)

    def abort(self, reason: str) -> None:
        """Drop the connection; whoever still waits gets UpstreamBroken."""
        self._fail(UpstreamBroken(reason))

    def _fail(self, error: Exception, *, by_peer: bool = False, clean: bool = False) -> None:
        if self.closed:
            return
        self.closed = True
        self.read_due = self.write_due = NEVER
        waiter, response, pump = self._head_waiter, self._response, self._pump
        self._head_waiter = self._early = None
        self.transport.abort()
        if pump is not None:
            self._pump = None
            pump.cancel()
        if self._drain is not None and not self._drain.done():
            self._drain.set_exception(error)
        if waiter is not None and not waiter.done():
            if by_peer and self.used and not self._buffer and not self._interim:
                waiter.set_exception(StaleConnection(sent=True))
            else:
                waiter.set_exception(error)
        if response is not None:
            self._response = None
            response.broken(error, by_close=by_peer and clean)
        self._pool.lost(self)

    # -- deadlines

    def _watch_write(self) -> None:
        self._stuck = unsent_bytes(self.transport)
        self.write_due = self._loop.time() + self._pool.limits.write_idle_timeout_s

    def on_deadline(self, now: float) -> None:
        if self.write_due <= now:
            size = unsent_bytes(self.transport)
            if size >= self._stuck:
                self._fail(UpstreamTimeout("the engine took none of the request in time"))
                return
            self._stuck = size
            self.write_due = now + self._pool.limits.write_idle_timeout_s
        if self.read_due <= now:
            if self._head_waiter is not None:
                self._fail(UpstreamTimeout(f"the engine did not answer within {self._head_timeout:g} s"))
            elif self._response is not None:
                self._fail(UpstreamTimeout("the engine stopped in the middle of its answer"))
            else:
                self.abort("idle")


@lru_cache(maxsize=64)
def _offered_idle_s(offer: str) -> float:
    """How long a `Keep-Alive` field lets a connection rest, in seconds."""
    allowed = NEVER
    for part in offer.split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "timeout" and value.isascii() and value.isdigit():
            allowed = min(allowed, max(0.0, float(value[:9]) - _IDLE_SAFETY_S))
    return allowed
