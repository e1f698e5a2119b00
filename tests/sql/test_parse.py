"""Parsing: our own grammars, sqlglot behind an allow-list of roots, refusals with their place."""

from __future__ import annotations

import pytest
from sqlglot import exp

from gateway.core.decision import Refusal, RefusalCode
from gateway.core.statement import Position, Wire
from gateway.core.statement import StatementKind as K
from gateway.sql.parse import Parsed, parse
from gateway.sql.render import render
from gateway.sql.shape import Via

T, C = Wire.TRINO, Wire.CLICKHOUSE


def parsed(text: str, dialect: Wire) -> Parsed:
    found = parse(text, dialect)
    assert isinstance(found, Parsed), f"{text}: {found.message}"
    return found


def refused(text: str, dialect: Wire) -> Refusal:
    found = parse(text, dialect)
    assert isinstance(found, Refusal), f"parsed: {text}"
    return found


@pytest.mark.parametrize(
    ("text", "dialect", "kind", "verb"),
    [
        ("SHOW TABLES FROM c.s LIKE 'a%' ESCAPE '$'", T, K.SHOW, "SHOW TABLES"),
        ("SHOW SCHEMAS IN c", T, K.SHOW, "SHOW SCHEMAS"),
        ("SHOW CATALOGS", T, K.SHOW, "SHOW CATALOGS"),
        ("SHOW COLUMNS FROM t", T, K.SHOW, "SHOW COLUMNS"),
        ("SHOW CREATE MATERIALIZED VIEW v", T, K.SHOW, "SHOW CREATE MATERIALIZED VIEW"),
        ("SHOW STATS FOR (SELECT * FROM t)", T, K.SHOW, "SHOW STATS"),
        ("SHOW SESSION LIKE 'q%'", T, K.SHOW, "SHOW SESSION"),
        ("SHOW FUNCTIONS", T, K.SHOW, "SHOW FUNCTIONS"),
        ("SHOW CURRENT ROLES", T, K.SHOW, "SHOW CURRENT ROLES"),
        ("SHOW ROLE GRANTS FROM c", T, K.SHOW, "SHOW ROLE GRANTS"),
        ("SHOW GRANTS ON TABLE t", T, K.SHOW, "SHOW GRANTS"),
        ("DESCRIBE INPUT q", T, K.DESCRIBE, "DESCRIBE INPUT"),
        ("DESC t", T, K.DESCRIBE, "DESCRIBE"),
        ("DESCRIBE input", T, K.DESCRIBE, "DESCRIBE"),
        ("EXPLAIN (TYPE DISTRIBUTED, FORMAT JSON) SELECT 1", T, K.EXPLAIN, "EXPLAIN"),
        ("EXPLAIN (SELECT 1)", T, K.EXPLAIN, "EXPLAIN"),
        ("EXPLAIN ANALYZE VERBOSE SELECT 1", T, K.EXPLAIN, "EXPLAIN ANALYZE"),
        ("PREPARE q FROM SELECT ?", T, K.PREPARE, "PREPARE"),
        ("EXECUTE q USING 1, 'a'", T, K.EXECUTE, "EXECUTE"),
        ("EXECUTE IMMEDIATE 'SELECT ?' USING 1", T, K.EXECUTE, "EXECUTE IMMEDIATE"),
        ("DEALLOCATE PREPARE q", T, K.DEALLOCATE, "DEALLOCATE PREPARE"),
        ('USE "c"."s"', T, K.USE, "USE"),
        ("SET SESSION hive.a = 'b'", T, K.SET, "SET SESSION"),
        ("RESET SESSION a", T, K.SET, "RESET SESSION"),
        ("SET ROLE admin IN c", T, K.SET, "SET ROLE"),
        ("SET TIME ZONE LOCAL", T, K.SET, "SET TIME ZONE"),
        ("SET PATH a.b", T, K.SET, "SET PATH"),
        ("SET SESSION AUTHORIZATION bob", T, K.SET, "SET SESSION AUTHORIZATION"),
        ("RESET SESSION AUTHORIZATION", T, K.SET, "RESET SESSION AUTHORIZATION"),
        ("START TRANSACTION READ ONLY", T, K.TRANSACTION, "START TRANSACTION"),
        ("COMMIT WORK", T, K.TRANSACTION, "COMMIT"),
        ("CALL a.b.c(x => 1, 'y')", T, K.CALL, "CALL"),
        ("GRANT SELECT ON t TO ROLE r WITH GRANT OPTION", T, K.GRANT, "GRANT"),
        ("DENY SELECT ON t TO u", T, K.GRANT, "DENY"),
        ("CREATE ROLE r", T, K.GRANT, "CREATE ROLE"),
        ("ANALYZE t WITH (a = 1)", T, K.ADMIN, "ANALYZE"),
        ("REFRESH MATERIALIZED VIEW v", T, K.ADMIN, "REFRESH MATERIALIZED VIEW"),
        ("COMMENT ON COLUMN t.c IS NULL", T, K.ALTER, "COMMENT ON COLUMN"),
        ("ALTER TABLE IF EXISTS t ADD COLUMN a INTEGER", T, K.ALTER, "ALTER TABLE"),
        ("DROP SCHEMA s CASCADE", T, K.DROP, "DROP SCHEMA"),
        ("CREATE SCHEMA IF NOT EXISTS c.s", T, K.CREATE, "CREATE SCHEMA"),
        ("CREATE TABLE t (a INTEGER)", T, K.CREATE, "CREATE"),
        ("VALUES (1)", T, K.QUERY, "VALUES"),
        ("TABLE t", T, K.QUERY, "TABLE"),
        ("SELECT 1;", T, K.QUERY, "SELECT"),
        ("SHOW FULL TABLES FROM db NOT ILIKE '%x' LIMIT 3 FORMAT JSON", C, K.SHOW, "SHOW TABLES"),
        ("SHOW COLUMNS FROM t FROM db", C, K.SHOW, "SHOW COLUMNS"),
        ("SHOW CREATE TABLE db.t FORMAT TSVRaw", C, K.SHOW, "SHOW CREATE TABLE"),
        ("SHOW CREATE db.t", C, K.SHOW, "SHOW CREATE TABLE"),
        ("SHOW PROCESSLIST", C, K.SHOW, "SHOW PROCESSLIST"),
        ("EXISTS TABLE db.t", C, K.SHOW, "EXISTS TABLE"),
        ("EXISTS t", C, K.SHOW, "EXISTS TABLE"),
        ("DESCRIBE TABLE db.t SETTINGS describe_compact_output = 1", C, K.DESCRIBE, "DESCRIBE"),
        ("DESCRIBE url('http://x', 'CSV')", C, K.DESCRIBE, "DESCRIBE"),
        ("EXPLAIN PLAN indexes = 1, json = 1 SELECT 1", C, K.EXPLAIN, "EXPLAIN PLAN"),
        ("EXPLAIN QUERY TREE SELECT 1", C, K.EXPLAIN, "EXPLAIN QUERY TREE"),
        ("EXPLAIN SELECT 1", C, K.EXPLAIN, "EXPLAIN PLAN"),
        ("USE db", C, K.USE, "USE"),
        ("SET a = 1, b = 'x', c = [1, 2]", C, K.SET, "SET"),
        ("KILL QUERY WHERE query_id = 'x' SYNC", C, K.KILL, "KILL QUERY"),
        ("KILL MUTATION WHERE database = 'x' TEST FORMAT JSON", C, K.KILL, "KILL MUTATION"),
        ("INSERT INTO TABLE db.t (a, `b c`) SETTINGS async_insert = 1 VALUES (1, 2)", C, K.INSERT, "INSERT"),
        ("INSERT INTO t SELECT 1", C, K.INSERT, "INSERT"),
        ("INSERT INTO t (a) (SELECT 1)", C, K.INSERT, "INSERT"),
        ("INSERT INTO FUNCTION file('x') SELECT 1", C, K.INSERT, "INSERT"),
        ("OPTIMIZE TABLE t FINAL", C, K.ADMIN, "OPTIMIZE TABLE"),
        ("RENAME TABLE a TO b, c TO d", C, K.ALTER, "RENAME TABLE"),
        ("EXCHANGE TABLES a AND b", C, K.ALTER, "EXCHANGE TABLES"),
        ("TRUNCATE TABLE IF EXISTS t", C, K.DELETE, "TRUNCATE TABLE"),
        ("DETACH TABLE t PERMANENTLY", C, K.DROP, "DETACH TABLE"),
        ("DROP TABLE IF EXISTS a, b SYNC", C, K.DROP, "DROP TABLE"),
        ("CREATE DATABASE IF NOT EXISTS d ENGINE = Atomic", C, K.CREATE, "CREATE DATABASE"),
        ("CREATE USER u IDENTIFIED BY 'x'", C, K.ADMIN, "CREATE ACCESS"),
        ("SYSTEM FLUSH LOGS", C, K.ADMIN, "SYSTEM"),
        ("GRANT SELECT ON db.* TO u", C, K.GRANT, "GRANT"),
    ],
)
def test_kinds_and_verbs(text: str, dialect: Wire, kind: K, verb: str) -> None:
    found = parsed(text, dialect)
    assert (found.kind, found.verb) == (kind, verb)
    again = parsed(render(found), dialect)
    assert (again.kind, again.verb) == (kind, verb) or verb == "TABLE"


