"""The upstream pool against scripted engines."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest

from gateway.wire.http.client import (
    ConnectFailed,
    PoolFull,
    UpstreamBroken,
    UpstreamPool,
    UpstreamTimeout,
)
from gateway.wire.http.message import BodyTooLarge, InvalidHeader
from tests.wire.http.raw import Stage, head_of

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def always(answer: bytes, *, close: bool = False):  # type: ignore[no-untyped-def]
    """An engine that answers each request without a body by the same bytes."""

    async def script(reader: Reader, writer: Writer) -> None:
        while True:
            await head_of(reader)
            writer.write(answer)
            if close:
                return

    return script


async def get(pool: UpstreamPool, **options: object):  # type: ignore[no-untyped-def]
    return await pool.request("GET", "/", [], head_timeout_s=2.0, **options)  # type: ignore[arg-type]


# -- what is sent


async def test_request_bytes(stage: Stage) -> None:
    seen: list[bytes] = []

    async def script(reader: Reader, writer: Writer) -> None:
        while True:
            head = await head_of(reader)
            body = await reader.readexactly(3) if b"Content-Length: 3" in head else b""
            seen.append(head + body)
            writer.write(OK)

    port = await stage.engine(script)
    pool = stage.pool(port)
    headers = [
        ("X-A", "1"),
        ("X-A", "2"),
        ("Connection", "x"),
        ("Transfer-Encoding", "chunked"),
        ("Content-Length", "9"),
    ]
    response = await pool.request("POST", "/p?q=1", headers, b"abc", head_timeout_s=2.0)
    assert await response.read(10) == b"ok"
    response = await pool.request("GET", "/", [("Host", "other")], head_timeout_s=2.0)
    assert await response.read(10) == b"ok"
    response = await pool.request("POST", "/", [], head_timeout_s=2.0)
    assert await response.read(10) == b"ok"
    host = b"Host: 127.0.0.1:%d\r\n" % port
    assert seen == [
        b"POST /p?q=1 HTTP/1.1\r\nX-A: 1\r\nX-A: 2\r\n" + host + b"Content-Length: 3\r\n\r\nabc",
        b"GET / HTTP/1.1\r\nHost: other\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 0\r\n\r\n",
    ]
    assert pool.open_connections == 1


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "a", "/a#b", "/é", "/\x00", "*x", ""])
async def test_targets_that_could_split_a_request_are_not_sent(stage: Stage, target: str) -> None:
    pool = stage.pool(await stage.engine(always(OK)))
    with pytest.raises(InvalidHeader):
        await pool.request("GET", target, [], head_timeout_s=1.0)
    with pytest.raises(InvalidHeader):
        await pool.request("GET /x HTTP/1.1\r\n", "/", [], head_timeout_s=1.0)
    with pytest.raises(InvalidHeader):
        await pool.request("GET", "/", [("X", "a\r\nY: b")], head_timeout_s=1.0)
    assert pool.open_connections == 0


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize("length", [None, 5])
async def test_streamed_request_body(stage: Stage, length: int | None) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        head = await head_of(reader)
        if length is None:
            assert b"Transfer-Encoding: chunked\r\n" in head
            body = await reader.readuntil(b"0\r\n\r\n")
        else:
            assert b"Content-Length: 5\r\n" in head
            body = await reader.readexactly(5)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    pool = stage.pool(await stage.engine(script))
    body = pieces(b"ab", b"", b"cde")
    response = await pool.request("POST", "/", [], body, head_timeout_s=2.0, body_length=length)
    assert await response.read(100) == (b"abcde" if length else b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")


async def test_failing_request_body_cuts_the_engine_and_raises_its_own_error(stage: Stage) -> None:
    cut: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def script(reader: Reader, writer: Writer) -> None:
        await head_of(reader)
        try:
            cut.set_result(await reader.read())
        except ConnectionError:
            cut.set_result(b"")

    async def failing() -> AsyncIterator[bytes]:
        yield b"abc"
        await asyncio.sleep(0.02)
        raise ZeroDivisionError

    pool = stage.pool(await stage.engine(script))
    with pytest.raises(ZeroDivisionError):
        await pool.request("POST", "/", [], failing(), head_timeout_s=2.0)
    assert b"0\r\n\r\n" not in await cut
    assert pool.open_connections == 0


@pytest.mark.parametrize("sent", [b"abc", b"abcdefg"])
async def test_request_body_of_another_length_than_announced(stage: Stage, sent: bytes) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await reader.read()

    pool = stage.pool(await stage.engine(script))
    with pytest.raises(ValueError, match=r"announced|early"):
        await pool.request("POST", "/", [], pieces(sent), head_timeout_s=2.0, body_length=5)


# -- what comes back

CASES = {
    "length": (OK, b"ok", True),
    "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok", True),
    "extension and trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nX-T: 1\r\n\r\n",
        b"ok",
        True,
    ),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", True),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", b"ok", True),
    "interim": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK, b"ok", True),
    "asks to close": (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
    "1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
    "1.0 kept": (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", b"ok", True),
    "bytes behind": (OK + b"HTTP/1.1 200 OK\r\n", b"ok", False),
    "keep-alive too short": (b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "304 with length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", b"", True),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("drip", [False, True])
async def test_responses(stage: Stage, name: str, drip: bool) -> None:
    answer, body, reusable = CASES[name]
    connections = 0

    async def script(reader: Reader, writer: Writer) -> None:
        nonlocal connections
        connections += 1
        while True:
            await head_of(reader)
            for i in range(0, len(answer), 1 if drip else len(answer)):
                writer.write(answer[i : i + (1 if drip else len(answer))])
                if drip:
                    await asyncio.sleep(0)

    pool = stage.pool(await stage.engine(script))
    for _ in range(2):
        response = await get(pool)
        assert await response.read(100) == body
        assert response.complete
        # Bytes that nobody asked for may need a moment to show.
        await asyncio.sleep(0.01 if not reusable else 0)
    assert connections == (1 if reusable else 2)


async def test_close_delimited(stage: Stage) -> None:
    pool = stage.pool(await stage.engine(always(b"HTTP/1.1 200 OK\r\n\r\nall of it", close=True)))
    response = await get(pool)
    assert (response.length, await response.read(100)) == (None, b"all of it")
    assert pool.open_connections == 0


async def test_head_request_ignores_the_length(stage: Stage) -> None:
    pool = stage.pool(await stage.engine(always(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")))
    for _ in range(2):
        response = await pool.request("HEAD", "/", [], head_timeout_s=2.0)
        assert (await response.read(100), response.length) == (b"", 99)
    assert pool.open_connections == 1


BROKEN = {
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "gzip transfer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "injected line": b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok",
    "bare CR": b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",
    "NUL": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok",
    "folding": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "space before colon": b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nok",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "endless interim": b"HTTP/1.1 100 Continue\r\n\r\n" * 40,
    "HTTP/2": b"HTTP/2 200 OK\r\n\r\n",
    "not HTTP": b"SSH-2.0-x\r\n\r\n",
    "status 99": b"HTTP/1.1 099 X\r\n\r\n",
    "huge head": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1_100_000 + b"\r\n\r\n",
    "huge head, endless": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1_100_000,
    "too many fields": b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 10_001 + b"\r\n",
}


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_responses(stage: Stage, name: str) -> None:
    pool = stage.pool(await stage.engine(always(BROKEN[name])))
    with pytest.raises(UpstreamBroken) as caught:
        await get(pool)
    assert caught.value.sent
    assert pool.open_connections == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n",
    ],
)
async def test_cut_bodies_are_not_ends(stage: Stage, answer: bytes) -> None:
    pool = stage.pool(await stage.engine(always(answer, close=True)))
    response = await get(pool)
    with pytest.raises(UpstreamBroken):
        await response.read(100)
    assert not response.complete


async def test_read_limit(stage: Stage) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(100_000))
            await writer.drain()

    pool = stage.pool(await stage.engine(script))
    response = await get(pool)
    with pytest.raises(BodyTooLarge):
        await response.read(1_000_000)
    assert pool.open_connections == 0


async def test_unread_body_is_held_back(stage: Stage) -> None:
    offered = 0

    async def script(reader: Reader, writer: Writer) -> None:
        nonlocal offered
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
        while offered < 50_000_000:
            writer.write(bytes(100_000))
            offered += 100_000
            await writer.drain()
        await asyncio.sleep(5)

    pool = stage.pool(await stage.engine(script))
    response = await get(pool)
    await asyncio.sleep(0.3)
    assert offered < 20_000_000
    assert len(await response.read(50_000_000)) == 50_000_000


async def test_early_header_lines(stage: Stage) -> None:
    go = asyncio.Event()

    async def script(reader: Reader, writer: Writer) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nX-Progress: 1\r\nX-Pro")
        await go.wait()
        go.clear()
        writer.write(b"gress: 2\r\n")
        await go.wait()
        writer.write(b"Content-Length: 2\r\n\r\nok")

    early: list[tuple[int, list[tuple[str, str]]]] = []

    def note(status: int, fields: list[tuple[str, str]]) -> None:
        early.append((status, fields))
        go.set()

    pool = stage.pool(await stage.engine(script))
    response = await get(pool, on_early_headers=note)
    assert early == [(200, [("X-Progress", "1")]), (200, [("X-Progress", "2")])]
    assert response.headers.get_all("x-progress") == ["1", "2"]
    assert await response.read(10) == b"ok"


# -- time


async def test_silent_engine(stage: Stage) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await reader.read()

    pool = stage.pool(await stage.engine(script), read_idle_timeout_s=0.2)
    began = time.monotonic()
    with pytest.raises(UpstreamTimeout):
        await pool.request("GET", "/", [], head_timeout_s=0.1)
    assert time.monotonic() - began < 1
    assert pool.open_connections == 0


async def test_engine_that_stops_in_its_answer(stage: Stage) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok")
        await reader.read()

    pool = stage.pool(await stage.engine(script), read_idle_timeout_s=0.1)
    response = await get(pool)
    with pytest.raises(UpstreamTimeout):
        await response.read(10)


async def test_engine_that_takes_no_body(stage: Stage) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(5)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(100_000)

    pool = stage.pool(await stage.engine(script), write_idle_timeout_s=0.2)
    with pytest.raises(UpstreamTimeout):
        await pool.request("POST", "/", [], endless(), head_timeout_s=5.0)


async def test_refused_and_unreachable(stage: Stage) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        pool = stage.pool(closed.getsockname()[1])
        with pytest.raises(ConnectFailed) as caught:
            await get(pool)
        assert caught.value.sent is False
    assert pool.open_connections == 0


async def test_cancelled_request_frees_its_connection(stage: Stage) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await reader.read()

    pool = stage.pool(await stage.engine(script))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await pool.request("GET", "/", [], head_timeout_s=5.0)
    assert pool.open_connections == 0


# -- the pool


async def test_full_pool_queues_then_refuses(stage: Stage) -> None:
    release = asyncio.Event()

    async def script(reader: Reader, writer: Writer) -> None:
        while True:
            await head_of(reader)
            await release.wait()
            writer.write(OK)

    async def ask(pool: UpstreamPool) -> bytes:
        return bytes(await (await get(pool)).read(10))

    pool = stage.pool(await stage.engine(script), max_connections=2, max_waiting=3, acquire_timeout_s=0.15)
    asks = [asyncio.ensure_future(ask(pool)) for _ in range(5)]  # noqa: TID251
    await asyncio.sleep(0.05)
    assert (pool.open_connections, pool.waiting) == (2, 3)
    with pytest.raises(PoolFull):
        await ask(pool)
    release.set()
    assert await asyncio.gather(*asks) == [b"ok"] * 5
    assert (pool.open_connections, pool.idle_connections, pool.waiting) == (2, 2, 0)
    release.clear()
    asks = [asyncio.ensure_future(ask(pool)) for _ in range(3)]  # noqa: TID251
    results = await asyncio.gather(asks[2], return_exceptions=True)
    assert isinstance(results[0], PoolFull)
    release.set()
    assert await asyncio.gather(*asks[:2]) == [b"ok"] * 2


async def test_waiters_get_the_slot_of_a_broken_connection(stage: Stage) -> None:
    seen = 0

    async def script(reader: Reader, writer: Writer) -> None:
        nonlocal seen
        seen += 1
        await head_of(reader)
        await asyncio.sleep(0.05)
        if seen > 1:
            writer.write(OK)

    pool = stage.pool(await stage.engine(script), max_connections=1)
    first, second = await asyncio.gather(get(pool), get(pool), return_exceptions=True)
    assert isinstance(first, UpstreamBroken)
    assert await second.read(10) == b"ok"


async def test_idle_connections_are_dropped_in_time(stage: Stage) -> None:
    pool = stage.pool(await stage.engine(always(OK)), idle_keep_alive_s=0.1)
    assert await (await get(pool)).read(10) == b"ok"
    assert pool.open_connections == 1
    await asyncio.sleep(0.25)
    assert pool.open_connections == 0


def closes_second(kind: str):  # type: ignore[no-untyped-def]
    """Answers the first request of each first connection, then closes without a byte when the next comes."""
    state = {"connections": 0, "requests": 0}

    async def script(reader: Reader, writer: Writer) -> None:
        state["connections"] += 1
        first = state["connections"] == 1
        while True:
            await head_of(reader)
            state["requests"] += 1
            if first and state["requests"] == 2:
                if kind == "late":
                    await asyncio.sleep(0.2)
                if kind == "half a byte":
                    writer.write(b"H")
                    await writer.drain()
                return
            writer.write(OK)

    return script, state


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_stale_connection_is_replaced_once_for_idempotent_requests(stage: Stage, method: str) -> None:
    script, state = closes_second("silent")
    pool = stage.pool(await stage.engine(script))
    for _ in range(2):
        response = await pool.request("GET" if not state["requests"] else method, "/", [], head_timeout_s=2.0)
        if method == "HEAD" and state["requests"] > 1:
            assert response.status == 200
            break
        assert await response.read(10) == b"ok"
    assert state == {"connections": 2, "requests": 3}


async def test_what_an_engine_died_of_is_not_sent_to_it_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.wire.http.client.STALE_S", 0.1)
    script, state = closes_second("late")
    pool = stage.pool(await stage.engine(script))
    assert await (await get(pool)).read(10) == b"ok"
    with pytest.raises(UpstreamBroken):
        await get(pool)
    assert state == {"connections": 1, "requests": 2}


async def test_stale_connection_with_a_post_is_not_repeated(stage: Stage) -> None:
    script, state = closes_second("silent")
    pool = stage.pool(await stage.engine(script))
    assert await (await get(pool)).read(10) == b"ok"
    with pytest.raises(UpstreamBroken) as caught:
        await pool.request("POST", "/", [], b"", head_timeout_s=2.0)
    assert caught.value.sent
    assert state == {"connections": 1, "requests": 2}


async def test_post_may_be_declared_idempotent(stage: Stage) -> None:
    script, state = closes_second("silent")
    pool = stage.pool(await stage.engine(script))
    assert await (await get(pool)).read(10) == b"ok"
    response = await pool.request("POST", "/", [], b"", head_timeout_s=2.0, idempotent=True)
    assert await response.read(10) == b"ok"
    assert state == {"connections": 2, "requests": 3}


async def test_partial_answer_is_never_repeated(stage: Stage) -> None:
    script, state = closes_second("half a byte")
    pool = stage.pool(await stage.engine(script))
    assert await (await get(pool)).read(10) == b"ok"
    with pytest.raises(UpstreamBroken):
        await get(pool)
    assert state["requests"] == 2


async def test_connection_closed_while_idle_is_noticed_before_a_post(stage: Stage) -> None:
    """The close is in the kernel but the loop has not run: the POST must not go into it."""
    served = 0
    close_now = asyncio.Event()

    async def script(reader: Reader, writer: Writer) -> None:
        nonlocal served
        await head_of(reader)
        served += 1
        writer.write(OK)
        await writer.drain()
        await close_now.wait()
        writer.transport.abort()

    pool = stage.pool(await stage.engine(script))
    assert await (await get(pool)).read(10) == b"ok"
    close_now.set()
    for _ in range(20):
        await asyncio.sleep(0.005)
        close_now.set()
        response = await pool.request("POST", "/", [], b"x", head_timeout_s=2.0)
        assert await response.read(10) == b"ok"
    assert served == 21


async def test_closed_pool(stage: Stage) -> None:
    pool = stage.pool(await stage.engine(always(OK)))
    response = await get(pool)
    assert await response.read(10) == b"ok"
    await pool.close()
    with pytest.raises(ConnectFailed):
        await get(pool)
    assert pool.open_connections == 0
