"""Server and pool together: a relay, as the wires use it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator

import pytest

from gateway.wire.http.client import PipeResult, UpstreamPool
from gateway.wire.http.message import Request
from gateway.wire.http.responder import Responder
from gateway.wire.http.server import HttpServer
from tests.wire.http.raw import RawClient, Script, Stage, eventually, head_of
from tests.wire.http.test_server import resident_bytes

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n2;e\r\nok\r\n0\r\nT: 1\r\n\r\n"


class Relay:
    """A minimal relay; remembers how each exchange ended."""

    def __init__(self, pool: UpstreamPool) -> None:
        self.pool = pool
        self.results: list[PipeResult | BaseException] = []
        self.tapped = bytearray()
        self.tap_fails = False

    def tap(self, piece: bytes) -> None:
        if self.tap_fails:
            raise ZeroDivisionError
        if len(self.tapped) < 10_000:
            self.tapped += piece

    async def __call__(self, request: Request, responder: Responder) -> None:
        body: AsyncIterator[bytes] | None = aiter(request.body) if request.body.has_body else None
        try:
            response = await self.pool.request(
                request.method,
                request.target,
                request.headers.end_to_end(),
                body,
                body_length=request.body.length,
                head_timeout_s=5.0,
            )
            async with response:
                self.results.append(await response.pipe_to(responder, tap=self.tap))
        except BaseException as error:
            self.results.append(error)
            raise


async def relay(stage: Stage, script: Script, **limits: float) -> tuple[Relay, HttpServer]:
    handler = Relay(stage.pool(await stage.engine(script)))
    return handler, await stage.serve(handler, **limits)


def answering(answer: bytes, *, close: bool = False) -> Script:
    async def script(reader: Reader, writer: Writer) -> None:
        while True:
            await head_of(reader)
            writer.write(answer)
            if close:
                return

    return script


async def ask(stage: Stage, data: bytes = b"GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n") -> RawClient:
    client = await stage.connect()
    client.send(data)
    return client


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200 OK\r\nX-A: 1\r\nX-A: 2\r\n" + CHUNKED, b"ok"),
        (b"HTTP/1.1 200 OK\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)  # fmt: skip
async def test_small_answers(stage: Stage, answer: bytes, body: bytes) -> None:
    handler, _ = await relay(stage, answering(answer))
    client = await ask(stage)
    for _ in range(3):
        head = await client.until(b"\r\n\r\n")
        assert b"X-A: 1\r\nX-A: 2\r\n" in head
        assert head.count(b"Content-Length: %d\r\n" % len(body)) == 1
        assert await client.reader.readexactly(len(body)) == body
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert bytes(handler.tapped).startswith(body)
    assert handler.pool.open_connections == 1


async def test_many_clients_share_few_connections_and_get_their_own_answers(stage: Stage) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        while True:
            name = (await head_of(reader)).split()[1]
            if name.endswith(b"7"):
                await asyncio.sleep(0.001)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(name) + name)

    handler = Relay(stage.pool(await stage.engine(script), max_connections=3))
    await stage.serve(handler)

    async def client(number: int) -> None:
        raw = await stage.connect()
        for i in range(50):
            raw.send(b"GET /%d/%d HTTP/1.1\r\nHost: a\r\n\r\n" % (number, i))
            assert (await raw.answer())[2] == b"/%d/%d" % (number, i)

    async with asyncio.TaskGroup() as group:
        for number in range(16):
            group.create_task(client(number))
    assert handler.pool.open_connections <= 3


async def test_giving_up_never_touches_another_exchange(stage: Stage) -> None:
    """Cancel at every moment of an exchange, also when its answer has just come."""

    async def script(reader: Reader, writer: Writer) -> None:
        while True:
            name = (await head_of(reader)).split()[1]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(name) + name)

    pool = stage.pool(await stage.engine(script), max_connections=2)
    loop = asyncio.get_running_loop()

    async def steady() -> None:
        for i in range(300):
            response = await pool.request("POST", f"/{i}", [], b"", head_timeout_s=2.0)
            assert await response.read(100) == b"/%d" % i

    async def fickle() -> None:
        for i in range(300):
            task = loop.create_task(pool.request("GET", "/x", [], head_timeout_s=2.0))
            for _ in range(i % 8):
                await asyncio.sleep(0)
            task.cancel()
            result = (await asyncio.gather(task, return_exceptions=True))[0]
            if not isinstance(result, BaseException):
                assert await result.read(10) == b"/x"

    async with asyncio.TaskGroup() as group:
        for work in (steady, steady, fickle, fickle):
            group.create_task(work())
    assert pool.open_connections <= 2
    assert pool.waiting == 0


async def test_head_and_304_keep_the_engines_length(stage: Stage) -> None:
    await relay(stage, answering(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"))
    client = await ask(stage, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ in range(2):
        assert b"Content-Length: 9\r\n" in await client.until(b"\r\n\r\n")
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 300000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n100000\r\n", b"\r\n"]
)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_an_answer_cut_by_the_engine_is_cut_for_the_client(
    stage: Stage, framing: bytes, version: bytes
) -> None:
    tail = b"__exception__ what went wrong"

    async def script(reader: Reader, writer: Writer) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"a" * 150_000)
        await asyncio.sleep(0.05)
        writer.write(tail)
        await writer.drain()
        await asyncio.sleep(0.05)
        if framing == b"\r\n":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            writer.transport.abort()

    handler, _ = await relay(stage, script)
    client = await ask(stage, b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version)
    answer = b""
    with_reset = version == b"1.0" and not framing.startswith(b"Content")
    try:
        while piece := await client.reader.read(100_000):
            answer += piece
        assert not with_reset
    except ConnectionResetError:
        assert with_reset
    assert tail in answer
    assert not answer.endswith(b"0\r\n\r\n")
    result = handler.results[0]
    assert isinstance(result, PipeResult)
    assert not result.complete
    assert result.error is not None
    assert result.bytes == 150_000 + len(tail)


async def test_client_leaving_cuts_the_engine_at_once(stage: Stage) -> None:
    left: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def script(reader: Reader, writer: Writer) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        try:
            await reader.read()
        except ConnectionError:
            pass
        left.set_result(time.monotonic())

    handler, server = await relay(stage, script)
    client = await ask(stage)
    await client.until(b"ok\r\n")
    began = time.monotonic()
    client.close()
    async with asyncio.timeout(3):
        assert await left - began < 1.0
    await eventually(lambda: not server.connections and handler.results)
    result = handler.results[0]
    assert isinstance(result, PipeResult)
    assert (result.complete, result.client_gone) == (False, True)
    assert handler.pool.open_connections == 0


async def test_failing_tap_cuts_both_sides(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")

    async def script(reader: Reader, writer: Writer) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.write(b"2\r\nok\r\n")
        await reader.read()

    handler, _ = await relay(stage, script)
    handler.tap_fails = True
    client = await ask(stage)
    assert b"0\r\n\r\n" not in await client.rest()
    assert isinstance(handler.results[0], ZeroDivisionError)
    assert handler.pool.open_connections == 0


async def test_early_error_while_the_upload_goes_on(stage: Stage) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await head_of(reader)
        await reader.readexactly(100_000)
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 11\r\nConnection: close\r\n\r\nno table: x")
        await writer.drain()
        await asyncio.sleep(0.2)

    await relay(stage, script)
    client = await ask(stage, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    stop = asyncio.Event()

    async def upload() -> None:
        while not stop.is_set():
            client.send(b"186a0\r\n" + bytes(100_000) + b"\r\n")
            try:
                await client.writer.drain()
            except ConnectionError:
                return
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        group.create_task(upload())
        status, headers, body = await client.answer()
        stop.set()
    assert (status, headers["connection"], body) == (404, "close", b"no table: x")


async def test_client_leaving_in_its_upload_cuts_the_engines_upload(stage: Stage) -> None:
    seen: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def script(reader: Reader, writer: Writer) -> None:
        await head_of(reader)
        got = b""
        try:
            while piece := await reader.read(1000):
                got += piece
        except ConnectionError:
            pass
        seen.set_result(got)

    handler, _ = await relay(stage, script)
    client = await ask(stage, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await asyncio.sleep(0.05)
    client.close()
    async with asyncio.timeout(2):
        got = await seen
    assert b"abc" in got
    assert b"0\r\n\r\n" not in got
    assert handler.pool.open_connections == 0


async def test_slow_reader_holds_the_engine_back(stage: Stage) -> None:
    offered = 0

    async def script(reader: Reader, writer: Writer) -> None:
        nonlocal offered
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while offered < 100_000_000:
            writer.write(bytes(100_000))
            offered += 100_000
            await writer.drain()

    handler, _ = await relay(stage, script)
    client = await ask(stage)
    await asyncio.sleep(0.4)
    # Kernel buffers of two connections and 2 x 256 KiB in between.
    assert offered < 40_000_000
    await client.until(b"\r\n\r\n")
    left = 100_000_000
    while left:
        left -= len(await client.reader.read(1 << 20))
    await eventually(lambda: handler.results)
    assert handler.results == [PipeResult(True, 100_000_000)]


CHUNK = b"40000\r\n" + bytes(0x40000) + b"\r\n"


def stream_from_thread(count: int) -> tuple[int, threading.Thread]:
    """A blocking engine that sends `count` chunks of 256 KiB to one client."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        sock, _ = listener.accept()
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(count):
            sock.sendall(CHUNK)
        sock.sendall(b"0\r\n\r\n")
        sock.close()
        listener.close()

    thread = threading.Thread(target=run)
    thread.start()
    return listener.getsockname()[1], thread


async def test_a_gigabyte_passes_with_flat_memory(stage: Stage) -> None:
    if "uvloop" not in type(asyncio.get_running_loop()).__module__:
        return
    port, engine = stream_from_thread(4096)
    handler = Relay(stage.pool(port))
    await stage.serve(handler)
    got = 0
    peak = 0

    def read() -> None:
        nonlocal got
        sock = socket.create_connection(("127.0.0.1", stage.port))
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        buffer = bytearray(1 << 20)
        while size := sock.recv_into(buffer):
            got += size
        sock.close()

    before = resident_bytes()
    reader = asyncio.get_running_loop().run_in_executor(None, read)
    while not reader.done():
        peak = max(peak, resident_bytes())
        await asyncio.sleep(0.02)
    await reader
    engine.join()
    assert got > 1 << 30
    assert handler.results == [PipeResult(True, 1 << 30)]
    assert peak - before < 24 * 1024 * 1024
