"""The demo's market: the same at every run, believable, and loadable everywhere."""

from __future__ import annotations

import io
import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gateway.demo.data import (
    COLUMNS,
    END,
    MARKETS,
    arrow_bytes,
    build,
    clickhouse_ddl,
    load_duckdb,
    parquet_bytes,
    trino_statements,
)


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    return build(0.5)


@pytest.fixture(scope="module")
def market(tables: dict[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for name, table in tables.items():
        connection.register(name, table)
    return connection


def one(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    found = connection.execute(query).fetchone()
    assert found is not None
    return found


def test_the_same_every_time(tables: dict[str, pa.Table]) -> None:
    again = build(0.5)
    assert {name: table.equals(again[name]) for name, table in tables.items()} == dict.fromkeys(tables, True)


def test_columns_are_as_declared(tables: dict[str, pa.Table]) -> None:
    for name, columns in COLUMNS.items():
        assert tables[name].column_names == [column for column, _, _ in columns]


def test_scale_multiplies_the_days() -> None:
    small, large = build(1 / 14), build(3 / 14)
    assert large["lmp_5min"].num_rows == 3 * small["lmp_5min"].num_rows == 3 * 288 * small["nodes"].num_rows
    with pytest.raises(ValueError, match="scale"):
        build(0)


def test_prices_add_up_to_the_cent(market: duckdb.DuckDBPyConnection) -> None:
    wrong, unknown, total = one(
        market,
        "select count(*) filter (abs(lmp - energy - congestion - loss) > 0.02), count(*) filter (congestion is null), "
        "count(*) from lmp_5min",
    )
    assert wrong == 0
    assert 0.001 < unknown / total < 0.003


def test_the_evening_is_dearer_than_noon_where_the_sun_shines(market: duckdb.DuckDBPyConnection) -> None:
    evening, noon = one(
        market,
        "select median(lmp) filter (h between 18 and 19), median(lmp) filter (h between 12 and 13) from (select lmp, "
        "hour(timezone('America/Los_Angeles', timezone('UTC', interval_start))) h from lmp_5min where iso = 'CAISO')",
    )
    assert evening > 3 * noon


def test_there_are_spikes_but_few(market: duckdb.DuckDBPyConnection) -> None:
    highest, share = one(market, "select max(lmp), avg((lmp > 200)::int) from lmp_5min")
    assert highest > Decimal(200)
    assert 0 < share < 0.05


def test_every_interval_once_although_clocks_change(market: duckdb.DuckDBPyConnection) -> None:
    intervals, first, last = one(
        market,
        "select count(distinct interval_start), min(interval_start), max(interval_start) "
        "from lmp_5min where node_id = (select min(node_id) from nodes)",
    )
    assert intervals == 7 * 288
    assert (first, last) == (datetime(2026, 3, 8), datetime(2026, 3, 14, 23, 55))
    local_days = market.execute(
        "select timezone('America/New_York', timezone('UTC', interval_start))::date d, count(*) from lmp_5min "
        "where node_id = (select min(node_id) from nodes) group by 1 order by 1"
    ).fetchall()
    assert dict(local_days)[datetime(2026, 3, 8).date()] == 288 - 12, "the day of the change has 23 hours"


def test_hubs_are_real_and_nodes_belong_to_them(market: duckdb.DuckDBPyConnection) -> None:
    hubs = {hub for (hub,) in market.execute("select distinct hub from nodes").fetchall()}
    assert {"TH_NP15_GEN-APND", "WESTERN HUB", "HB_NORTH", "HB_HOUSTON"} <= hubs
    assert one(market, "select count(*) from lmp_5min l anti join nodes n using (node_id, hub, iso)") == (0,)
    assert one(market, "select count(distinct iso) from trades") == (len(MARKETS),)


def test_trades_hold_personal_data(market: duckdb.DuckDBPyConnection) -> None:
    email, phone, missing = one(
        market, "select min(trader_email), min(phone), count(*) filter (phone is null) from trades"
    )
    assert email.endswith("@example.com")
    assert phone.startswith("+1-555-")
    assert missing > 0


def test_loading_twice_keeps_what_is_there() -> None:
    connection = duckdb.connect()
    loaded = load_duckdb(connection, scale=1 / 14)
    assert loaded == sum(one(connection, f"select count(*) from market.{name}")[0] for name in COLUMNS)
    connection.execute("delete from market.trades")
    assert load_duckdb(connection, scale=1 / 14) == 0
    assert one(connection, "select count(*) from market.trades") == (0,)
    assert load_duckdb(connection, scale=1 / 14, replace=True) == loaded


def test_bytes_for_other_engines(tables: dict[str, pa.Table]) -> None:
    for name, table in tables.items():
        assert pa.ipc.open_stream(arrow_bytes(table)).read_all().equals(table), name
    nodes = pq.read_table(io.BytesIO(parquet_bytes(tables["nodes"])))
    assert nodes.to_pylist() == tables["nodes"].to_pylist()
    assert "ENGINE = MergeTree ORDER BY (iso, node_id, interval_start)" in clickhouse_ddl("lmp_5min")


def test_statements_for_trino_carry_every_row(tables: dict[str, pa.Table]) -> None:
    small = {name: table.slice(0, 3000) for name, table in tables.items()}
    statements = list(trino_statements("lake", tables=small, timestamp_precision=6, max_statement=100_000))
    assert max(map(len, statements)) <= 100_000
    assert statements[0] == "CREATE SCHEMA IF NOT EXISTS lake.market"
    assert "interval_start timestamp(6)" in next(
        one for one in statements if "TABLE IF NOT EXISTS lake.market.lmp" in one
    )
    rows = 0
    for statement in statements:
        if statement.startswith("INSERT INTO lake.market.lmp_5min"):
            body = statement.partition("json_parse('")[2].partition("') AS array")[0].replace("''", "'")
            rows += len(json.loads(body))
    assert rows == 3000
    assert END.year == 2026
