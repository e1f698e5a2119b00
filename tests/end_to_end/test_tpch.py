"""TPC-H, all 22, and half of TPC-DS on a real Trino at the smallest scale: through the gateway as direct.

The tables of TPC-DS are copied into memory once: their connector makes every row anew for every scan, which
costs minutes over all statements. Of the 1.9 million customer demographics only those in use are copied.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trino

from tests.end_to_end.gateway_server import GatewayServer
from tests.real.addresses import TrinoAddress

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
COUNTS = {"tpch": 22, "tpcds": 52}
WHOLE_TABLES = [
    "call_center",
    "catalog_returns",
    "catalog_sales",
    "customer",
    "customer_address",
    "date_dim",
    "household_demographics",
    "income_band",
    "inventory",
    "item",
    "promotion",
    "reason",
    "ship_mode",
    "store",
    "store_returns",
    "store_sales",
    "time_dim",
    "warehouse",
    "web_page",
    "web_sales",
    "web_site",
]
DEMOGRAPHICS_IN_USE = """
    SELECT * FROM tpcds.tiny.customer_demographics WHERE cd_demo_sk IN (
      SELECT ss_cdemo_sk FROM store_sales UNION SELECT cs_bill_cdemo_sk FROM catalog_sales
      UNION SELECT c_current_cdemo_sk FROM customer UNION SELECT sr_cdemo_sk FROM store_returns)"""

pytestmark = pytest.mark.xdist_group("tpc")

Table = tuple[list[tuple[str, str]], list[Sequence[Any]]]


def _table(port: int, catalog: str, schema: str, sql: str) -> Table:
    """Names and types of the columns, and the rows in their order."""
    connection = trino.dbapi.connect(host="127.0.0.1", port=port, user="anna", catalog=catalog, schema=schema)
    cursor = connection.cursor()
    cursor.execute(sql)
    rows = cursor.fetchall()
    return [(column.name, column.type_code) for column in cursor.description or []], rows


@pytest.fixture(scope="module")
def tpcds(trino_server: TrinoAddress) -> Iterator[str]:
    """The schema of the memory catalog that holds TPC-DS."""
    schema = f"tpcds_{secrets.token_hex(4)}"

    def run(sql: str) -> None:
        _table(trino_server.port, "memory", schema, sql)

    run(f"CREATE SCHEMA {schema}")
    try:
        with ThreadPoolExecutor(4) as pool:
            copies = [f"CREATE TABLE {name} AS SELECT * FROM tpcds.tiny.{name}" for name in WHOLE_TABLES]
            list(pool.map(run, copies))
        run(f"CREATE TABLE customer_demographics AS {DEMOGRAPHICS_IN_USE}")
        yield schema
    finally:
        run(f"DROP SCHEMA {schema} CASCADE")


def _cases(benchmark: str) -> list[Any]:
    return [pytest.param(path, id=path.stem) for path in sorted((FIXTURES / benchmark).glob("q*.sql"))]


def _same(one: Any, other: Any) -> bool:
    """Equal; for doubles up to what the order of a parallel sum changes, which differs from run to run."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other) and type(one) is type(other)


def _compare(ports: tuple[int, int], catalog: str, schema: str, sql: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        direct, through = pool.map(lambda port: _table(port, catalog, schema, sql), ports)
    assert direct[1], "a statement without rows shows nothing"
    assert through[0] == direct[0]
    assert len(through[1]) == len(direct[1])
    pairs = zip(direct[1], through[1], strict=True)
    different = [
        (left, right)
        for left, right in pairs
        if not all(_same(a, b) for a, b in zip(left, right, strict=True))
    ]
    assert not different


@pytest.mark.parametrize("path", _cases("tpch"))
def test_tpch_gives_what_the_engine_gives(
    gateway: GatewayServer, trino_server: TrinoAddress, path: Path
) -> None:
    _compare((trino_server.port, gateway.trino_port), "tpch", "tiny", path.read_text())


@pytest.mark.parametrize("path", _cases("tpcds"))
def test_tpcds_gives_what_the_engine_gives(
    gateway: GatewayServer, trino_server: TrinoAddress, tpcds: str, path: Path
) -> None:
    _compare((trino_server.port, gateway.trino_port), "memory", tpcds, path.read_text())


def test_no_statement_is_missing() -> None:
    assert {name: len(_cases(name)) for name in COUNTS} == COUNTS
