"""A ClickHouse wire in front of the real ClickHouse, and a plain client that shows bytes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import pytest

from gateway.wire.clickhouse.options import ClickHouseOptions
from gateway.wire.clickhouse.server import ClickHouseWire
from gateway.wire.http.client import UpstreamPool
from gateway.wire.http.server import HttpServer
from tests.real.addresses import ClickHouseAddress
from tests.wire.clickhouse.edge_double import Decide, DoubleBackend, DoubleEdge

KEY = b"k" * 32


@dataclass
class Answer:
    """A response as it came."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    complete: bool = True

    def header(self, name: str) -> str | None:
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)

    def all(self, name: str) -> list[str]:
        return [v for n, v in self.headers if n.lower() == name.lower()]


class Client:
    """Sends raw HTTP and reads one answer; each request has a connection of its own."""

    def __init__(self, host: str, port: int, headers: list[tuple[str, str]] | None = None) -> None:
        self.host, self.port, self.headers = host, port, headers or []

    async def __call__(
        self,
        sql: str | bytes | None = None,
        *,
        method: str = "POST",
        path: str = "/",
        params: dict[str, str] | list[tuple[str, str]] | None = None,
        headers: dict[str, str] | None = None,
        target: str | None = None,
        chunks: list[bytes] | None = None,
    ) -> Answer:
        body = sql.encode() if isinstance(sql, str) else (sql or b"")
        query = urlencode(params or {})
        line = target or (f"{path}?{query}" if query else path)
        sent = [*self.headers, *(headers or {}).items()]
        framing = f"Content-Length: {len(body)}\r\n" if method == "POST" or body else ""
        if chunks is not None:
            framing = "Transfer-Encoding: chunked\r\n"
            body = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
        head = f"{method} {line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{framing}"
        head += "".join(f"{n}: {v}\r\n" for n, v in sent) + "\r\n"
        return await self.raw(head.encode("latin-1") + body, method=method)

    async def raw(self, request: bytes, *, method: str = "POST", timeout: float = 30) -> Answer:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(self.host, self.port, limit=2**22)
            try:
                writer.write(request)
                await writer.drain()
                return await read_answer(reader, method)
            finally:
                writer.close()


async def read_answer(reader: asyncio.StreamReader, method: str = "POST") -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    if head[0].split(" ")[1] == "100":
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = [(n, v.strip()) for n, _, v in (line.partition(":") for line in head[1:-2])]
    answer = Answer(int(head[0].split(" ")[1]), headers, b"")
    if method == "HEAD" or answer.status == 204:
        return answer
    try:
        if (answer.header("Transfer-Encoding") or "") == "chunked":
            while size := int(await reader.readuntil(b"\r\n"), 16):
                answer.body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        elif (length := answer.header("Content-Length")) is not None:
            answer.body = await reader.readexactly(int(length))
        else:
            answer.body = await reader.read(-1)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        answer.body += getattr(error, "partial", b"")
        answer.complete = False
    return answer


@dataclass
class Rig:
    """The wire under test (`ask`), the engine behind it (`direct`), and the edge between."""

    ask: Client
    direct: Client
    edge: DoubleEdge
    wire: ClickHouseWire
    server: HttpServer
    port: int
    options: ClickHouseOptions

    def as_user(self, name: str) -> Client:
        headers = [("X-ClickHouse-User", name), ("X-ClickHouse-Key", f"{name}-pw")]
        return Client(self.ask.host, self.port, headers)


StartRig = Callable[..., Awaitable[Rig]]


@pytest.fixture
async def start_rig(clickhouse_server: ClickHouseAddress) -> AsyncIterator[StartRig]:
    """Start wires with options of the test's choice; all are stopped at its end."""
    started: list[Rig] = []

    async def start(
        *,
        decide: Decide | None = None,
        backends: list[DoubleBackend] | None = None,
        **options: object,
    ) -> Rig:
        engine = engine_backend(clickhouse_server)
        edge = DoubleEdge([engine] if backends is None else backends, decide)
        chosen = ClickHouseOptions(KEY, **options)  # type: ignore[arg-type]
        wire = ClickHouseWire(edge, chosen)
        server = HttpServer(wire.handle, name="clickhouse")
        port = await server.start("127.0.0.1", 0)
        parts = urlsplit(engine.url)
        assert parts.hostname is not None
        assert parts.port is not None
        direct = Client(parts.hostname, parts.port, engine.headers)
        rig = Rig(Client("127.0.0.1", port), direct, edge, wire, server, port, chosen)
        started.append(rig)
        return rig

    yield start
    for rig in started:
        await rig.server.close()
        await rig.wire.close()
        for backend in rig.edge.backends.all():
            await backend.pool.close()


@pytest.fixture
async def rig(start_rig: StartRig) -> Rig:
    return await start_rig()


def engine_backend(server: ClickHouseAddress, name: str = "ch1") -> DoubleBackend:
    parts = urlsplit(server.url)
    assert parts.hostname is not None
    assert parts.port is not None
    headers = [("X-ClickHouse-User", server.user), ("X-ClickHouse-Key", server.password)]
    return DoubleBackend(name, server.url, UpstreamPool(parts.hostname, parts.port), headers)


@pytest.fixture
async def table(clickhouse_server: ClickHouseAddress) -> AsyncIterator[str]:
    """A table name of this test's own; the table is dropped after it."""
    name = "t_" + uuid.uuid4().hex[:12]
    yield name
    login = [("X-ClickHouse-User", clickhouse_server.user), ("X-ClickHouse-Key", clickhouse_server.password)]
    client = Client(clickhouse_server.host, clickhouse_server.port, login)
    await client(f"DROP TABLE IF EXISTS {name} SYNC")


async def eventually(check: Callable[[], Awaitable[bool]], within: float = 5.0) -> bool:
    """Whether `check` becomes true within some seconds."""
    deadline = asyncio.get_running_loop().time() + within
    while not await check():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True
