"""The response of an engine, and the fast path that relays it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from gateway.wire.http.chunked import ChunkedDecoder, ClosingDecoder, FixedDecoder
from gateway.wire.http.grammar import ResponseHead
from gateway.wire.http.message import HIGH_WATER, LOW_WATER, BadMessage, BodyTooLarge, ClientGone
from gateway.wire.http.responder import HeaderPairs, Responder
from gateway.wire.http.upstream_errors import UpstreamBroken, UpstreamError

Tap = Callable[[bytes], None]


class Source(Protocol):
    """What a response needs from its connection."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def abort(self, reason: str) -> None: ...
    def finished(self, head: ResponseHead, rest: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class PipeResult:
    """How a relayed body ended. `complete`: the engine ended it properly and all of it was passed on."""

    complete: bool
    bytes: int
    client_gone: bool = False
    error: UpstreamError | None = None


class UpstreamResponse:
    """The response of an engine: head at once, body as it comes (at most 256 KiB wait here).

    Read it to the end, `pipe_to` it, or `abort()` it; `async with` aborts what was not finished. The
    connection goes back to the pool only after a proper end.
    """

    __slots__ = ("_chunks", "_conn", "_decoder", "_done", "_error", "_head", "_held", "_pipe", "_size",
                 "_waiter", "headers", "reason", "status", "version")  # fmt: skip

    def __init__(self, connection: Source, head: ResponseHead) -> None:
        self._conn: Source | None = connection
        self._head = head
        self._decoder: ChunkedDecoder | ClosingDecoder | FixedDecoder
        if head.chunked:
            self._decoder = ChunkedDecoder()
        else:
            self._decoder = ClosingDecoder() if head.length is None else FixedDecoder(head.length)
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._done = False
        self._held = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._pipe: _Pipe | None = None
        self.status = head.status
        self.reason = head.reason
        self.headers = head.headers
        self.version = head.version

    @property
    def length(self) -> int | None:
        """What Content-Length says (of a HEAD answer too), None without it."""
        value = self.headers.get("content-length")
        return int(value) if value is not None else None

    @property
    def bodiless(self) -> bool:
        """No body belongs to it, whatever Content-Length says: HEAD, 204, 304."""
        return self._head.bodiless

    @property
    def complete(self) -> bool:
        """The body has arrived to its proper end (some of it may be unread)."""
        return self._done

    def end_to_end(self) -> list[tuple[str, str]]:
        return self.headers.end_to_end()

    # -- reading

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[bytes]:
        while True:
            while not self._chunks:
                if self._error is not None:
                    raise self._error
                if self._done:
                    return
                self._waiter = asyncio.get_running_loop().create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            chunk = self._chunks.popleft()
            self._size -= len(chunk)
            if self._held and self._size <= LOW_WATER:
                self.release()
            yield chunk

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises BodyTooLarge past `limit` bytes (and drops the connection)."""
        if self._done and self._size <= limit:
            body = b"".join(self._chunks)
            self._chunks.clear()
            self._size = 0
            return body
        parts: list[bytes] = []
        total = 0
        async for chunk in self:
            total += len(chunk)
            if total > limit:
                self.abort()
                raise BodyTooLarge(limit)
            parts.append(chunk)
        return b"".join(parts)

    async def pipe_to(
        self,
        responder: Responder,
        *,
        status: int | None = None,
        headers: HeaderPairs | None = None,
        tap: Tap | None = None,
    ) -> PipeResult:
        """Relay the body into `responder` without a task switch for each chunk.

        A responder that was not started is started with `status` and `headers` (default: the engine's own,
        end-to-end fields only). `tap` sees every piece of the decoded body, before it is sent; an error it
        raises cuts both sides. When the engine's body is cut, the client's is cut too. Never raises for
        either side's death: see PipeResult.
        """
        pipe = _Pipe(self, responder, tap)
        try:
            return await pipe.run(status or self.status, self.end_to_end() if headers is None else headers)
        except ClientGone:
            self.abort()
            return PipeResult(False, responder.bytes_sent, client_gone=True)
        except BaseException:
            self.abort()
            if responder.started and not responder.ended:
                responder.abort()
            raise
        finally:
            self._pipe = None
            responder.set_flow(None)

    def take_buffered(self) -> list[bytes]:
        """Everything that waits here."""
        pieces = list(self._chunks)
        self._chunks.clear()
        self._size = 0
        return pieces

    def attach(self, pipe: _Pipe) -> None:
        """From now on the body goes straight into `pipe`."""
        self._pipe = pipe
        if self._held:
            self.release()

    @property
    def error(self) -> Exception | None:
        return self._error

    def abort(self) -> None:
        """Give up: the connection is dropped unless the response had ended."""
        if self._conn is not None:
            self._conn.abort("the response was given up")

    async def __aenter__(self) -> UpstreamResponse:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    # -- for the connection

    def feed(self, data: bytes) -> None:
        if data:
            try:
                pieces = self._decoder.feed(data)
            except BadMessage as error:
                if self._conn is not None:
                    self._conn.abort(f"the engine's response is not valid HTTP: {error}")
                return
            if pieces:
                self._deliver(pieces)
        if self._decoder.done:
            self._ended(self._decoder.rest)

    def _deliver(self, pieces: list[bytes]) -> None:
        if self._pipe is not None:
            self._pipe.pieces(pieces)
            return
        self._chunks.extend(pieces)
        self._size += sum(map(len, pieces))
        if self._size > HIGH_WATER and not self._held:
            self.hold()
        self._wake()

    def _ended(self, rest: bytes) -> None:
        connection = self._conn
        if connection is None:
            return
        self._conn = None
        self._done = True
        if self._held:
            connection.resume()
            self._held = False
        connection.finished(self._head, rest)
        self._wake()
        if self._pipe is not None:
            self._pipe.ended()

    def broken(self, error: Exception, *, by_close: bool) -> None:
        """The connection is lost; `by_close` (a FIN, no reset) is a proper end where no other was announced."""
        self._conn = None
        if by_close and isinstance(self._decoder, ClosingDecoder):
            self._done = True
        else:
            self._error = error
        self._wake()
        if self._pipe is not None:
            self._pipe.ended()

    def request_sent(self) -> None:
        """The rest of the request body went out while the response was being read."""

    def hold(self) -> None:
        if not self._held and self._conn is not None:
            self._held = True
            self._conn.pause()

    def release(self) -> None:
        if self._held and self._conn is not None:
            self._held = False
            self._conn.resume()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Pipe:
    """Moves a response body from protocol callback to transport write."""

    __slots__ = ("_failure", "_over", "_responder", "_response", "_tap")

    def __init__(self, response: UpstreamResponse, responder: Responder, tap: Tap | None) -> None:
        self._response = response
        self._responder = responder
        self._tap = tap
        self._over: asyncio.Future[None] | None = None
        self._failure: Exception | None = None

    async def run(self, status: int, headers: HeaderPairs) -> PipeResult:
        response, responder = self._response, self._responder
        if not responder.started:
            if response.complete:
                return await self._send_whole(status, headers)
            responder.start_nowait(status, headers, length=response.length)
        self.pieces(response.take_buffered())
        if self._failure is None and not response.complete and response.error is None:
            self._over = asyncio.get_running_loop().create_future()
            responder.on_disconnect(self._client_left)
            responder.set_flow(response)
            response.attach(self)
            await self._over
        if self._failure is not None:
            raise self._failure
        return await self._result()

    async def _send_whole(self, status: int, headers: HeaderPairs) -> PipeResult:
        body = b"".join(self._response.take_buffered())
        if self._tap is not None and body:
            self._tap(body)
        if self._response.bodiless or status in (204, 304):
            self._responder.start_nowait(status, headers, length=self._response.length)
            self._responder.end_nowait()
        else:
            await self._responder.send(status, headers, body)
        return PipeResult(True, len(body))

    def pieces(self, pieces: list[bytes]) -> None:
        """Called for each read of the engine's socket."""
        if self._failure is not None or not pieces:
            return
        try:
            if self._tap is not None:
                for piece in pieces:
                    self._tap(piece)
            total = len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))
            self._responder.write_pieces(pieces, total)
        except Exception as error:  # noqa: BLE001 - raised to the caller of pipe_to
            self._failure = error
            self.ended()

    def ended(self) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _client_left(self) -> None:
        if not self._response.complete and self._failure is None:
            self._failure = ClientGone("the client closed the connection")
            self.ended()

    async def _result(self) -> PipeResult:
        responder, error = self._responder, self._response.error
        if error is None:
            if not responder.ended:
                responder.end_nowait()
            await responder.drain()
            return PipeResult(True, responder.bytes_sent)
        responder.abort()
        known = error if isinstance(error, UpstreamError) else UpstreamBroken(str(error))
        return PipeResult(False, responder.bytes_sent, error=known)
