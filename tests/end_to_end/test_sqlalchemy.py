"""SQLAlchemy as Superset uses it: inspectors, text queries, pandas; both dialects, through as direct."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pandas
import pytest
import sqlalchemy
from sqlalchemy import Engine, column, func, inspect, select, table, text
from sqlalchemy.engine import make_url

from tests.end_to_end.gateway_server import GatewayServer
from tests.real.addresses import ClickHouseAddress, TrinoAddress

pytestmark = pytest.mark.xdist_group("sqlalchemy")

Both = tuple[Engine, Engine]


def same(engines: Both, work: Callable[[Engine], Any]) -> Any:
    """What `work` gives; fails where the gateway's differs."""
    direct, through = (work(engine) for engine in engines)
    assert through == direct
    return through


def rows_of(sql: str, **parameters: Any) -> Callable[[Engine], list[Any]]:
    def work(engine: Engine) -> list[Any]:
        with engine.connect() as connection:
            result = connection.execute(text(sql), parameters)
            return [list(result.keys()), *map(tuple, result)]

    return work


@pytest.fixture(scope="module")
def trino_engines(gateway: GatewayServer, trino_server: TrinoAddress) -> Iterator[Both]:
    """First the real Trino, then the gateway in front of it."""
    engines = [
        sqlalchemy.create_engine(f"trino://anna@127.0.0.1:{port}/tpch/tiny?source=superset")
        for port in (trino_server.port, gateway.trino_port)
    ]
    yield engines[0], engines[1]
    for engine in engines:
        engine.dispose()


@pytest.fixture(scope="module")
def trino_view(trino_server: TrinoAddress) -> Iterator[str]:
    """A schema of the memory catalog with a table and a view."""
    schema = f"superset_{secrets.token_hex(4)}"
    engine = sqlalchemy.create_engine(f"trino://anna@127.0.0.1:{trino_server.port}/memory/default")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
        connection.execute(
            text(f"CREATE TABLE {schema}.hubs (hub VARCHAR COMMENT 'where', lmp DECIMAL(9, 2))")
        )
        connection.execute(
            text(f"CREATE VIEW {schema}.dear AS SELECT * FROM memory.{schema}.hubs WHERE lmp > 50")
        )
        yield schema
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


def columns_of(engine: Engine, name: str, schema: str) -> list[tuple[str, str, Any, Any]]:
    found = inspect(engine).get_columns(name, schema)
    return [(each["name"], repr(each["type"]), each["nullable"], each.get("comment")) for each in found]


def test_trino_inspector(trino_engines: Both) -> None:
    assert "tiny" in same(trino_engines, lambda engine: inspect(engine).get_schema_names())
    assert "nation" in same(trino_engines, lambda engine: inspect(engine).get_table_names("tiny"))
    assert same(trino_engines, lambda engine: inspect(engine).has_table("nation", "tiny"))
    assert not same(trino_engines, lambda engine: inspect(engine).has_table("nothing", "tiny"))
    assert len(same(trino_engines, lambda engine: columns_of(engine, "orders", "tiny"))) == 9
    same(trino_engines, lambda engine: inspect(engine).get_pk_constraint("orders", "tiny"))
    same(trino_engines, lambda engine: inspect(engine).get_foreign_keys("orders", "tiny"))
    same(trino_engines, lambda engine: inspect(engine).get_indexes("orders", "tiny"))
    assert same(trino_engines, lambda engine: inspect(engine).default_schema_name) == "tiny"


def test_trino_views_and_comments(
    gateway: GatewayServer, trino_server: TrinoAddress, trino_view: str
) -> None:
    engines = [
        sqlalchemy.create_engine(f"trino://anna@127.0.0.1:{port}/memory")
        for port in (trino_server.port, gateway.trino_port)
    ]
    both = engines[0], engines[1]
    assert same(both, lambda engine: inspect(engine).get_view_names(trino_view)) == ["dear"]
    assert "lmp > 50" in same(both, lambda engine: inspect(engine).get_view_definition("dear", trino_view))
    columns = same(both, lambda engine: columns_of(engine, "hubs", trino_view))
    assert columns[0][0] == "hub"
    assert columns[0][3] == "where"
    same(both, lambda engine: inspect(engine).get_table_comment("hubs", trino_view))


def test_trino_text_queries_with_parameters(trino_engines: Both) -> None:
    sql = "SELECT name, nationkey FROM nation WHERE regionkey = :region AND name <> :name ORDER BY name"
    assert len(same(trino_engines, rows_of(sql, region=1, name="it's :odd ? ünïcode"))) == 6
    kinds = (
        "SELECT DECIMAL '1.10' AS d, DATE '2026-02-28' AS day, TIMESTAMP '2026-03-29 01:30:00.123', ARRAY[1]"
    )
    same(trino_engines, rows_of(kinds))