@pytest.mark.parametrize(
    ("text", "dialect", "code", "place"),
    [
        ("SELECT 1; SELECT 2", T, RefusalCode.SYNTAX, None),
        ("SELECT * FROM\n t WHERE )", T, RefusalCode.SYNTAX, Position(2, 10)),
        ("SELECT a b c FROM t", T, RefusalCode.SYNTAX, Position(1, 12)),
        ("EXPLAIN\nSELECT a b c", T, RefusalCode.SYNTAX, Position(2, 12)),
        ("EXECUTE IMMEDIATE\n 'SELECT a b c'", T, RefusalCode.SYNTAX, Position(2, 2)),
        ("EXECUTE IMMEDIATE name", T, RefusalCode.SYNTAX, Position(1, 19)),
        ("SHOW PARTITIONS FROM t", T, RefusalCode.SYNTAX, Position(1, 6)),
        ("SHOW TABLES bogus", T, RefusalCode.SYNTAX, Position(1, 13)),
        ("FROBNICATE t", T, RefusalCode.NOT_SUPPORTED, Position(1, 1)),
        ("EXPLAIN " * 9 + "SELECT 1", T, RefusalCode.TOO_COMPLEX, None),
        ('SELECT U&"a"', T, RefusalCode.NOT_SUPPORTED, Position(1, 9)),
        ("SELECT 1::integer", T, RefusalCode.NOT_SUPPORTED, Position(1, 9)),
        ("", T, RefusalCode.SYNTAX, None),
        (";", C, RefusalCode.SYNTAX, None),
        ("TABLE secret", C, RefusalCode.NOT_SUPPORTED, Position(1, 1)),
        ("SELECT 1 INTO OUTFILE 'x'", C, RefusalCode.SYNTAX, None),
        ("SHOW TABLES INTO OUTFILE 'x'", C, RefusalCode.NOT_SUPPORTED, Position(1, 13)),
        ("INSERT INTO t FROM INFILE 'x'", C, RefusalCode.NOT_SUPPORTED, Position(1, 15)),
        ("INSERT INTO t", C, RefusalCode.SYNTAX, None),
        ("WITH x -> x + 1 AS f SELECT f(1)", C, RefusalCode.NOT_SUPPORTED, Position(1, 6)),
        ("SELECT (SELECT 1 FROM t" + ")" * 1 + " garbage here", C, RefusalCode.SYNTAX, None),
    ],
)
def test_refusals(text: str, dialect: Wire, code: RefusalCode, place: Position | None) -> None:
    found = refused(text, dialect)
    assert found.code is code
    assert "\x1b" not in found.message
    assert len(found.message) < 300
    if place is not None:
        assert found.position == place


