"""Long answers, broken answers, and clients that leave."""

from __future__ import annotations

import asyncio
import resource
import uuid

from gateway.edge.contract import Outcome
from gateway.wire.http.client import UpstreamPool
from tests.wire.clickhouse.conftest import Rig, StartRig, engine_backend, eventually
from tests.wire.clickhouse.edge_double import DoubleBackend
from tests.wire.clickhouse.test_ids import SLOW, _is, running


async def test_rows_come_as_they_are_made(rig: Rig) -> None:
    reader, writer = await _open(
        rig, "SELECT sleepEachRow(0.2), number FROM numbers(5) SETTINGS max_block_size = 1"
    )
    first = await asyncio.wait_for(reader.readuntil(b"0\t0\n"), 2)
    assert b"0\t4\n" not in first
    rest = await asyncio.wait_for(reader.read(), 5)
    assert rest.endswith(b"0\r\n\r\n")
    writer.close()


async def test_progress_comes_before_the_head_is_complete(rig: Rig) -> None:
    params = "send_progress_in_http_headers=1&http_headers_progress_interval_ms=50&wait_end_of_query=1"
    reader, writer = await _open(
        rig, "SELECT sleepEachRow(0.2) FROM numbers(5) SETTINGS max_block_size = 1", params
    )
    started = asyncio.get_running_loop().time()
    early = await asyncio.wait_for(reader.readuntil(b"X-ClickHouse-Progress: "), 2)
    at = asyncio.get_running_loop().time() - started
    assert early.startswith(b"HTTP/1.1 200 OK\r\n")
    assert at < 0.7
    rest = await asyncio.wait_for(reader.read(), 5)
    head = (early + rest).split(b"\r\n\r\n")[0].decode()
    names = [line.split(":")[0] for line in head.split("\r\n")[1:]]
    assert names.count("X-ClickHouse-Progress") >= 3
    assert names.count("X-ClickHouse-Summary") == 1
    assert names.count("X-ClickHouse-Query-Id") == 1
    assert rig.edge.queries[-1].totals["rows"] == 5
    writer.close()


async def test_an_error_in_mid_stream_cuts_as_direct(rig: Rig) -> None:
    sql = "SELECT number, throwIf(number = 300000, 'late trouble') FROM numbers(500000) SETTINGS max_block_size = 1000"
    ours, theirs = await rig.ask(sql), await rig.direct(sql)
    assert (ours.status, ours.complete) == (theirs.status, theirs.complete) == (200, False)
    tag = ours.header("X-ClickHouse-Exception-Tag")
    assert tag is not None
    assert ours.body.rstrip().endswith(f"{tag}\r\n__exception__".encode())
    assert b"late trouble" in ours.body[-600:]
    query = rig.edge.queries[-1]
    assert (query.outcome, query.error_code) == (Outcome.FAILED, "395")
    assert query.error_text is not None
    assert "late trouble" in query.error_text


async def test_a_client_that_leaves_ends_the_query(rig: Rig) -> None:
    for sql, params in (
        (SLOW, ""),  # in the middle of the answer
        ("SELECT count() FROM numbers(100000000000) WHERE sipHash64(number) = 1", ""),  # before its head
        ("SELECT sleepEachRow(0.1) FROM numbers(600) SETTINGS max_block_size = 1", "wait_end_of_query=1"),
    ):
        mine = "gone-" + uuid.uuid4().hex
        reader, writer = await _open(rig, sql, f"query_id={mine}&{params}".rstrip("&"))
        assert await eventually(lambda mine=mine: _is(running(rig, mine)))
        writer.close()
        left = asyncio.get_running_loop().time()
        assert await eventually(lambda mine=mine: _is(running(rig, mine), False))
        assert asyncio.get_running_loop().time() - left < 2.0
        query = next(q for q in rig.edge.queries if q.engine_id is not None and mine in q.engine_id)
        assert await eventually(lambda query=query: _equals(query.outcome, Outcome.DISCONNECTED))
        assert reader is not None
    assert rig.edge.slots_out == 0


async def test_the_edge_cancels(rig: Rig) -> None:
    for sql in ("SELECT count() FROM numbers(100000000000) WHERE sipHash64(number) = 1", SLOW):
        task = asyncio.ensure_future(rig.ask(sql))  # noqa: TID251 - awaited below
        assert await eventually(lambda: _is(running_now(rig)))
        query = rig.edge.queries[-1]
        assert query.cancel is not None
        query.cancel()
        answer = await task
        assert b"QUERY_WAS_CANCELLED" in answer.body
        assert query.outcome is Outcome.CANCELLED
        if answer.status != 200:
            assert answer.header("X-ClickHouse-Exception-Code") == "394"


async def running_now(rig: Rig) -> list[str]:
    query = rig.edge.queries[-1] if rig.edge.queries else None
    return [] if query is None or query.engine_id is None else await running(rig, query.engine_id)


async def test_what_runs_ends_with_the_gateway(rig: Rig) -> None:
    for sql in (SLOW, "SELECT count() FROM numbers(100000000000) WHERE sipHash64(number) = 1"):
        mine = "stop-" + uuid.uuid4().hex
        await _open(rig, sql, f"query_id={mine}")
        assert await eventually(lambda mine=mine: _is(running(rig, mine)))
    await rig.server.close()
    await rig.wire.close()
    assert await eventually(lambda: _is(running(rig, "stop-"), False), 2)
    assert {query.outcome for query in rig.edge.queries} <= {Outcome.CANCELLED, Outcome.DISCONNECTED}


async def test_progress_over_http_10(rig: Rig) -> None:
    asked = b"GET /?query=SELECT+1&send_progress_in_http_headers=1&wait_end_of_query=1 HTTP/1.0\r\n\r\n"
    answer = await rig.ask.raw(asked)
    assert (answer.status, answer.body) == (200, b"1\n")


