"""Every bypass class of the research: no spelling hides a relation, and no CTE is taken for one too much."""

from __future__ import annotations

import pytest

from gateway.core.decision import Refusal, RefusalCode
from gateway.core.statement import Position, RelationName, Statement, Wire
from gateway.sql.parse import Parsed, parse
from gateway.sql.relations import Reference, RefKind, qualify, references
from gateway.sql.shape import Role

T, C = Wire.TRINO, Wire.CLICKHOUSE


def statement(text: str, dialect: Wire) -> Statement:
    return Statement(
        text,
        dialect,
        catalog="Cat" if dialect is T else None,
        schema="sch",
        prepared=(("q", "SELECT * FROM pt WHERE a = ?"), ("loop", "EXECUTE loop")),
    )


def found(text: str, dialect: Wire) -> tuple[Reference, ...]:
    parsed = parse(text, dialect)
    assert isinstance(parsed, Parsed), f"{text}: {parsed.message}"
    result = references(parsed, statement(text, dialect))
    assert not isinstance(result, Refusal), f"{text}: {result.message}"
    return result


def names(text: str, dialect: Wire) -> set[str]:
    """`role kind name` for what is not a plain read of a table, else the name alone."""
    return {
        str(ref.name) if (ref.role, ref.kind) == (Role.READ, RefKind.TABLE) else str(ref)
        for ref in found(text, dialect)
    }


