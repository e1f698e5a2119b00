"""The server's behaviour on the wire, beyond what it refuses."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import socket
import time
from collections.abc import AsyncIterator

import pytest

from gateway.wire.http.message import BodyTooLarge, ClientGone, InvalidHeader, Request
from gateway.wire.http.responder import Responder
from gateway.wire.http.server import HttpServer, ServerLimits
from tests.wire.http.raw import Stage, echo, eventually

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def ok(request: Request, responder: Responder) -> None:
    await responder.send(200, [("Content-Type", "text/plain")], b"ok")


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:  # noqa: PTH123
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# -- keep-alive, versions, order


async def test_keep_alive_and_pipelining_answer_in_order(stage: Stage) -> None:
    async def slow_first(request: Request, responder: Responder) -> None:
        if request.path == "/0":
            await asyncio.sleep(0.05)
        await echo(request, responder)

    await stage.serve(slow_first)
    client = await stage.connect()
    client.send(
        b"".join(b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx" % i for i in range(50))
    )
    for i in range(50):
        assert (await client.answer())[2] == b"POST /%d 1 x" % i


async def test_pipelined_flood_is_held_back(stage: Stage) -> None:
    release = asyncio.Event()

    async def wait(request: Request, responder: Responder) -> None:
        await release.wait()
        await ok(request, responder)

    await stage.serve(wait)
    client = await stage.connect()
    padded = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 10_000 + b"\r\n\r\n"
    client.send(padded * 1500)
    before = resident_bytes()
    await asyncio.sleep(0.3)
    # 15 MB were offered; kernel buffers take some, we take 64 KiB and a read.
    assert client.writer.transport.get_write_buffer_size() > 3_000_000
    assert resident_bytes() - before < 5_000_000
    release.set()
    for _ in range(500):
        assert (await client.answer())[0] == 200


async def test_http_1_0_closes_unless_asked_to_keep(stage: Stage) -> None:
    await stage.serve(ok)
    client = await stage.connect()
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    status, headers, body = await client.answer()
    assert (status, headers["connection"], body) == (200, "close", b"ok")
    assert await client.ended()

    client = await stage.connect()
    for _ in range(2):
        client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        status, headers, body = await client.answer()
        assert (status, headers["connection"], body) == (200, "keep-alive", b"ok")


async def test_http_1_0_stream_ends_with_the_connection(stage: Stage) -> None:
    async def stream(request: Request, responder: Responder) -> None:
        await responder.start(200, [])
        await responder.write(b"a" * 10)
        await responder.end()

    await stage.serve(stream)
    client = await stage.connect()
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    answer = await client.rest()
    assert b"chunked" not in answer
    assert b"Connection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\n" + b"a" * 10)


async def test_http_1_0_stream_cut_is_a_reset_not_an_end(stage: Stage) -> None:
    async def cut(request: Request, responder: Responder) -> None:
        await responder.start(200, [])
        await responder.write(b"half")
        responder.abort()

    await stage.serve(cut)
    client = await stage.connect()
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert (await client.until(b"half")).endswith(b"half")
    with pytest.raises(ConnectionResetError):
        await client.rest()


async def test_close_asked_by_the_client_ignores_what_follows(stage: Stage) -> None:
    await stage.serve(ok)
    client = await stage.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n\x00\xffgarbage" + GET)
    status, headers, _ = await client.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert await client.ended()


@pytest.mark.parametrize("streamed", [False, True])
async def test_head_has_a_length_and_no_body(stage: Stage, streamed: bool) -> None:
    async def handler(request: Request, responder: Responder) -> None:
        if streamed:
            await responder.start(200, [], length=7)
            await responder.write(b"ignored")
            await responder.end()
        else:
            await responder.send(200, [], b"ignored")

    await stage.serve(handler)
    client = await stage.connect()
    client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    head = await client.until(b"\r\n\r\n")
    assert b"Content-Length: 7\r\n" in head
    client.send(GET)
    assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_bodiless_statuses_carry_no_framing(stage: Stage) -> None:
    async def handler(request: Request, responder: Responder) -> None:
        await responder.start(int(request.path[1:]), [])
        await responder.end()

    await stage.serve(handler)
    client = await stage.connect()
    for status in (204, 304, 204):
        client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % status)
        head = await client.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert b"Content-Length" not in head
        assert b"Transfer-Encoding" not in head


# -- bodies


async def test_continue_only_when_the_body_is_read(stage: Stage) -> None:
    async def handler(request: Request, responder: Responder) -> None:
        if request.path == "/read":
            await echo(request, responder)
        else:
            await responder.send(403, [], b"no")

    await stage.serve(handler)
    expecting = b"POST %b HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n"
    client = await stage.connect()
    client.send(expecting % b"/read")
    assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"abc")
    assert (await client.answer())[2] == b"POST /read 3 abc"

    client = await stage.connect()
    client.send(expecting % b"/refuse")
    status, headers, _ = await client.answer()
    assert (status, headers["connection"]) == (403, "close")
    assert await client.ended()


async def test_body_too_large_is_413(stage: Stage) -> None:
    async def handler(request: Request, responder: Responder) -> None:
        with pytest.raises(BodyTooLarge) as caught:
            await request.body.read(10)
        assert caught.value.limit == 10
        raise caught.value

    await stage.serve(handler)
    for framing in (
        b"Content-Length: 11\r\n\r\n" + b"a" * 11,
        b"Transfer-Encoding: chunked\r\n\r\nb\r\n" + b"a" * 11 + b"\r\n0\r\n\r\n",
    ):
        status, _, body = await stage.ask(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing)
        assert status == 413
        assert b"10 bytes" in body


async def test_upload_is_held_back_while_the_handler_is_busy(stage: Stage) -> None:
    go = asyncio.Event()
    seen = 0

    async def handler(request: Request, responder: Responder) -> None:
        nonlocal seen
        await go.wait()
        async for chunk in request.body:
            seen += len(chunk)
        await responder.send(200, [], str(seen).encode())

    await stage.serve(handler)
    size = 64_000_000
    loop = asyncio.get_running_loop()
    sock = socket.create_connection(("127.0.0.1", stage.port))
    sock.setblocking(False)
    sock.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
    taken = 0
    for _ in range(30):
        await asyncio.sleep(0.01)
        try:
            while taken < size:
                taken += sock.send(bytes(min(100_000, size - taken)))
        except BlockingIOError:
            pass
    # Kernel buffers of both sides, 256 KiB of ours and one read.
    assert taken < 20_000_000
    go.set()
    await loop.sock_sendall(sock, bytes(size - taken))
    async with asyncio.timeout(5):
        assert (await loop.sock_recv(sock, 1000)).endswith(str(size).encode())
    sock.close()


async def test_answer_before_the_whole_body_is_delivered_then_closed(stage: Stage) -> None:
    async def handler(request: Request, responder: Responder) -> None:
        await responder.send(500, [], b"x" * 100_000)

    await stage.serve(handler)
    client = await stage.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n" + b"a" * 1_000_000)
    status, headers, body = await client.answer()
    assert (status, headers["connection"], len(body)) == (500, "close", 100_000)
    assert await client.ended()


async def test_unread_but_received_body_keeps_the_connection(stage: Stage) -> None:
    await stage.serve(ok)
    client = await stage.connect()
    for _ in range(3):
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        assert (await client.answer())[0] == 200


async def test_broken_chunks_in_the_middle_reach_the_reader(stage: Stage) -> None:
    await stage.serve(echo)
    client = await stage.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await asyncio.sleep(0.02)
    client.send(b"zz\r\n")
    assert (await client.answer())[0] == 400
    assert await client.ended()


# -- what handlers do wrong


async def test_header_injection_is_not_sent(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    bad = [
        ("X", "a\r\nSet-Cookie: b"),
        ("X", "a\nb"),
        ("X\r\nY", "a"),
        ("X Y", "a"),
        ("X", "a\x00"),
        ("X", "a\rb"),
        ("", "a"),
        ("X", "€"),
    ]
    failures: list[type[Exception]] = []

    async def handler(request: Request, responder: Responder) -> None:
        try:
            await responder.send(200, [bad[int(request.path[1:])]], b"")
        except InvalidHeader as error:
            failures.append(type(error))
            raise

    await stage.serve(handler)
    caplog.set_level(logging.CRITICAL)
    for i in range(len(bad)):
        status, headers, _ = await stage.ask(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % i)
        assert (status, headers["connection"], "x" in headers, "set-cookie" in headers) == (
            500,
            "close",
            False,
            False,
        )
    assert len(failures) == len(bad)


@pytest.mark.parametrize("fault", ["raises", "returns without an answer", "short", "long", "unfinished"])
async def test_faulty_handlers_never_look_like_success(
    stage: Stage, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: Request, responder: Responder) -> None:
        if fault == "raises":
            raise ZeroDivisionError("secret detail")
        if fault in ("short", "long"):
            await responder.start(200, [], length=5)
            await responder.write(b"abc" if fault == "short" else b"abcdef")
            await responder.end()
        if fault == "unfinished":
            await responder.start(200, [])
            await responder.write(b"abc")

    await stage.serve(handler)
    caplog.set_level(logging.CRITICAL)
    client = await stage.connect()
    client.send(GET)
    answer = await client.rest()
    assert b"secret" not in answer
    if fault in ("raises", "returns without an answer"):
        assert answer.startswith(b"HTTP/1.1 500 ")
    else:
        assert not answer.endswith(b"0\r\n\r\n")
        assert answer.count(b"abcde") == 0


async def test_abort_delivers_what_was_written_and_no_end(stage: Stage) -> None:
    async def handler(request: Request, responder: Responder) -> None:
        await responder.start(200, [])
        responder.write_nowait(b"a" * 200_000)
        responder.write_nowait(b"__exception__")
        responder.abort()

    await stage.serve(handler)
    client = await stage.connect()
    client.send(GET)
    answer = await client.rest()
    assert answer.endswith(b"__exception__\r\n")
    assert answer.count(b"a") > 200_000 - 10


async def test_early_header_lines_are_sent_before_the_head_ends(stage: Stage) -> None:
    go = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        responder.begin(200, [("X-Progress", "1")])
        responder.add_early([("X-Progress", "2")])
        await go.wait()
        await responder.send(200, [("X-Summary", "done")], b"rows")

    await stage.serve(handler)
    client = await stage.connect()
    client.send(GET)
    assert await client.until(b"2\r\n") == b"HTTP/1.1 200 OK\r\nX-Progress: 1\r\nX-Progress: 2\r\n"
    go.set()
    rest = await client.until(b"rows")
    assert rest.startswith(b"X-Summary: done\r\n")
    assert b"Content-Length: 4\r\n" in rest


# -- clients that leave, stall or hold


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_leaving_is_noticed_while_nothing_is_written(stage: Stage, how: str) -> None:
    started = asyncio.Event()
    gone: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def handler(request: Request, responder: Responder) -> None:
        responder.on_disconnect(lambda: gone.set_result(time.monotonic()))
        started.set()
        await responder.wait_disconnected()
        assert responder.disconnected
        with pytest.raises(ClientGone):
            await responder.send(200, [], b"")

    server = await stage.serve(handler)
    client = await stage.connect()
    client.send(GET)
    await started.wait()
    left = time.monotonic()
    if how == "reset":
        client.writer.transport.abort()
    else:
        client.close()
    async with asyncio.timeout(5):
        assert await gone - left < 1.0
    await eventually(lambda: not server.connections and not server.running)


async def test_half_closed_client_gets_its_answers(stage: Stage) -> None:
    await stage.serve(echo)
    client = await stage.connect()
    client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
    client.writer.write_eof()
    assert (await client.answer())[2] == b"GET /1 0 "
    assert (await client.answer())[2] == b"GET /2 0 "
    assert await client.ended()


async def test_leaving_in_the_middle_of_a_body(stage: Stage) -> None:
    failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def handler(request: Request, responder: Responder) -> None:
        try:
            await request.body.read(1000)
        except ClientGone as error:
            failure.set_result(error)
            raise

    await stage.serve(handler)
    client = await stage.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
    client.close()
    async with asyncio.timeout(2):
        assert isinstance(await failure, ClientGone)


async def test_slow_heads_are_cut(stage: Stage) -> None:
    await stage.serve(ok, header_timeout_s=0.2)
    client, silent = await stage.connect(), await stage.connect()
    began = time.monotonic()
    client.send(b"GET / HTTP/1.1\r\n")
    for i in range(8):
        await asyncio.sleep(0.05)
        client.send(b"X%d: a\r\n" % i)
    assert (await client.answer())[0] == 408
    assert await silent.ended()
    assert time.monotonic() - began < 2


async def test_idle_connections_are_closed(stage: Stage) -> None:
    await stage.serve(ok, idle_timeout_s=0.1)
    client = await stage.connect()
    client.send(GET)
    assert (await client.answer())[0] == 200
    assert await client.ended()


async def test_stalled_bodies_are_cut(stage: Stage) -> None:
    await stage.serve(echo, body_idle_timeout_s=0.1)
    client = await stage.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na")
    assert (await client.answer())[0] == 408
    assert await client.ended()


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(100_000)


async def test_a_client_that_never_reads_costs_little_and_is_cut(stage: Stage) -> None:
    written = 0
    ended: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def handler(request: Request, responder: Responder) -> None:
        nonlocal written
        await responder.start(200, [])
        try:
            async for chunk in endless():
                await responder.write(chunk)
                written += len(chunk)
        except ClientGone as error:
            ended.set_result(error)

    server = await stage.serve(handler, write_idle_timeout_s=0.3)
    sock = socket.create_connection(("127.0.0.1", stage.port))
    sock.sendall(GET)
    async with asyncio.timeout(5):
        await ended
    # What the kernel took for both sockets plus our 256 KiB.
    assert written < 20_000_000
    assert server.connections == 0
    sock.close()


async def test_a_small_unread_answer_does_not_hold_the_connection(stage: Stage) -> None:
    async def handler(request: Request, responder: Responder) -> None:
        await responder.send(200, [], bytes(8_000_000))

    server = await stage.serve(handler, write_idle_timeout_s=0.2, idle_timeout_s=0.2)
    sock = socket.create_connection(("127.0.0.1", stage.port))
    sock.sendall(GET)
    await eventually(lambda: server.connections)
    await eventually(lambda: not server.connections)
    sock.close()


async def test_a_slow_reader_is_served_to_the_end(stage: Stage) -> None:
    async def handler(request: Request, responder: Responder) -> None:
        await responder.start(200, [], length=20_000_000)
        for _ in range(200):
            await responder.write(bytes(100_000))
        await responder.end()

    await stage.serve(handler, write_idle_timeout_s=0.3)
    client = await stage.connect()
    client.send(GET)
    await client.until(b"\r\n\r\n")
    left = 20_000_000
    for _ in range(10):
        left -= len(await client.reader.readexactly(500_000))
        await asyncio.sleep(0.1)
    await client.reader.readexactly(left)


async def test_connection_limit(stage: Stage) -> None:
    server = await stage.serve(ok, max_connections=3)
    kept = [await stage.connect() for _ in range(3)]
    for client in kept:
        client.send(GET)
        assert (await client.answer())[0] == 200
    over = await stage.connect()
    assert (await over.answer())[0] == 503
    assert await over.ended()
    kept[0].close()
    await eventually(lambda: server.connections <= 2)
    assert (await stage.ask(GET))[0] == 200


async def test_a_thousand_idle_connections_cost_little(stage: Stage) -> None:
    server = await stage.serve(ok)
    sockets: list[socket.socket] = []
    before = resident_bytes()
    for _ in range(1000):
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", stage.port))
        sockets.append(sock)
    await eventually(lambda: server.connections == 1000)
    assert resident_bytes() - before < 16_000_000
    busy = time.process_time()
    await asyncio.sleep(0.5)
    assert time.process_time() - busy < 0.05
    assert (await stage.ask(GET))[0] == 200
    for sock in sockets:
        sock.close()


# -- start and end


async def test_drain_finishes_running_and_closes_idle(stage: Stage) -> None:
    release = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        if request.path == "/slow":
            await release.wait()
        await ok(request, responder)

    server = await stage.serve(handler)
    idle, busy = await stage.connect(), await stage.connect()
    idle.send(GET)
    await idle.answer()
    busy.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    await asyncio.sleep(0.05)
    assert await server.drain(0.05) is False
    assert await idle.ended()
    with pytest.raises(OSError):
        await stage.connect()
    release.set()
    status, headers, _ = await busy.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert await server.drain(2.0) is True


async def test_close_ends_handlers_that_do_not_end(stage: Stage) -> None:
    ended = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    server = await stage.serve(handler)
    client = await stage.connect()
    client.send(GET)
    await asyncio.sleep(0.05)
    await server.close()
    assert ended.is_set()
    assert await client.ended()


async def test_unix_socket(tmp_path: object) -> None:
    path = f"{tmp_path}/s"
    server = HttpServer(echo, ServerLimits(), "unix")
    await server.start(unix_path=path)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(GET)
    assert (await reader.readuntil(b"GET / 0 ")).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()
    await server.close()


async def test_variables_of_one_exchange_do_not_reach_the_next(stage: Stage) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    async def handler(request: Request, responder: Responder) -> None:
        seen = variable.get()
        variable.set("set")
        await responder.send(200, [], seen.encode())

    await stage.serve(handler)
    client = await stage.connect()
    client.send(GET * 3)
    for _ in range(3):
        assert (await client.answer())[2] == b"unset"
