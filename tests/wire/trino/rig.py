"""The Trino wire on a real port in front of real engines, and small tools to talk to it and to hurt it."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import trino.dbapi

from gateway.edge.contract import WireOptions
from gateway.wire.http.client import PoolLimits, UpstreamPool
from gateway.wire.http.server import HttpServer
from gateway.wire.trino.options import TrinoOptions
from gateway.wire.trino.server import TrinoWire
from tests.wire.trino.edge_double import DoubleBackend, DoubleEdge

T = TypeVar("T")
USER = {"X-Trino-User": "alice"}
KEY = b"test" * 8


@dataclass
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)  # type: ignore[no-any-return]

    @property
    def next_path(self) -> str:
        return "/" + self.json["nextUri"].split("/", 3)[3]


@dataclass
class Gateway:
    """One gateway process, as far as its clients can tell."""

    edge: DoubleEdge
    wire: TrinoWire
    server: HttpServer
    port: int
    base: str = field(init=False)

    def __post_init__(self) -> None:
        self.base = f"http://127.0.0.1:{self.port}"

    async def call(
        self, method: str, path: str, body: str | bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """One request on a connection of its own, as a plain HTTP client makes it."""
        return await asyncio.to_thread(self._call, method, path, body, headers or {})

    def _call(self, method: str, path: str, body: str | bytes | None, headers: dict[str, str]) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Reply(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    async def post(self, sql: str, **headers: str) -> Reply:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.call("POST", "/v1/statement", sql.encode(), {**USER, **fields})

    async def pages(self, first: Reply, limit: int = 1000) -> list[Reply]:
        """The rest of a query, page by page."""
        replies = [first]
        while "nextUri" in replies[-1].json and len(replies) < limit:
            replies.append(await self.call("GET", replies[-1].next_path))
            assert replies[-1].status == 200, replies[-1]
        return replies

    async def run(self, sql: str, **headers: str) -> list[Reply]:
        return await self.pages(await self.post(sql, **headers))

    def connect(self, **options: Any) -> trino.dbapi.Connection:
        """The public Python client."""
        return trino.dbapi.connect(host="127.0.0.1", port=self.port, **{"user": "alice", **options})

    async def fetch(self, sql: str, **options: Any) -> list[list[Any]]:
        def work() -> list[list[Any]]:
            return self.connect(**options).cursor().execute(sql).fetchall()  # type: ignore[no-any-return]

        return await asyncio.to_thread(work)

    async def settled(self, timeout: float = 5.0) -> None:
        """Wait until every query has an outcome."""
        await eventually(lambda: all(query.outcome is not None for query in self.edge.queries), timeout)


async def eventually(condition: Callable[[], bool], timeout: float = 5.0) -> None:
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)


def backend(
    host: str, port: int, name: str = "a", *, process_forwarded: bool = True, connections: int = 20
) -> DoubleBackend:
    limits = PoolLimits(
        max_connections=connections, max_waiting=2, acquire_timeout_s=0.5, connect_timeout_s=2.0
    )
    return DoubleBackend(name, UpstreamPool(host, port, limits=limits), process_forwarded=process_forwarded)


@asynccontextmanager
async def gateway(
    *backends: DoubleBackend,
    options: WireOptions | None = None,
    trino_options: TrinoOptions | None = None,
    unix_path: Path | None = None,
) -> AsyncIterator[Gateway]:
    """`unix_path` is where siblings reach this process, beside its port."""
    edge = DoubleEdge(*backends)
    wire = TrinoWire(edge, options or WireOptions(), trino_options or TrinoOptions(transaction_key=KEY))
    server = HttpServer(wire.handle, name="trino")
    port = await server.start("127.0.0.1", 0)
    if unix_path is not None:
        await server.start(unix_path=unix_path)
    try:
        yield Gateway(edge, wire, server, port)
    finally:
        await server.close()
        await wire.close()
        for one in backends:
            await one.pool.close()


class Cutter:
    """A TCP relay in front of a real engine that can break as networks and machines do."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.hung = False
        self.port = 0

    async def start(self) -> Cutter:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, upstream_writer}
        await asyncio.gather(self._pump(reader, upstream_writer), self._pump(upstream_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                while self.hung:  # noqa: ASYNC110 - a stopped process has no event either
                    await asyncio.sleep(0.05)
                writer.write(data)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def cut(self) -> None:
        """The engine dies: connections are reset, new ones refused."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        await asyncio.sleep(0.05)

    async def close(self) -> None:
        self.hung = False
        await self.cut()
