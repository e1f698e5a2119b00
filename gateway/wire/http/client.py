"""The upstream side: a bounded pool of keep-alive connections to one engine."""

from __future__ import annotations

import asyncio
import ssl as ssl_module
from collections import deque
from collections.abc import AsyncIterator

from gateway.core.tasks import Supervisor
from gateway.wire.http.grammar import check_request_line, encode_head
from gateway.wire.http.response import PipeResult, UpstreamResponse
from gateway.wire.http.sweep import Sweeper, tick_for
from gateway.wire.http.upstream import EarlyHeaders, PoolLimits, RequestBody, UpstreamConnection
from gateway.wire.http.upstream_errors import (
    ConnectFailed,
    PoolFull,
    StaleConnection,
    UpstreamBroken,
    UpstreamError,
    UpstreamTimeout,
)

__all__ = [
    "ConnectFailed",
    "PipeResult",
    "PoolFull",
    "PoolLimits",
    "UpstreamBroken",
    "UpstreamError",
    "UpstreamPool",
    "UpstreamResponse",
    "UpstreamTimeout",
]

STALE_S = 1.0
"""An engine that had closed an idle connection says so within a round trip; one that is silent longer, in seconds,
has the request."""

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "PUT"})


class UpstreamPool:
    """Connections to one engine at `host:port` or on a Unix socket; use it on one event loop."""

    def __init__(
        self,
        host: str,
        port: int,
        ssl: ssl_module.SSLContext | None = None,
        limits: PoolLimits | None = None,
        *,
        unix_path: str | None = None,
        server_hostname: str | None = None,
    ) -> None:
        self.host, self.port = host, port
        self.limits = limits or PoolLimits()
        default_port = 443 if ssl is not None else 80
        bracketed = f"[{host}]" if ":" in host else host
        self.host_header = bracketed if port == default_port else f"{bracketed}:{port}"
        self._ssl = ssl
        self._server_hostname = server_hostname
        self._unix_path = unix_path
        self._idle: list[UpstreamConnection] = []
        self._all: set[UpstreamConnection] = set()
        self._opening = 0
        self._waiting: deque[asyncio.Future[UpstreamConnection | None]] = deque()
        self._closed = False
        self._sweeper = Sweeper(
            tick_for(
                self.limits.read_idle_timeout_s,
                self.limits.write_idle_timeout_s,
                self.limits.idle_keep_alive_s,
            )
        )
        self._supervisor = Supervisor(f"upstream-{host}:{port}")

    # -- state

    @property
    def open_connections(self) -> int:
        return len(self._all) + self._opening

    @property
    def idle_connections(self) -> int:
        return len(self._idle)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def close(self) -> None:
        """Drop every connection; running requests end with UpstreamBroken."""
        self._closed = True
        for connection in tuple(self._all):
            connection.abort("the pool was closed")
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(ConnectFailed("the pool was closed"))
        self._waiting.clear()
        await self._supervisor.close()

    # -- requests

    async def request(
        self,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        body: RequestBody = None,
        *,
        head_timeout_s: float,
        body_length: int | None = None,
        idempotent: bool | None = None,
        on_early_headers: EarlyHeaders | None = None,
    ) -> UpstreamResponse:
        """Send one request and wait for the head of its response.

        Framing, `Host` (unless given) and connection fields are set here; hop-by-hop fields in `headers`
        are ignored. A body that comes in pieces is sent chunked, or with Content-Length if `body_length` is
        given; it goes on being sent while the response is read. `head_timeout_s` bounds silence after the
        request was sent: interim responses and early header lines count as life.
        `on_early_headers(status, fields)` gets complete header lines that arrive while the head is still
        open (ClickHouse progress).

        A reused connection that turns out closed (at once: later the engine was at work, and what killed it
        must not be sent to the next) is replaced once, if `idempotent` (default: by method) and the body can
        be sent again, or if provably nothing was sent. Raises ConnectFailed, UpstreamTimeout,
        UpstreamBroken, InvalidHeader, and what iterating `body` raises.
        """
        check_request_line(method, target)
        head = self._encode_request(method, target, headers, body, body_length)
        may_replay = method in _IDEMPOTENT if idempotent is None else idempotent
        replayable = body is None or isinstance(body, bytes)
        fresh_only = False
        loop = asyncio.get_running_loop()
        while True:
            connection = await self._acquire(fresh_only)
            reused, began = connection.used, loop.time()
            try:
                return await connection.exchange(
                    method, head, body, body_length, head_timeout_s, on_early_headers
                )
            except StaleConnection as stale:
                again = replayable and may_replay and loop.time() - began < STALE_S
                if reused and not fresh_only and (again or not stale.sent):
                    fresh_only = True
                    continue
                raise UpstreamBroken(
                    "the engine closed the connection before it answered", sent=stale.sent
                ) from None

    def _encode_request(
        self,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        body: RequestBody,
        body_length: int | None,
    ) -> bytes:
        named = any(len(name) == 4 and name.lower() == "host" for name, _ in headers)
        framing = "" if named else f"Host: {self.host_header}\r\n"
        if isinstance(body, bytes):
            framing += f"Content-Length: {len(body)}\r\n"
        elif body is not None:
            framing += (
                "Transfer-Encoding: chunked\r\n"
                if body_length is None
                else f"Content-Length: {body_length}\r\n"
            )
        elif method in ("POST", "PUT", "PATCH"):
            framing += "Content-Length: 0\r\n"
        return encode_head(f"{method} {target} HTTP/1.1", headers, framing)

    # -- connections

    async def _acquire(self, fresh_only: bool) -> UpstreamConnection:
        if self._closed:
            raise ConnectFailed("the pool was closed")
        while self._idle and not fresh_only:
            connection = self._idle.pop()
            if connection.still_good():
                return connection
            connection.abort("closed while idle")
        if fresh_only and self._idle and self.open_connections >= self.limits.max_connections:
            self._idle.pop(0).abort("replaced by a fresh connection")
        if self.open_connections < self.limits.max_connections:
            return await self._connect()
        return await self._wait_turn()

    async def _wait_turn(self) -> UpstreamConnection:
        if len(self._waiting) >= self.limits.max_waiting:
            raise PoolFull(f"{self.host_header}: {len(self._waiting)} requests wait for a connection already")
        waiter: asyncio.Future[UpstreamConnection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self.limits.acquire_timeout_s):
                connection = await waiter
        except TimeoutError:
            self._give_back(waiter)
            raise PoolFull(
                f"{self.host_header}: no connection of {self.limits.max_connections} became free "
                f"within {self.limits.acquire_timeout_s:g} s"
            ) from None
        except BaseException:
            self._give_back(waiter)
            raise
        if connection is not None:
            return connection
        self._opening -= 1  # the slot that was reserved for us; _connect takes it over
        return await self._connect()

    def _give_back(self, waiter: asyncio.Future[UpstreamConnection | None]) -> None:
        """A waiter left: what it was handed in the same moment goes to the next."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            connection = waiter.result()
            if connection is not None:
                self.released(connection)
            else:
                self._opening -= 1
                self._slot_free()

    async def _connect(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        self._opening += 1
        opened: UpstreamConnection | None = None
        try:
            async with asyncio.timeout(self.limits.connect_timeout_s):
                if self._unix_path is not None:
                    _, opened = await loop.create_unix_connection(
                        lambda: UpstreamConnection(self), self._unix_path
                    )
                else:
                    _, opened = await loop.create_connection(
                        lambda: UpstreamConnection(self),
                        self.host,
                        self.port,
                        ssl=self._ssl,
                        server_hostname=self._server_hostname if self._ssl is not None else None,
                    )
        except TimeoutError:
            raise ConnectFailed(
                f"cannot connect to {self.host_header} within {self.limits.connect_timeout_s:g} s"
            ) from None
        except OSError as error:  # ssl.SSLError is one too
            raise ConnectFailed(f"cannot connect to {self.host_header}: {error}") from error
        finally:
            self._opening -= 1
            if opened is None:
                self._slot_free()
        return opened

    def opened(self, connection: UpstreamConnection) -> None:
        self._all.add(connection)
        self._sweeper.add(connection)

    def released(self, connection: UpstreamConnection) -> None:
        """A connection ended an exchange properly and may serve the next."""
        if self._closed or connection.closed:
            connection.abort("the pool was closed")
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        connection.read_due = connection.idle_until
        self._idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        self._all.discard(connection)
        self._sweeper.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._slot_free()

    def _slot_free(self) -> None:
        while self._waiting and self.open_connections < self.limits.max_connections:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._opening += 1
                waiter.set_result(None)

    def spawn_pump(
        self, body: AsyncIterator[bytes], connection: UpstreamConnection, length: int | None
    ) -> asyncio.Task[None]:
        return self._supervisor.spawn(connection.pump(body, length), "request-body")
