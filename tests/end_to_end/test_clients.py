"""The public Python clients through the gateway, on the real engines."""

from __future__ import annotations

import re

import clickhouse_connect
import pytest
import trino

from tests.end_to_end.gateway_server import GatewayServer
from tests.real.addresses import ClickHouseAddress, TrinoAddress

STATEMENTS = [
    "SELECT * FROM tpch.tiny.nation ORDER BY nationkey",
    "SELECT DECIMAL '1.10', DATE '2026-02-28', TIMESTAMP '2026-03-29 01:30:00.123456'",
    "SELECT ARRAY[1, NULL], MAP(ARRAY['a'], ARRAY[1.5e0])",
    "SELECT ROW(1, 'x'), UUID '12151fd2-7586-11e9-8f9e-2a86e4085a59', X'00ff', INTERVAL '3' DAY, TIME '01:02:03.456'",
    "SELECT TIMESTAMP '2026-11-01 01:30:00 America/New_York', current_user",
    "SHOW SCHEMAS FROM tpch",
    "DESCRIBE tpch.tiny.orders",
    "EXPLAIN SELECT 1",
    "WITH t AS (SELECT nationkey k FROM tpch.tiny.nation) SELECT count(*), sum(k) FROM t",
]


@pytest.mark.parametrize("sql", STATEMENTS)
def test_trino_rows_names_and_types_are_those_of_the_engine(
    gateway: GatewayServer, trino_server: TrinoAddress, sql: str
) -> None:
    seen = []
    for port in (trino_server.port, gateway.trino_port):
        connection = trino.dbapi.connect(
            host="127.0.0.1", port=port, user="anna", legacy_primitive_types=True
        )
        cursor = connection.cursor()
        cursor.execute(sql)
        seen.append((cursor.fetchall(), cursor.description))
    assert seen[0] == seen[1]


def test_trino_pages_and_cancel(gateway: GatewayServer) -> None:
    connection = trino.dbapi.connect(host="127.0.0.1", port=gateway.trino_port, user="anna")
    cursor = connection.cursor()
    cursor.execute("SELECT orderkey FROM tpch.tiny.lineitem")
    assert len(cursor.fetchall()) == 60_175
    cursor.execute("SELECT * FROM tpch.sf100.lineitem")
    assert cursor.fetchone() is not None
    cursor.cancel()


def test_clickhouse_connect(gateway: GatewayServer, clickhouse_server: ClickHouseAddress) -> None:
    client = clickhouse_connect.get_client(host="127.0.0.1", port=gateway.clickhouse_port, username="anna")
    result = client.query("SELECT number, toString(number), now64(3) FROM numbers(1000)")
    assert [row[0] for row in result.result_rows] == list(range(1000))
    client.command("CREATE TABLE IF NOT EXISTS e2e_insert (a UInt32, b String) ENGINE = Memory")
    client.insert("e2e_insert", [[1, "x"], [2, "y"]], column_names=["a", "b"])
    assert client.query("SELECT sum(a) FROM e2e_insert").result_rows == [(3,)]
    client.command("DROP TABLE e2e_insert")


def test_metrics_and_audit_tell_of_it(gateway: GatewayServer) -> None:
    trino.dbapi.connect(host="127.0.0.1", port=gateway.trino_port, user="anna").cursor().execute("SELECT 1")
    text = gateway.metrics()
    assert 'gateway_backend_up{backend="trino-a"} 1' in text
    assert re.search(r'gateway_queries_total\{wire="trino",kind="query",outcome="succeeded"\} [1-9]', text)
    assert "anna" not in text, "no label holds a principal"
