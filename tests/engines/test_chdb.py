"""The chdb child: results, formats, errors, sessions, KILL, inserts; and that it is kept and ended properly."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from gateway.core.decision import EngineKind
from gateway.engines.clickhouse import ClickHouseClient
from gateway.engines.embedded import EmbeddedEngine
from gateway.wire.http.client import UpstreamBroken, UpstreamPool, UpstreamResponse


class Child:
    """The running child and a pool to it."""

    def __init__(self, engine: EmbeddedEngine) -> None:
        self.engine = engine
        self.pool = UpstreamPool("localhost", 80, unix_path=str(engine.socket))
        self.client = ClickHouseClient(self.pool, list)

    async def ask(self, sql: str | bytes, method: str = "POST", **params: str) -> UpstreamResponse:
        body = sql.encode() if isinstance(sql, str) else sql
        if method == "GET":
            params, body = {**params, "query": body.decode()}, b""
        return await self.pool.request(method, "/?" + urlencode(params), [], body or None, head_timeout_s=20)

    async def text(self, sql: str | bytes, **params: str) -> str:
        reply = await self.ask(sql, **params)
        return (await reply.read(1 << 26)).decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def child(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Child]:
    engine = EmbeddedEngine(EngineKind.CHDB, tmp_path_factory.mktemp("chdb") / "e.sock")
    await engine.start()
    running = Child(engine)
    yield running
    await running.pool.close()
    await engine.stop()


pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("chdb")]


async def test_health_and_rows(child: Child) -> None:
    assert (await child.client.health()).up
    rows = await child.client.rows("SELECT number, toString(number) FROM numbers(3)", timeout_s=10)
    assert rows == [(0, "0"), (1, "1"), (2, "2")]


@pytest.mark.parametrize(
    "output", ["TabSeparated", "JSON", "Native", "RowBinary", "CSVWithNames", "Pretty", "JSONEachRow"]
)
async def test_a_format_comes_whole_from_the_clause_and_from_the_parameter(child: Child, output: str) -> None:
    sql = "SELECT number AS n, 'x' AS s FROM numbers(200000)"
    by_clause = await (await child.ask(f"{sql} FORMAT {output}")).read(1 << 26)
    reply = await child.ask(sql, default_format=output)
    by_parameter = await reply.read(1 << 26)
    assert reply.headers.get("X-ClickHouse-Format") == output
    if output == "JSON":  # its statistics hold times
        by_clause, by_parameter = (part.split(b'"statistics"')[0] for part in (by_clause, by_parameter))
    assert by_clause == by_parameter
    assert len(by_clause) > 1_000


async def test_an_error_has_its_code_and_status(child: Child) -> None:
    reply = await child.ask("SELECT * FROM nope")
    assert (reply.status, reply.headers.get("X-ClickHouse-Exception-Code")) == (404, "60")
    assert (await reply.read(10_000)).startswith(b"Code: 60. DB::Exception: ")


async def test_an_error_behind_the_first_rows_is_tagged_and_cut(child: Child) -> None:
    reply = await child.ask("SELECT throwIf(number = 2000000) FROM numbers(3000000)")
    seen = bytearray()

    async def read_all() -> None:
        async for piece in reply:
            seen.extend(piece)

    with pytest.raises(UpstreamBroken):
        await read_all()
    tag = reply.headers.get("X-ClickHouse-Exception-Tag")
    assert tag is not None
    assert b"__exception__\r\n" + tag.encode() in seen


async def test_settings_database_and_parameters_hold_for_one_request(child: Child) -> None:
    assert await child.text("SELECT getSetting('max_threads')", max_threads="7") == "7\n"
    assert await child.text("SELECT getSetting('max_threads') = 7") == "0\n"
    await child.text("CREATE DATABASE IF NOT EXISTS here")
    assert await child.text("SELECT currentDatabase()", database="here") == "here\n"
    assert await child.text("SELECT currentDatabase()") == "default\n"
    assert await child.text("SELECT {x:String} || '!'", param_x="it's\\n") == "it\\'s\\n!\n"


async def test_get_is_readonly(child: Child) -> None:
    reply = await child.ask("CREATE TABLE g (a Int8) ENGINE = Memory", method="GET")
    assert reply.headers.get("X-ClickHouse-Exception-Code") == "164"
    await reply.read(10_000)


async def test_sessions_keep_temporary_tables_and_nobody_else_sees_them(child: Child) -> None:
    await child.text("CREATE TEMPORARY TABLE mine (a Int8)", session_id="s1")
    await child.text("INSERT INTO mine VALUES (42)", session_id="s1")
    assert await child.text("SELECT a FROM mine", session_id="s1", session_check="1") == "42\n"
    assert "UNKNOWN_TABLE" in await child.text("SELECT a FROM mine", session_id="s2")
    assert "UNKNOWN_TABLE" in await child.text("SELECT a FROM mine")
    assert "SESSION_NOT_FOUND" in await child.text("SELECT 1", session_id="never", session_check="1")


async def test_a_busy_session_is_locked(child: Child) -> None:
    slow = asyncio.get_running_loop().create_task(child.text("SELECT sleep(1)", session_id="busy"))
    await asyncio.sleep(0.3)
    assert "SESSION_IS_LOCKED" in await child.text("SELECT 1", session_id="busy")
    assert await slow == "0\n"


async def test_inserts_of_text_and_of_bytes(child: Child) -> None:
    await child.text("CREATE TABLE ins (a Int64, s String) ENGINE = MergeTree ORDER BY a")
    await child.text('INSERT INTO ins FORMAT CSV\n1,"a"\n2,"b"\n')
    row = b"\x03" + b"\x00" * 7 + b"\x02\xff\x00"
    assert await child.text(b"INSERT INTO ins FORMAT RowBinary\n" + row) == ""
    assert await child.text(row.replace(b"\x03", b"\x04", 1), query="INSERT INTO ins FORMAT RowBinary") == ""
    assert await child.text("SELECT count(), sum(a), max(hex(s)) FROM ins") == "4\t10\tFF00\n"


async def test_kill_by_the_clients_own_id(child: Child) -> None:
    slow = asyncio.get_running_loop().create_task(
        child.text("SELECT sum(cityHash64(number)) FROM numbers(100000000000)", query_id="my-own-id")
    )
    await asyncio.sleep(0.5)
    await child.text("KILL QUERY WHERE query_id = 'my-own-id' ASYNC")
    async with asyncio.timeout(10):
        assert "QUERY_WAS_CANCELLED" in await slow


async def test_a_client_that_leaves_ends_its_query(child: Child) -> None:
    reply = await child.ask("SELECT number, sleepEachRow(0.001) FROM numbers(10000000)", max_block_size="100")
    reply.abort()
    for _ in range(50):
        if (
            await child.text(
                "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow(0.001)%10000000%'"
            )
            == "1\n"
        ):
            return  # only this look-up itself
        await asyncio.sleep(0.1)
    pytest.fail("the query still runs")


async def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    engine = EmbeddedEngine(EngineKind.CHDB, tmp_path / "e.sock")
    await engine.start()
    try:
        assert engine._process is not None
        os.kill(engine._process.pid, signal.SIGKILL)
        await asyncio.sleep(1.5)
        client = ClickHouseClient(UpstreamPool("localhost", 80, unix_path=str(engine.socket)), list)
        for _ in range(50):
            if (await client.health()).up:
                break
            await asyncio.sleep(0.1)
        assert (await client.health()).up
    finally:
        await engine.stop()
    assert not engine.socket.exists()
