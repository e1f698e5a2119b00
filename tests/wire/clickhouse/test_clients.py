"""The public Python client, through the wire, on the real ClickHouse."""

from __future__ import annotations

import asyncio
import datetime
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client as SyncClient
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from clickhouse_connect.driver.external import ExternalData

from gateway.core.decision import Decision, Refusal, RefusalCode
from gateway.core.principal import Principal
from gateway.core.statement import Statement
from tests.wire.clickhouse.conftest import Rig, StartRig

T = TypeVar("T")


async def with_client(rig: Rig, work: Callable[[SyncClient], T], **options: Any) -> T:
    """Run blocking client code in a thread while the wire serves on this loop."""

    def run() -> T:
        client = clickhouse_connect.get_client(
            host="127.0.0.1", port=rig.port, username="anna", password="anna-pw", **options
        )
        try:
            return work(client)
        finally:
            client.close()

    return await asyncio.wait_for(asyncio.to_thread(run), 60)


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
async def test_types_and_compression(rig: Rig, table: str, compress: Any) -> None:
    rows = [
        (
            1,
            "one",
            1.5,
            Decimal("1.25"),
            datetime.date(2026, 2, 28),
            [1, 2],
            {"k": "v"},
            uuid.UUID(int=7),
            None,
        ),
        (2, "zwei ☃", -0.0, Decimal("-9.75"), datetime.date(1970, 1, 1), [], {}, uuid.UUID(int=8), 5),
    ]

    def work(client: SyncClient) -> list[Any]:
        client.command(
            f"CREATE TABLE {table} (a Int32, b String, c Float64, d Decimal(9, 2), e Date, f Array(Int8), "
            "g Map(String, String), h UUID, i Nullable(Int32)) ENGINE = Memory"
        )
        client.insert(table, rows)
        return list(client.query(f"SELECT * FROM {table} ORDER BY a").result_rows)

    assert await with_client(rig, work, compress=compress) == rows


async def test_parameters_settings_ids_and_streams(rig: Rig) -> None:
    mine = uuid.uuid4().hex

    def work(client: SyncClient) -> None:
        bound = client.query(
            "SELECT {n:Int32} * 2, {s:String}",
            parameters={"n": 21, "s": "it's \\ %"},
            settings={"query_id": mine, "max_block_size": 100},
        )
        assert bound.result_rows == [(42, "it's \\ %")]
        assert bound.query_id == mine
        with client.query_row_block_stream("SELECT number FROM numbers(200000)") as stream:
            assert sum(len(block) for block in stream) == 200_000
        assert client.raw_query("SELECT 1 AS x", fmt="JSONEachRow") == b'{"x":1}\n'
        assert client.command("SELECT version()") == client.server_version

    await with_client(rig, work)
    await with_client(rig, work, form_encode_query_params=True)


async def test_sessions_and_external_data(rig: Rig) -> None:
    def work(client: SyncClient) -> None:
        client.command("CREATE TEMPORARY TABLE tmp (a Int8)")
        client.command("INSERT INTO tmp VALUES (1), (2)")
        assert client.command("SELECT sum(a) FROM tmp") == 3
        extra = ExternalData(
            file_name="ext.csv", data=b"1,a\n2,b\n", fmt="CSV", structure=["id Int8", "name String"]
        )
        found = client.query("SELECT name FROM ext WHERE id = 2", external_data=extra)
        assert found.result_rows == [("b",)]

    await with_client(rig, work)


async def test_errors_are_the_clients_own(start_rig: StartRig) -> None:
    def no_secrets(statement: Statement, principal: Principal) -> Decision:
        if "secret" in statement.text:
            return Refusal(RefusalCode.NOT_FOUND, "Table 'secret' does not exist, or you may not read it")
        return rig.edge.pass_through(statement, principal)

    rig = await start_rig(decide=no_secrets)

    def work(client: SyncClient) -> None:
        with pytest.raises(DatabaseError, match=r"code: 60.*you may not read it"):
            client.query("SELECT * FROM secret")
        with pytest.raises(DatabaseError, match="code: 62"):
            client.query("SELEC 1")
        with pytest.raises(DatabaseError, match="code: 115"):
            client.query("SELECT 1", settings={"dialect": "kusto"})

    await with_client(rig, work)
    with pytest.raises((DatabaseError, OperationalError), match="516"):
        await asyncio.to_thread(
            clickhouse_connect.get_client, host="127.0.0.1", port=rig.port, username="anna", password="no"
        )


async def test_the_async_client(rig: Rig) -> None:
    client = await clickhouse_connect.get_async_client(
        host="127.0.0.1", port=rig.port, username="anna", password="anna-pw", autogenerate_session_id=False
    )
    try:
        results = await asyncio.gather(*(client.query(f"SELECT {n}") for n in range(40)))
        assert [r.result_rows[0][0] for r in results] == list(range(40))
    finally:
        await client.close()