TRINO_CASES = [
    # everywhere a query may stand
    ("SELECT (SELECT 1 FROM t2) FROM t1 WHERE EXISTS (SELECT 1 FROM t3) GROUP BY (SELECT 1 FROM t4) "
     "HAVING (SELECT true FROM t5) ORDER BY (SELECT 1 FROM t6)", "t1 t2 t3 t4 t5 t6"),
    ("SELECT sum(a) FILTER (WHERE a IN (SELECT 1 FROM t2)) OVER (PARTITION BY (SELECT 1 FROM t3)) FROM t1", "t1 t2 t3"),
    ("SELECT 1 FROM t1 UNION SELECT 1 FROM t2 ORDER BY (SELECT 1 FROM t3)", "t1 t2 t3"),
    ("VALUES ((SELECT a FROM t1))", "t1"),
    ("SELECT * FROM (VALUES ((SELECT a FROM t1))) v", "t1"),
    ("SELECT * FROM t1 a, (SELECT * FROM t2) a", "t1 t2"),
    ("SELECT * FROM t1, LATERAL (SELECT * FROM t2 WHERE t2.a = t1.a) l", "t1 t2"),
    ("SELECT * FROM t1 CROSS JOIN UNNEST((SELECT a FROM t2)) AS u (e)", "t1 t2"),
    ("SELECT * FROM (t1 JOIN (t2 JOIN t3 USING (a)) USING (a))", "t1 t2 t3"),
    ("SELECT * FROM t1 WHERE a = ALL (TABLE t2)", "t1 t2"),
    ("SELECT CASE WHEN EXISTS (TABLE t2) THEN (SELECT a FROM t3) END FROM t1", "t1 t2 t3"),
    ("SELECT transform(ARRAY[1], x -> (SELECT a FROM t1))", "t1"),
    ("SELECT * FROM t1 FOR TIMESTAMP AS OF (SELECT max(b) FROM t2)", "t1 t2"),
    ("SELECT * FROM t1 TABLESAMPLE BERNOULLI ((SELECT 1 FROM t2))", "t1 t2"),
    ("SELECT * FROM t1 MATCH_RECOGNIZE (MEASURES A.x AS y PATTERN (A) DEFINE A AS (SELECT true FROM t2)) m", "t1 t2"),
    ("TABLE t1", "t1"),
    ("(TABLE t1) UNION ALL (TABLE t2)", "t1 t2"),
    # CTEs
    ("WITH t1 AS (SELECT * FROM t1) SELECT * FROM t1", "t1"),
    ("WITH t1 AS (SELECT 1) SELECT * FROM sch.t1", "t1"),
    ("WITH t1 AS (SELECT 1) SELECT * FROM cat.sch.t1", "t1"),
    ("WITH a AS (SELECT 1), b AS (SELECT * FROM a) SELECT * FROM b", ""),
    ("WITH b AS (SELECT * FROM a), a AS (SELECT 1) SELECT * FROM b", "a"),
    ("WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n FROM r) SELECT * FROM r", ""),
    ('WITH "T1" AS (SELECT 1) SELECT * FROM t1', ""),
    ("SELECT (WITH a AS (SELECT 1) SELECT * FROM a), (SELECT 1 FROM a)", "a"),
    ("(WITH a AS (SELECT 1) SELECT * FROM a) UNION ALL SELECT * FROM a", "a"),
    ("WITH a AS (SELECT 1) SELECT * FROM (WITH b AS (SELECT * FROM a) SELECT * FROM b, c)", "c"),
    ("SELECT * FROM t1 AS a WHERE EXISTS (SELECT 1 FROM a)", "t1 a"),
    # names
    ('SELECT * FROM "T1"', "t1"),
    ('SELECT * FROM "SCH"."T1"', "t1"),
    ('SELECT * FROM "t1$files"', "=read suffixed cat.sch.t1$files"),
    ("SELECT * FROM a.b.c.d", "=read unknown a.b.c.d"),
    # polymorphic arguments, table functions
    ("SELECT * FROM TABLE(exclude_columns(input => TABLE(t1), columns => DESCRIPTOR(a)))",
     "=read table_function exclude_columns|cat.sch.t1"),
    ("SELECT * FROM TABLE(c.f(TABLE(SELECT * FROM t1)))", "=read table_function c.f|cat.sch.t1"),
    ("WITH a AS (SELECT 1) SELECT * FROM TABLE(f(TABLE(a)))", "=read table_function f"),
    # statements in statements
    ("EXPLAIN ANALYZE SELECT * FROM t1", "t1"),
    ("PREPARE p FROM SELECT * FROM t1", "t1"),
    ("EXECUTE IMMEDIATE 'SELECT * FROM t1 WHERE a = ''x''' USING (SELECT 1 FROM t2)", "t1 t2"),
    ("EXPLAIN EXECUTE IMMEDIATE 'EXECUTE IMMEDIATE ''SELECT * FROM t1'''", "t1"),
    ("EXECUTE q USING (SELECT 1 FROM t2)", "pt t2"),
    ("DESCRIBE OUTPUT q", "pt"),
    ("SHOW STATS FOR (SELECT * FROM t1)", "t1"),
    ("CALL a.b(x => (SELECT 1 FROM t1))", "t1"),
    # roles
    ("INSERT INTO t1 WITH t1 AS (SELECT * FROM t2) SELECT * FROM t1", "=insert table cat.sch.t1|cat.sch.t2"),
    ("UPDATE t1 SET a = (SELECT 1 FROM t2) WHERE b IN (SELECT 1 FROM t3)",
     "=update table cat.sch.t1|cat.sch.t2|cat.sch.t3"),
    ("DELETE FROM t1 WHERE a IN (SELECT 1 FROM t2)", "=delete table cat.sch.t1|cat.sch.t2"),
    ("MERGE INTO t1 USING t2 ON t1.a = t2.a WHEN MATCHED AND t1.b > (SELECT 1 FROM t3) THEN DELETE",
     "=merge table cat.sch.t1|cat.sch.t2|cat.sch.t3"),
    ("CREATE TABLE t1 AS SELECT * FROM t2", "=create table cat.sch.t1|cat.sch.t2"),
    ("CREATE VIEW t1 SECURITY DEFINER AS SELECT * FROM t2", "=create table cat.sch.t1|cat.sch.t2"),
    ("CREATE TABLE t1 (LIKE t2)", "=create table cat.sch.t1|cat.sch.t2"),
    ("ALTER TABLE t1 RENAME TO t2", "=alter table cat.sch.t1|create table cat.sch.t2"),
    ("DROP TABLE IF EXISTS t1", "=drop table cat.sch.t1"),
    ("SHOW CREATE VIEW t1", "=describe table cat.sch.t1"),
    ("GRANT SELECT ON TABLE t1 TO u", "=admin table cat.sch.t1"),
    ("ANALYZE t1", "=admin table cat.sch.t1"),
]  # fmt: skip