async def test_a_big_answer_in_flat_memory(rig: Rig) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reader, writer = await _open(rig, "SELECT repeat('x', 1000) FROM numbers(100000) FORMAT RowBinary")
    total = 0
    await asyncio.sleep(0.5)  # a slow reader: the wire must not take what is not read
    while piece := await reader.read(1 << 20):
        total += len(piece)
    writer.close()
    assert total > 100_000_000
    assert rig.edge.queries[-1].totals["bytes_out"] == 100_000 * 1002
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


async def test_a_big_insert_in_flat_memory(rig: Rig, table: str) -> None:
    await rig.direct(f"CREATE TABLE {table} (a String) ENGINE = Null")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(
        f"POST /?query=INSERT+INTO+{table}+FORMAT+TSV HTTP/1.1\r\nHost: x\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode()
    )
    piece = (b"y" * 999 + b"\n") * 1000
    for _ in range(100):
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 20)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'"written_rows":"100000"' in answer
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    writer.close()


async def test_an_engine_that_cannot_be_reached_is_passed_over(
    start_rig: StartRig, clickhouse_server: object
) -> None:
    good = engine_backend(clickhouse_server, "good")  # type: ignore[arg-type]
    dead = DoubleBackend("dead", "http://127.0.0.1:1", UpstreamPool("127.0.0.1", 1))
    rig = await start_rig(backends=[dead, good])
    assert (await rig.ask("SELECT 1")).body == b"1\n"
    assert rig.edge.queries[-1].backend == "good"
    good.healthy = False
    answer = await rig.ask("SELECT 1")
    assert (answer.status, answer.header("X-ClickHouse-Exception-Code")) == (500, "279")
    assert rig.edge.queries[-1].outcome is Outcome.REFUSED
    assert rig.edge.slots_out == 0


async def test_an_engine_that_dies_with_the_answer_half_out(start_rig: StartRig) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    for behave, sql, outcome in (
        (half, "SELECT 1", Outcome.UNKNOWN),
        (silent, "SELECT 1", Outcome.FAILED),
        (silent, "CREATE TABLE x (a Int8) ENGINE = Null", Outcome.UNKNOWN),
    ):
        server = await asyncio.start_server(behave, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        rig = await start_rig(backends=[DoubleBackend("b", "", UpstreamPool("127.0.0.1", port))])
        answer = await rig.ask(sql)
        if behave is half:
            assert (answer.body, answer.complete) == (b"abc", False)
        else:
            assert (answer.status, answer.header("X-ClickHouse-Exception-Code")) == (500, "210")
        assert rig.edge.queries[-1].outcome is outcome
        server.close()


async def test_a_client_that_leaves_in_the_middle_of_an_insert(rig: Rig, table: str) -> None:
    await rig.direct(f"CREATE TABLE {table} (a Int32) ENGINE = Memory")
    for statement in ("in the URL", "in the body"):
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        insert = f"INSERT INTO {table} FORMAT TSV"
        target = f"/?query={insert.replace(' ', '+')}" if statement == "in the URL" else "/"
        first = b"1\n" if statement == "in the URL" else insert.encode() + b"\n1\n"
        writer.write(f"POST {target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        piece = first + b"22\n" * 100_000
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
        assert await eventually(lambda: _equals(bool(rig.edge.queries), True))
        assert await eventually(lambda: _is(running_now(rig)))
        writer.close()
        query = rig.edge.queries[-1]
        assert await eventually(lambda query=query: _equals(query.outcome, Outcome.DISCONNECTED)), query
        assert await eventually(lambda: _is(running_now(rig), False))
        rig.edge.queries.clear()
    assert (await rig.direct(f"SELECT count() FROM {table}")).body == b"0\n"
    assert rig.edge.slots_out == 0


async def test_an_engine_that_stays_silent_is_given_up_and_told(start_rig: StartRig) -> None:
    rig = await start_rig(query_timeout_s=0.5)
    answer = await rig.ask("SELECT count() FROM numbers(100000000000) WHERE sipHash64(number) = 1")
    assert (answer.status, answer.header("X-ClickHouse-Exception-Code")) == (408, "159")
    assert await eventually(lambda: _is(running_now(rig), False))


async def test_a_refused_log_in_of_our_own_tells_nothing(start_rig: StartRig) -> None:
    rig = await start_rig()
    rig.edge.backends.all()[0].headers = [("X-ClickHouse-User", "gateway"), ("X-ClickHouse-Key", "wrong")]
    answer = await rig.ask("SELECT 1")
    assert (answer.status, answer.header("X-ClickHouse-Exception-Code")) == (500, "210")
    assert answer.header("WWW-Authenticate") is None
    assert b"gateway:" not in answer.body
    assert rig.edge.queries[-1].outcome is Outcome.FAILED


async def test_leaving_and_cancelling_while_waiting_for_a_slot(rig: Rig) -> None:
    rig.edge.gate = asyncio.Event()
    _, writer = await _open(rig, "SELECT 1")
    assert await eventually(lambda: _equals(len(rig.edge.queries), 1))
    writer.close()
    assert await eventually(lambda: _equals(rig.edge.queries[-1].outcome, Outcome.DISCONNECTED))
    assert rig.edge.queries[-1].backend is None
    rig.edge.gate.set()
    assert (await rig.ask("SELECT 1")).body == b"1\n"
    assert rig.edge.slots_out == 0


async def _open(rig: Rig, sql: str, params: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    head = f"POST /?{params} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(sql)}\r\n\r\n"
    writer.write(head.encode() + sql.encode())
    return reader, writer


async def _equals(found: object, wanted: object) -> bool:
    return found == wanted
