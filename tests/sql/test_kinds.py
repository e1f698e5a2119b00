"""The cheap classification of the path that does not parse."""

from __future__ import annotations

import pytest

from gateway.core.statement import StatementKind as K
from gateway.core.statement import Wire
from gateway.sql.kinds import classify

T, C = Wire.TRINO, Wire.CLICKHOUSE


@pytest.mark.parametrize(
    ("text", "dialect", "kind", "rows"),
    [
        ("SELECT 1", T, K.QUERY, True),
        ("  -- c\n/* x */ ((SELECT 1))", T, K.QUERY, True),
        ("select 1", C, K.QUERY, True),
        ("FROM t SELECT 1", C, K.QUERY, True),
        ("WITH a AS (SELECT 1) SELECT 1", C, K.QUERY, True),
        ("WITH a AS (INSERT) INSERT INTO t SELECT 1", C, K.INSERT, False),
        ("insert into t values (1)", C, K.INSERT, False),
        ("MERGE INTO t USING s ON true", T, K.MERGE, False),
        ("EXECUTE IMMEDIATE 'SELECT 1'", T, K.EXECUTE, True),
        ("EXECUTE AS u SELECT 1", C, K.ADMIN, True),
        ("KILL QUERY WHERE 1", C, K.KILL, True),
        ("KILL QUERY WHERE 1", T, K.UNKNOWN, True),
        ("RESET SESSION a", T, K.SET, False),
        ("COMMENT ON TABLE t IS 'x'", T, K.ALTER, False),
        ("# c\n#! d\nSHOW TABLES", C, K.SHOW, True),
        ("", T, K.UNKNOWN, True),
        ("'SELECT'", T, K.UNKNOWN, True),
        ("selecting", T, K.UNKNOWN, True),
    ],
)
def test_classify(text: str, dialect: Wire, kind: K, rows: bool) -> None:
    found = classify(text, dialect)
    assert (found.kind, found.returns_rows) == (kind, rows)


def test_unknown_counts_as_writing() -> None:
    assert classify("FROBNICATE", T).kind.writes
