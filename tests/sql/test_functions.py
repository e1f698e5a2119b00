"""Names of called functions, for the allow-list."""

from __future__ import annotations

import pytest

from gateway.core.statement import Position, Wire
from gateway.sql.functions import functions
from gateway.sql.parse import Parsed, parse


@pytest.mark.parametrize(
    ("text", "dialect", "names"),
    [
        ("SELECT Count(*), a.b.my_fn(x), date(d) FROM t WHERE x = 1 AND y IN (2)", Wire.TRINO, "a.b.my_fn count date"),
        ("SELECT * FROM TABLE(sequence(1, 2))", Wire.TRINO, "sequence table"),
        ("EXPLAIN EXECUTE IMMEDIATE 'SELECT evil(1)' USING worse(2)", Wire.TRINO, "evil worse"),
        ("SELECT CASE WHEN CAST(a AS INTEGER) = 1 THEN lower(b) END", Wire.TRINO, "lower"),
        ("SELECT sumIf(a, b), quantile(0.5)(x), arrayMap(x -> sleep(x), y), rand()", Wire.CLICKHOUSE,
         "arrayMap quantile rand sleep sumIf"),
        ("SELECT file('x'), a ? b : c FROM remote('h', t)", Wire.CLICKHOUSE, "file if remote"),
        ("INSERT INTO FUNCTION s3(concat('a', 'b')) SELECT now()", Wire.CLICKHOUSE, "concat now"),
    ],
)  # fmt: skip
def test_names(text: str, dialect: Wire, names: str) -> None:
    parsed = parse(text, dialect)
    assert isinstance(parsed, Parsed), parsed.message
    assert sorted({use.name for use in functions(parsed)}) == names.split()


def test_place_and_qualification() -> None:
    parsed = parse("SELECT\n  f(1), c.s.g(2)", Wire.TRINO)
    assert isinstance(parsed, Parsed)
    uses = {use.name: use for use in functions(parsed)}
    assert uses["f"].position == Position(2, 3)
    assert not uses["f"].qualified
    assert uses["c.s.g"].qualified
