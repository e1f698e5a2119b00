"""TPC-H, all 22, and half of TPC-DS on a real Trino at its smallest scale: through the gateway as direct."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trino

from tests.end_to_end.gateway_server import GatewayServer
from tests.real.addresses import TrinoAddress

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
BENCHMARKS = {"tpch": 22, "tpcds": 53}
CASES = [
    pytest.param(benchmark, path, id=f"{benchmark}-{path.stem}")
    for benchmark in BENCHMARKS
    for path in sorted((FIXTURES / benchmark).glob("q*.sql"))
]
pytestmark = pytest.mark.xdist_group("tpc")

Table = tuple[list[tuple[str, str]], list[Sequence[Any]]]


def _table(port: int, catalog: str, sql: str) -> Table:
    """Names and types of the columns, and the rows in their order."""
    connection = trino.dbapi.connect(
        host="127.0.0.1", port=port, user="anna", catalog=catalog, schema="tiny"
    )
    cursor = connection.cursor()
    cursor.execute(sql)
    rows = cursor.fetchall()
    return [(column.name, column.type_code) for column in cursor.description], rows


def _same(one: Any, other: Any) -> bool:
    """Equal; for doubles up to what the order of a parallel sum changes, which differs from run to run."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other) and type(one) is type(other)


@pytest.mark.parametrize(("benchmark", "path"), CASES)
def test_statement_gives_what_the_engine_gives(
    gateway: GatewayServer, trino_server: TrinoAddress, benchmark: str, path: Path
) -> None:
    sql = path.read_text()
    with ThreadPoolExecutor(2) as pool:
        direct, through = pool.map(
            lambda port: _table(port, benchmark, sql), (trino_server.port, gateway.trino_port)
        )
    assert through[0] == direct[0]
    assert len(through[1]) == len(direct[1])
    different = [
        (expected, row)
        for expected, row in zip(direct[1], through[1], strict=True)
        if not all(_same(a, b) for a, b in zip(expected, row, strict=True))
    ]
    assert not different


def test_no_statement_is_missing() -> None:
    for benchmark, count in BENCHMARKS.items():
        assert sum(case.values[0] == benchmark for case in CASES) == count
