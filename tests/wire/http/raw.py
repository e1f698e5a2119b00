"""Raw sockets on both sides of the carrier: bytes in, bytes out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType

from gateway.wire.http.client import PoolLimits, UpstreamPool
from gateway.wire.http.message import Request
from gateway.wire.http.responder import Responder
from gateway.wire.http.server import Handler, HttpServer, ServerLimits

TIMEOUT = 5.0

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawClient:
    """A client that sends exactly what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def until(self, mark: bytes) -> bytes:
        async with asyncio.timeout(TIMEOUT):
            return await self.reader.readuntil(mark)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """One response with Content-Length, chunked, or no body."""
        head = (await self.until(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")[:-2]
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        status = int(first.split()[1])
        body = b""
        async with asyncio.timeout(TIMEOUT):
            if "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            elif headers.get("transfer-encoding") == "chunked":
                while size := int((await self.reader.readuntil(b"\r\n")).strip(), 16):
                    body += (await self.reader.readexactly(size + 2))[:-2]
                assert await self.reader.readexactly(2) == b"\r\n"
        return status, headers, body

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(TIMEOUT):
            return await self.reader.read()

    async def ended(self) -> bool:
        """The server closed (or reset) without sending more."""
        try:
            return await self.rest() == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.writer.close()


class Stage:
    """Servers, scripted engines, clients and pools of one test; everything is closed at its end."""

    def __init__(self) -> None:
        self._clients: list[RawClient] = []
        self._servers: list[HttpServer] = []
        self._scripted: list[asyncio.Server] = []
        self._script_writers: list[asyncio.StreamWriter] = []
        self._pools: list[UpstreamPool] = []
        self.port = 0

    async def serve(self, handler: Handler, **limits: float) -> HttpServer:
        server = HttpServer(handler, ServerLimits(**limits), "test")  # type: ignore[arg-type]
        self._servers.append(server)
        self.port = await server.start("127.0.0.1", 0)
        return server

    def adopt(self, thing: HttpServer | UpstreamPool) -> None:
        """Close it with the rest."""
        if isinstance(thing, HttpServer):
            self._servers.append(thing)
        else:
            self._pools.append(thing)

    async def engine(self, script: Script) -> int:
        """An engine that does on each connection what `script` says."""

        async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._script_writers.append(writer)
            try:
                await script(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            writer.close()

        server = await asyncio.start_server(run, "127.0.0.1", 0)
        self._scripted.append(server)
        return int(server.sockets[0].getsockname()[1])

    def pool(self, port: int, **limits: float) -> UpstreamPool:
        pool = UpstreamPool("127.0.0.1", port, limits=PoolLimits(**limits))  # type: ignore[arg-type]
        self._pools.append(pool)
        return pool

    async def connect(self, port: int = 0, **options: object) -> RawClient:
        reader, writer = await asyncio.open_connection("127.0.0.1", port or self.port, limit=2**21, **options)  # type: ignore[arg-type]
        client = RawClient(reader, writer)
        self._clients.append(client)
        return client

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        client = await self.connect()
        client.send(data)
        return await client.answer()

    async def __aenter__(self) -> Stage:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.close()
        for pool in self._pools:
            await pool.close()
        for server in self._servers:
            await server.close()
        for writer in self._script_writers:
            writer.close()
        for scripted in self._scripted:
            scripted.close()


async def echo(request: Request, responder: Responder) -> None:
    """Says back what it understood."""
    body = await request.body.read(1 << 20)
    text = f"{request.method} {request.target} {len(body)} ".encode() + body
    await responder.send(200, [("X-Query", request.query)], text)


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until something that gives no signal is true; fails after TIMEOUT."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
