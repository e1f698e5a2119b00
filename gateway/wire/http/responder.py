"""The answering half of one exchange."""

from __future__ import annotations

import asyncio
import http
from collections.abc import Callable, Iterable
from typing import Protocol

from gateway.wire.http.grammar import encode_fields, encode_head
from gateway.wire.http.message import ClientGone, Headers

HeaderPairs = Headers | Iterable[tuple[str, str]]

REASONS = {status.value: status.phrase for status in http.HTTPStatus}
_JOIN_BELOW = 16 * 1024

_NONE, _LENGTH, _CHUNKED, _CLOSE = range(4)


class Flow(Protocol):
    """A producer that can be held back while the client reads slowly."""

    def hold(self) -> None: ...
    def release(self) -> None: ...


class Channel(Protocol):
    """What a responder needs from its connection."""

    gone: bool
    transport: asyncio.Transport

    def keep_alive_after_answer(self) -> bool: ...
    def date_line(self) -> str: ...
    def write_paused(self) -> bool: ...
    async def drained(self) -> None: ...
    def cut(self, *, reset: bool) -> None: ...
    def set_flow(self, flow: Flow | None) -> None: ...


class Responder:
    """One per request. Framing is decided here: hop-by-hop fields and Content-Length in `headers` are
    ignored, Date is added where absent.

    Everything that writes raises ClientGone once the client left, and InvalidHeader (nothing sent) for
    fields that could split the response.
    """

    __slots__ = ("_begun", "_callbacks", "_channel", "_gone_waiters", "_head_only", "_left", "_mode",
                 "_version", "bytes_sent", "ended", "keep_alive", "started", "status")  # fmt: skip

    def __init__(self, channel: Channel, version: tuple[int, int], head_only: bool) -> None:
        self._channel = channel
        self._version = version
        self._head_only = head_only
        self._mode = _NONE
        self._left = 0
        self._begun = False
        self._callbacks: list[Callable[[], object]] = []
        self._gone_waiters: list[asyncio.Future[None]] = []
        self.status = 0
        self.started = False
        self.ended = False
        self.keep_alive = False
        self.bytes_sent = 0

    # -- whole answers

    async def send(self, status: int, headers: HeaderPairs, body: bytes = b"") -> None:
        """A whole answer in one write; waits only while the client is slow to take it."""
        self.send_nowait(status, headers, body)
        if self._channel.write_paused():
            await self._channel.drained()

    def send_nowait(self, status: int, headers: HeaderPairs, body: bytes = b"") -> None:
        head = self._head(status, headers, len(body), chunkable=False)
        self.started = self.ended = True
        if self._mode == _NONE or not body:
            self._channel.transport.write(head)
            return
        self.bytes_sent = len(body)
        if len(body) < _JOIN_BELOW:
            self._channel.transport.write(head + body)
        else:
            self._channel.transport.writelines((head, body))

    # -- streamed answers

    def begin(self, status: int, headers: HeaderPairs) -> None:
        """Send the status line and some fields now and leave the head open, as ClickHouse does with its
        progress fields. The status is decided by this; `send`/`start` finish the head."""
        self._check_open()
        if self._version == (1, 0) or self.started:
            raise RuntimeError("begin() needs an HTTP/1.1 request whose answer was not started")
        self._begin(status, headers)

    def _begin(self, status: int, headers: HeaderPairs) -> None:
        first = "" if self._begun else _status_line(status) + "\r\n"
        if self._begun and status != self.status:
            raise RuntimeError(f"the head was begun with status {self.status}; it cannot become {status}")
        block = encode_fields(first, _pairs(headers))
        self._begun, self.status = True, status
        self._channel.transport.write(block)

    def add_early(self, headers: HeaderPairs) -> None:
        """More fields of a head that `begin` opened."""
        self._check_open()
        self._begin(self.status, headers)

    @property
    def begun(self) -> bool:
        """The status went out with `begin`, the head is still open."""
        return self._begun and not self.started

    async def start(self, status: int, headers: HeaderPairs, *, length: int | None = None) -> None:
        """Send the head. `length` None: chunked, or until close for HTTP/1.0. For answers without a body
        (HEAD, 304) `length` is what Content-Length says."""
        self.start_nowait(status, headers, length=length)
        if self._channel.write_paused():
            await self._channel.drained()

    def start_nowait(self, status: int, headers: HeaderPairs, *, length: int | None = None) -> None:
        head = self._head(status, headers, length, chunkable=True)
        self.started = True
        self._channel.transport.write(head)

    async def write(self, data: bytes) -> None:
        """A piece of the body; waits while the client is slow."""
        self.write_nowait(data)
        if self._channel.write_paused():
            await self._channel.drained()

    def write_nowait(self, data: bytes) -> None:
        """A piece of the body without waiting; `await drain()` before producing much more."""
        if data:
            self.write_pieces((data,), len(data))

    def write_pieces(self, pieces: Iterable[bytes], total: int) -> None:
        """Several pieces of together `total` bytes as one chunk, without copying big ones."""
        self._check_open()
        if not self.started:
            raise RuntimeError("the head was not sent; call start() first")
        if self._mode == _NONE:
            return
        self.bytes_sent += total
        write = self._channel.transport
        if self._mode == _CHUNKED:
            if total < _JOIN_BELOW:
                write.write(b"%x\r\n%b\r\n" % (total, b"".join(pieces)))
            else:
                write.writelines((b"%x\r\n" % total, *pieces, b"\r\n"))
            return
        if self._mode == _LENGTH:
            self._left -= total
            if self._left < 0:
                self.abort()
                raise RuntimeError("more body bytes than the announced length; the connection was cut")
        write.writelines(pieces)

    async def drain(self) -> None:
        """Wait until the client took enough. Raises ClientGone."""
        if self._channel.write_paused():
            await self._channel.drained()

    async def end(self) -> None:
        self.end_nowait()

    def end_nowait(self) -> None:
        """Finish the answer properly; fewer bytes than announced cut the connection instead."""
        self._check_open()
        if not self.started:
            raise RuntimeError("the head was not sent; call start() or send()")
        if self._mode == _LENGTH and self._left:
            self.abort()
            raise RuntimeError(f"{self._left} announced body bytes were not written; the connection was cut")
        self.ended = True
        if self._mode == _CHUNKED:
            self._channel.transport.write(b"0\r\n\r\n")

    def abort(self) -> None:
        """Cut the connection without a proper end, so that the client sees a broken answer.

        What was written is still delivered first (an engine's error text is often its last bytes)."""
        self.ended = True
        self._channel.cut(reset=self._mode == _CLOSE)

    # -- the client's fate

    @property
    def disconnected(self) -> bool:
        return self._channel.gone

    def on_disconnect(self, callback: Callable[[], object]) -> None:
        """Call `callback` once if the client goes away before this exchange is over."""
        if self._channel.gone:
            asyncio.get_running_loop().call_soon(callback)
        else:
            self._callbacks.append(callback)

    async def wait_disconnected(self) -> None:
        """Returns when the client has gone; wrap it in a bounded wait."""
        if self._channel.gone:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._gone_waiters.append(waiter)
        await waiter

    def client_left(self) -> None:
        """For the connection: run the callbacks, each on its own so that one failing hides no other."""
        callbacks, self._callbacks = self._callbacks, []
        loop = asyncio.get_running_loop()
        for callback in callbacks:
            loop.call_soon(callback)
        for waiter in self._gone_waiters:
            if not waiter.done():
                waiter.set_result(None)

    def set_flow(self, flow: Flow | None) -> None:
        """`flow` is held while the client is slow and released after; None ends that."""
        self._channel.set_flow(flow)

    # -- inside

    def _check_open(self) -> None:
        if self._channel.gone:
            raise ClientGone("the client closed the connection")
        if self.ended:
            raise RuntimeError("the answer has ended already")

    def _head(self, status: int, headers: HeaderPairs, length: int | None, *, chunkable: bool) -> bytes:
        self._check_open()
        if self.started:
            raise RuntimeError("the head was sent already")
        keep = self._channel.keep_alive_after_answer()
        bodiless = self._head_only or status < 200 or status in (204, 304)
        mode, framing = self._framing(status, bodiless, length, keep)
        pairs = _pairs(headers)
        if not any(len(name) == 4 and name.lower() == "date" for name, _ in pairs):
            framing = self._channel.date_line() + framing
        if self._begun:
            if status != self.status:
                raise RuntimeError(f"the head was begun with status {self.status}; it cannot become {status}")
            head = encode_fields("", pairs, framing + "\r\n")
        else:
            head = encode_head(_status_line(status), pairs, framing)
        self.status, self.keep_alive, self._mode = status, keep and mode != _CLOSE, mode
        self._left = length or 0
        return head

    def _framing(self, status: int, bodiless: bool, length: int | None, keep: bool) -> tuple[int, str]:
        if bodiless:
            mode = _NONE
            line = "" if length is None or status < 200 or status == 204 else f"Content-Length: {length}\r\n"
        elif length is not None:
            mode, line = _LENGTH, f"Content-Length: {length}\r\n"
        elif self._version == (1, 1):
            mode, line = _CHUNKED, "Transfer-Encoding: chunked\r\n"
        else:
            mode, line = _CLOSE, ""
        if not keep or mode == _CLOSE:
            line += "Connection: close\r\n"
        elif self._version == (1, 0):
            line += "Connection: keep-alive\r\n"
        return mode, line


def _pairs(headers: HeaderPairs) -> list[tuple[str, str]]:
    if isinstance(headers, Headers):
        return list(headers.items())
    return headers if isinstance(headers, list) else list(headers)


def _status_line(status: int) -> str:
    if not 200 <= status <= 599:
        raise ValueError(f"{status} is not the status of a final answer (200 to 599)")
    return f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"