CLICKHOUSE_CASES = [
    ("SELECT * FROM t1 WHERE x IN t2", "t1 t2"),
    ("SELECT x IN db2.t2", "=db2.t2"),
    ("SELECT x NOT IN (t2), x GLOBAL IN t3, x GLOBAL NOT IN ((t4))", "t2 t3 t4"),
    ("SELECT 1, in(x, t2), notIn(x, t3), globalIn(x, t4), nullIn(x, t5), inIgnoreSet(x, t6)", "t2 t3 t4 t5 t6"),
    ("SELECT arrayExists(x -> x IN t2, [1])", "t2"),
    ("SELECT x IN (1, 2), x IN (a, b), x IN [1], x IN 'a'", ""),
    ("SELECT x IN (SELECT 1 FROM t2 UNION ALL SELECT 1 FROM t3)", "t2 t3"),
    ("WITH c AS (SELECT 1) SELECT x IN c, y IN (c)", ""),
    ("SELECT v AS t2 FROM t1 WHERE 1 IN t2", "=sch.t1|read unknown sch.t2"),
    ("SELECT x IN {t:Identifier}", "=read parameter "),
    ("SELECT * FROM {t:Identifier}", "=read parameter "),
    ("SELECT * FROM {d:Identifier}.t", "=read parameter "),
    ("SELECT joinGet('db2.t2', 'v', 1), joinGetOrNull(t3, 'v', 1)", "=db2.t2|sch.t3"),
    ("SELECT dictGet('db2.d', 'v', 1), dictHas('d2', 1)", "=read dictionary db2.d|read dictionary sch.d2"),
    ("SELECT dictGet(concat('a', 'b'), 'v', 1)", "=read parameter "),
    ("SELECT * FROM merge(currentDatabase(), '^t')", "=read table_function merge"),
    ("SELECT * FROM loop(t1)", "=read table_function loop"),
    ("SELECT * FROM remote('h', db.t)", "=read table_function remote"),
    ("SELECT * FROM view(SELECT * FROM t1)", "=read table_function view|sch.t1"),
    ("SELECT * FROM viewExplain('', '', (SELECT * FROM t1))", "=read table_function viewExplain|sch.t1"),
    ("SELECT * FROM numbers(10), t1", "=read table_function numbers|sch.t1"),
    ("SELECT * FROM t1 ARRAY JOIN (SELECT groupArray(v) FROM t2) AS x", "=sch.t1|read unknown Column"),
    ("SELECT * FROM t1 LEFT ARRAY JOIN a AS b", "t1"),
    ("FROM t1 SELECT a", "t1"),
    ("SELECT * FROM t1 FINAL SAMPLE 0.1 PREWHERE a IN t2", "t1 t2"),
    ("SELECT * FROM T1, `t1`, \"t1\"", "T1 t1"),
    ("WITH T AS (SELECT 1) SELECT * FROM t", "t"),
    ("WITH (SELECT 1 FROM t2) AS t1 SELECT * FROM t1", "t1 t2"),
    ("WITH 'x' AS t1 SELECT * FROM t1", "t1"),
    # ClickHouse resolves forward references, and a real table where resolution would go round
    ("WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a", ""),
    ("WITH a AS (SELECT * FROM b), b AS (SELECT * FROM a) SELECT * FROM a", "a b"),
    ("WITH a AS (SELECT * FROM a) SELECT * FROM a", "a"),
    ("WITH a AS (SELECT 1) SELECT * FROM (WITH a AS (SELECT * FROM a) SELECT * FROM a)", ""),
    ("WITH RECURSIVE a AS (SELECT 1 UNION ALL SELECT 1 FROM a) SELECT * FROM a", ""),
    ("WITH a AS (SELECT 1) SELECT 1 UNION ALL SELECT * FROM a", ""),
    ("SELECT 1 UNION ALL (WITH a AS (SELECT 1) SELECT * FROM a) UNION ALL SELECT * FROM a", "a"),
    ("INSERT INTO t1 (a) SELECT * FROM t2", "=insert table sch.t1|sch.t2"),
    ("INSERT INTO FUNCTION remote('h', 't') SELECT * FROM t2", "=insert table_function sch.remote|sch.t2"),
    ("CREATE TABLE t1 (a Int8) ENGINE = Distributed('c', 'd', 't2')", "=create table sch.t1|read engine Distributed"),
    ("CREATE MATERIALIZED VIEW t1 TO t2 AS SELECT * FROM t3", "=create table sch.t1|insert table sch.t2|sch.t3"),
    ("ALTER TABLE t1 DELETE WHERE a IN (SELECT a FROM t2)", "=alter table sch.t1|sch.t2"),
    ("ALTER TABLE t1 DROP COLUMN a", "=alter table sch.t1"),
    ("DESCRIBE (SELECT * FROM t1)", "t1"),
    ("DESCRIBE remote('h', 't')", "=describe table_function sch.remote"),
    ("EXPLAIN SYNTAX SELECT * FROM t1", "t1"),
    ("EXISTS t1", "=describe table sch.t1"),
    ("KILL QUERY WHERE query_id IN (SELECT v FROM t1) SYNC", "t1"),
    ("RENAME TABLE t1 TO t2", "=drop table sch.t1|create table sch.t2"),
]  # fmt: skip


