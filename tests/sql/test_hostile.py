"""Statements that fit the inline bounds and are built to be expensive: none may take long or crash."""

from __future__ import annotations

import time

import pytest
from sqlglot.errors import SqlglotError

from gateway.core.decision import Refusal
from gateway.core.statement import Statement, Wire
from gateway.sql.guard import guard
from gateway.sql.parse import parse
from gateway.sql.relations import references
from gateway.sql.render import render

DEEP = 60
LONG = 1_900

NESTED = {
    "with": ("WITH a AS (", "SELECT 1", ") SELECT 1", ""),
    "scalar with": ("WITH (", "SELECT 1", ") AS x SELECT 1", ""),
    "brackets": ("(", "1", ")", "SELECT "),
    "queries": ("(", "SELECT 1", ")", ""),
    "sources": ("(", "t", ")", "SELECT * FROM "),
    "subqueries": ("(SELECT * FROM ", "t", ")", "SELECT * FROM "),
    "calls": ("f(", "1", ")", "SELECT "),
    "lambdas": ("f((x, y) -> ", "1", ")", "SELECT "),
    "arrays": ("[", "1", "]", "SELECT "),
    "casts": ("CAST(", "1", " AS INT)", "SELECT "),
    "types": ("ARRAY(", "INT", ")", "SELECT CAST(1 AS "),
    "row types": ("ROW(a ", "INT", ")", "SELECT CAST(1 AS "),
    "case": ("CASE WHEN a THEN ", "1", " END", "SELECT "),
    "in": ("a IN (", "1", ")", "SELECT "),
    "windows": ("sum(1) OVER (PARTITION BY ", "1", ")", "SELECT "),
    "negations": ("-(", "1", ")", "SELECT "),
    "table calls": ("TABLE(", "a", ")", "SELECT * FROM "),
    "two brackets": ("f(1)(", "1", ")", "SELECT "),
    "maps": ("{'a': ", "1", "}", "SELECT "),
} | {f"{name} calls": (f"{name}(", "1", ")", "SELECT ") for name in
     ("date", "decimal", "row", "tuple", "map", "array", "timestamp", "varchar", "nullable", "json", "interval",
      "if", "trim", "extract", "columns", "view", "cast", "struct", "nested", "variant", "any", "char")}  # fmt: skip

RUNS = {
    "and": " AND ".join(["a"] * (LONG // 2)),
    "plus": " + ".join(["a"] * (LONG // 2)),
    "concat": " || ".join(["a"] * (LONG // 2)),
    "dots": ".".join(["a"] * (LONG // 2)),
    "casts": "a" + "::INT" * (LONG // 2),
    "subscripts": "a" + "[1]" * (LONG // 3),
    "union": "1" + " UNION ALL SELECT 1" * (LONG // 4),
    "joins": "* FROM a" + " JOIN a" * (LONG // 4) + " ON 1=1" * (LONG // 4),
    "between": "a" + " BETWEEN 1 AND 2" * (LONG // 4),
    "ternary": "a ? b : " * (LONG // 4) + "c",
    "ternary inside": "a ? " * (LONG // 4) + "c" + " : b" * (LONG // 4),
    "is null": "a" + " IS NULL" * (LONG // 2),
    "interval": "INTERVAL " * (LONG // 2) + "1 DAY",
    "select": "SELECT " * LONG,
    "arrows": "f(" + "x -> " * (LONG // 2) + "1)",
    "exists": "EXISTS " * (LONG // 2) + "(SELECT 1)",
    "any": "ANY " * (LONG // 2) + "(SELECT 1)",
    "in list": "a IN (" + ",".join(["1"] * (LONG // 2)) + ")",
    "time zones": "a" + " AT TIME ZONE 'x'" * (LONG // 4),
    "explain": "1; EXPLAIN " * 400,
    "commas": "," * LONG,
}


@pytest.mark.parametrize("dialect", list(Wire))
@pytest.mark.parametrize("name", [*NESTED, *RUNS])
def test_bounded(name: str, dialect: Wire) -> None:
    if name in NESTED:
        opening, inside, closing, prefix = NESTED[name]
        text = prefix + opening * DEEP + inside + closing * DEEP + (")" if "AS " in prefix else "")
    else:
        text = "SELECT " + RUNS[name]
    start = time.process_time()
    if not isinstance(guard(text, dialect), Refusal):
        parsed = parse(text, dialect)
        if not isinstance(parsed, Refusal):
            references(parsed, Statement(text, dialect))
            try:
                render(parsed)
            except (RecursionError, SqlglotError):
                pass
    assert time.process_time() - start < 0.6