def test_trino_core_expressions(trino_engines: Both) -> None:
    orders = table("orders", column("orderstatus"), column("totalprice"))
    statement = (
        select(orders.c.orderstatus, func.count().label("n"))
        .group_by(orders.c.orderstatus)
        .order_by(orders.c.orderstatus)
        .limit(10)
    )

    def work(engine: Engine) -> list[tuple[Any, ...]]:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(statement)]

    assert sum(row[1] for row in same(trino_engines, work)) == 15_000


def test_trino_pandas(trino_engines: Both) -> None:
    sql = "SELECT orderkey, totalprice, orderdate, orderpriority FROM orders ORDER BY orderkey LIMIT 2000"
    direct, through = (pandas.read_sql(text(sql), engine) for engine in trino_engines)
    pandas.testing.assert_frame_equal(direct, through)
    assert len(through) == 2000


def test_trino_errors_are_those_of_the_dialect(trino_engines: Both) -> None:
    def work(engine: Engine) -> tuple[str, str]:
        with pytest.raises(sqlalchemy.exc.DBAPIError) as caught, engine.connect() as connection:
            connection.execute(text("SELECT nope FROM nation"))
        return type(caught.value).__name__, caught.value.orig.error_name  # type: ignore[union-attr]

    assert same(trino_engines, work)[1] == "COLUMN_NOT_FOUND"


@pytest.fixture(scope="module")
def clickhouse_engines(gateway: GatewayServer, clickhouse_server: ClickHouseAddress) -> Iterator[Both]:
    """First the real ClickHouse, then the gateway in front of it."""
    server = clickhouse_server
    direct = make_url(f"clickhousedb://127.0.0.1:{server.port}/default").set(
        username=server.user, password=server.password
    )
    engines = [
        sqlalchemy.create_engine(url)
        for url in (direct, make_url(f"clickhousedb://anna@127.0.0.1:{gateway.clickhouse_port}/default"))
    ]
    yield engines[0], engines[1]
    for engine in engines:
        engine.dispose()


@pytest.fixture(scope="module")
def clickhouse_database(clickhouse_engines: Both) -> Iterator[str]:
    """A database with a table and a view, made through the gateway."""
    name = f"superset_{secrets.token_hex(4)}"
    with clickhouse_engines[1].connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        ddl = f"CREATE TABLE {name}.hubs (hub LowCardinality(String), lmp Nullable(Decimal(9, 2)), at DateTime64(3)) "
        connection.execute(text(ddl + "ENGINE = MergeTree ORDER BY (hub, at)"))
        connection.execute(text(f"INSERT INTO {name}.hubs VALUES ('SP15', 51.25, 0), ('NP15', NULL, 1)"))
        connection.execute(text(f"CREATE VIEW {name}.dear AS SELECT * FROM {name}.hubs WHERE lmp > 50"))
        yield name
        connection.execute(text(f"DROP DATABASE {name}"))


def test_clickhouse_inspector(clickhouse_engines: Both, clickhouse_database: str) -> None:
    name = clickhouse_database
    for engine in clickhouse_engines:
        assert {"default", "system", name} <= set(inspect(engine).get_schema_names())
    assert "hubs" in same(clickhouse_engines, lambda engine: sorted(inspect(engine).get_table_names(name)))
    same(clickhouse_engines, lambda engine: sorted(inspect(engine).get_view_names(name)))
    assert same(clickhouse_engines, lambda engine: inspect(engine).has_table("hubs", name))
    assert len(same(clickhouse_engines, lambda engine: columns_of(engine, "hubs", name))) == 3


def test_clickhouse_text_queries(clickhouse_engines: Both, clickhouse_database: str) -> None:
    sql = f"SELECT hub, lmp, at FROM {clickhouse_database}.hubs WHERE hub <> :hub ORDER BY hub"
    assert len(same(clickhouse_engines, rows_of(sql, hub="it's :odd ünïcode"))) == 3
    same(
        clickhouse_engines,
        rows_of("SELECT toUInt64(18446744073709551615) AS u, [1, NULL] AS a, map('k', 1) AS m"),
    )


def test_clickhouse_pandas(clickhouse_engines: Both) -> None:
    sql = "SELECT number, toString(number) AS t, number / 3 AS f, toDate(number) AS d FROM numbers(2000)"
    direct, through = (pandas.read_sql(text(sql), engine) for engine in clickhouse_engines)
    pandas.testing.assert_frame_equal(direct, through)
    assert len(through) == 2000


def test_clickhouse_errors_are_those_of_the_dialect(clickhouse_engines: Both) -> None:
    def work(engine: Engine) -> tuple[str, bool]:
        with pytest.raises(sqlalchemy.exc.DBAPIError) as caught, engine.connect() as connection:
            connection.execute(text("SELECT * FROM nowhere"))
        return type(caught.value).__name__, "UNKNOWN_TABLE" in str(caught.value)

    assert same(clickhouse_engines, work)[1]
