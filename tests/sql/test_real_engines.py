"""The real engines as oracles: emitted and substituted text gives what the client's text gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import trino
from sqlglot import exp

from gateway.core.decision import Refusal
from gateway.core.statement import Statement, Wire
from gateway.sql.emit import Emitted, emit
from gateway.sql.faithful import to_trees
from gateway.sql.parse import Parsed, parse
from gateway.sql.relations import RefKind, references
from gateway.sql.shape import Role
from gateway.sql.substitution import substitute
from tests.real.addresses import ClickHouseAddress, TrinoAddress

pytestmark = pytest.mark.real

FIXTURES = Path(__file__).parents[1] / "fixtures"
CORPUS = (FIXTURES / "sql" / "trino_corpus.sql").read_text().splitlines()
TPCH = [path.read_text() for path in sorted((FIXTURES / "tpch").glob("*.sql"))]

Answer = tuple[list[tuple[str, str]], list[list[Any]]]


def rewritten(text: str, dialect: Wire, **session: str) -> str:
    """The text with each table read through a subquery that changes nothing."""
    statement = Statement(text, dialect, **session)  # type: ignore[arg-type]
    parsed = parse(text, dialect)
    assert isinstance(parsed, Parsed), f"{text}: {parsed.message}"
    found = references(parsed, statement)
    assert not isinstance(found, Refusal)
    queries: dict[Any, exp.Query] = {}
    for ref in found:
        if (ref.role, ref.kind) == (Role.READ, RefKind.TABLE):
            query = to_trees(f"SELECT * FROM {ref.name}", dialect)[0]
            assert isinstance(query, exp.Query)
            queries[ref] = query
    result = substitute(parsed, queries)
    assert isinstance(result, Parsed), f"{text}: {result.message}"
    emitted = emit(result, statement, frozenset(ref.name for ref in found))
    assert isinstance(emitted, Emitted), f"{text}: {emitted.message}"
    return emitted.text


@pytest.fixture(scope="module")
def run(trino_server: TrinoAddress) -> Callable[[str], Answer]:
    connection = trino.dbapi.connect(
        host=trino_server.host, port=trino_server.port, user="sql", catalog="tpch", schema="tiny"
    )

    def answer(text: str) -> Answer:
        cursor = connection.cursor()
        cursor.execute(text)
        rows = cursor.fetchall()
        return [(column[0], column[1]) for column in cursor.description], rows

    return answer


def close(left: Any, right: Any) -> bool:
    """Sums of doubles depend on the order in which the engine adds."""
    if isinstance(left, float) and isinstance(right, float):
        return (
            left == right
            or math.isclose(left, right, rel_tol=1e-9)
            or (math.isnan(left) and math.isnan(right))
        )
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(close, left, right))
    return bool(left == right)


RENAMED = ("JSON_TABLE",)
"""Trino shows an unquoted column of JSON_TABLE in capitals and a quoted one as it is; we quote."""
UNSTABLE = ("approx_percentile",)
"""Depends on the order in which rows arrive; compared by names and types alone."""


@pytest.mark.parametrize("text", TPCH, ids=lambda text: text[:40])
def test_trino_accepts_tpch(text: str, run: Callable[[str], Answer]) -> None:
    emitted = rewritten(text, Wire.TRINO, catalog="tpch", schema="tiny")
    assert run(f"EXPLAIN (TYPE VALIDATE) {emitted}")[1] == [[True]]


@pytest.mark.parametrize("text", CORPUS + TPCH[::5], ids=lambda text: text[:40])
def test_trino_gives_the_same_names_types_and_rows(text: str, run: Callable[[str], Answer]) -> None:
    columns, rows = run(text)
    emitted = rewritten(text, Wire.TRINO, catalog="tpch", schema="tiny")
    emitted_columns, emitted_rows = run(emitted)
    if not any(word in text for word in RENAMED):
        assert emitted_columns == columns, emitted
    if not any(word in text for word in UNSTABLE):
        assert close(emitted_rows, rows), emitted


@pytest.fixture(scope="module")
def ask(clickhouse_server: ClickHouseAddress) -> Callable[[str], str]:
    def post(text: str, **parameters: str) -> str:
        headers = {
            "X-ClickHouse-User": clickhouse_server.user,
            "X-ClickHouse-Key": clickhouse_server.password,
        }
        request = Request(f"{clickhouse_server.url}/?{urlencode(parameters)}", text.encode(), headers)
        try:
            with urlopen(request, timeout=30) as reply:
                return str(reply.read().decode().strip().replace("\n", ","))
        except HTTPError as error:
            return f"error {error.headers['X-ClickHouse-Exception-Code']}"

    post("CREATE DATABASE IF NOT EXISTS sql_resolution")
    for name in "abc":
        post(f"CREATE OR REPLACE TABLE sql_resolution.{name} (v String) ENGINE = MergeTree ORDER BY v")
        post(f"INSERT INTO sql_resolution.{name} SELECT 'table {name}'")
    return lambda text: post(text, database="sql_resolution")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("WITH a AS (SELECT * FROM b), b AS (SELECT 'cte' AS v) SELECT * FROM a", "cte"),
        ("WITH a AS (SELECT * FROM a) SELECT * FROM a", "table a"),
        ("WITH a AS (SELECT 'cte' AS v) SELECT * FROM sql_resolution.a", "table a"),
        ("WITH a AS (SELECT 'o' AS v) SELECT * FROM (WITH a AS (SELECT * FROM a) SELECT * FROM a)", "o"),
        ("WITH a AS (SELECT 'cte' AS v) SELECT 'cte' IN a, 'table a' IN (a)", "1\t0"),
        ("WITH (SELECT 'scalar') AS a SELECT * FROM a", "table a"),
        ("WITH A AS (SELECT 'cte' AS v) SELECT * FROM a", "table a"),
        ("WITH a AS (SELECT 'cte' AS v) SELECT * FROM b UNION ALL SELECT * FROM a ORDER BY v", None),
        ("SELECT (WITH a AS (SELECT 'cte' AS v) SELECT v FROM a), (SELECT v FROM a)", "cte\ttable a"),
        ("SELECT 'table a' IN a, in('table a', b), arrayExists(x -> x IN a, ['table a'])", "1\t0\t1"),
        ("SELECT v FROM a PREWHERE v IN a WHERE v NOT IN b", "table a"),
        ("SELECT x.v, c.v FROM a AS x, sql_resolution.c ORDER BY x.v", "table a\ttable c"),
        ("SELECT v FROM a FINAL", "error 181"),
    ],
)
def test_clickhouse_resolves_names_as_we_do(text: str, answer: str | None, ask: Callable[[str], str]) -> None:
    direct = ask(text)
    if answer is not None:
        assert direct == answer
    assert ask(rewritten(text, Wire.CLICKHOUSE, schema="sql_resolution")) == direct


def test_clickhouse_runs_subqueries_in_values_unless_told_not_to(ask: Callable[[str], str]) -> None:
    """Why a governed INSERT needs input_format_values_interpret_expressions = 0: its data is not parsed."""
    ask("INSERT INTO c VALUES ((SELECT v FROM a))")
    assert "table a" in ask("SELECT * FROM c")
    closed = "INSERT INTO c SETTINGS input_format_values_interpret_expressions = 0 VALUES ((SELECT v FROM a))"
    assert ask(closed).startswith("error")