def _expected(shown: str, dialect: Wire) -> set[str]:
    if shown.startswith("="):
        return set(shown[1:].split("|"))
    prefix = "cat.sch" if dialect is T else "sch"
    return {f"{prefix}.{name}" for name in shown.split()}


@pytest.mark.parametrize(("text", "shown"), TRINO_CASES)
def test_trino(text: str, shown: str) -> None:
    assert names(text, T) == _expected(shown, T)


@pytest.mark.parametrize(("text", "shown"), CLICKHOUSE_CASES)
def test_clickhouse(text: str, shown: str) -> None:
    assert names(text, C) == _expected(shown, C)


def test_prepared_statements_that_are_unknown_or_circular_are_refused() -> None:
    for text, code in (("EXECUTE nope", RefusalCode.NOT_FOUND), ("EXECUTE loop", RefusalCode.NOT_SUPPORTED)):
        parsed = parse(text, T)
        assert isinstance(parsed, Parsed)
        refusal = references(parsed, statement(text, T))
        assert isinstance(refusal, Refusal)
        assert refusal.code is code


def test_position_modifiers_and_alias() -> None:
    (ref,) = found("SELECT *\nFROM db.t AS x FINAL SAMPLE 0.1 PREWHERE a", C)
    assert (ref.position, ref.modifiers, ref.alias) == (Position(2, 6), ("FINAL", "PREWHERE", "SAMPLE"), "x")
    (ref,) = found("SELECT * FROM t FOR VERSION AS OF 1 TABLESAMPLE SYSTEM (1)", T)
    assert ref.modifiers == ("SAMPLE", "VERSION")


def test_names_are_completed_by_the_session() -> None:
    bare = Statement("", T)
    assert qualify(("T",), T, bare) == RelationName("", "", "t")
    assert qualify(("a", "b", "C"), T, bare) == RelationName("a", "b", "c")
    assert qualify(("T",), C, Statement("", C)) == RelationName("", "default", "T")