def test_no_opaque_command_passes(caplog: pytest.LogCaptureFixture) -> None:
    for text in (
        "LOAD DATA x",
        "ATTACH 'x'",
        "VACUUM t",
        "DECLARE x INT",
        "PRAGMA a",
        "EXPORT x",
        "LOCK TABLE t",
    ):
        found = parse(text, T)
        assert isinstance(found, Refusal), text
    assert isinstance(parse("ALTER TABLE t UPDATE a = 'secret' WHERE b IN u", C), Refusal)
    assert not caplog.records, "a statement was logged"


def test_inner_statements_are_parsed_and_placed() -> None:
    found = parsed("EXPLAIN (TYPE IO)\n  EXECUTE IMMEDIATE 'SELECT a FROM t'", T)
    assert [each.verb for each in found.every()] == ["EXPLAIN", "EXECUTE IMMEDIATE", "SELECT"]
    assert found.inner[0].via is Via.EXPLAIN
    middle = found.inner[0].parsed
    assert middle.inner[0].via is Via.IMMEDIATE
    assert middle.source.exact
    query = middle.inner[0].parsed
    assert query.tree is not None
    table = query.tree.find(exp.Table)
    assert table is not None
    assert query.place_of(table) == Position(2, 21)


def test_insert_parts() -> None:
    found = parsed("INSERT INTO db.t (a, `b c`, * EXCEPT (d)) FORMAT CSV\n1,2", C)
    assert found.shape is not None
    assert found.shape.columns[:2] == ("a", "b c")
    assert (found.shape.format, found.text[found.shape.data :]) == ("CSV", "1,2")


def test_calls_keep_their_names() -> None:
    tree = parsed("SELECT rand(), currentDatabase(), Sum(x)", C).tree
    assert tree is not None
    assert [call.name for call in tree.find_all(exp.Anonymous)] == ["rand", "currentDatabase", "Sum"]


def test_a_parsed_statement_does_not_print_its_tree() -> None:
    assert "Select" not in repr(parsed("SELECT 1", T))
