"""Statements around queries: definitions, changes, listings, sessions, prepared statements, transactions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.engines.duckdb.failures import TrinoFailure
from tests.engines.duckdb_rig import Embedded


@pytest.fixture(scope="module")
def shared() -> Iterator[Embedded]:
    rig = Embedded()
    yield rig
    rig.engine.close()


@pytest.fixture
def embedded(shared: Embedded) -> Embedded:
    """The engine, with its schemas emptied."""
    shared.run("drop schema if exists memory.default cascade")
    shared.run("drop schema if exists energy.market cascade")
    shared.run("create schema memory.default")
    shared.killed.clear()
    return shared


def test_types_that_duckdb_lacks_survive(embedded: Embedded) -> None:
    embedded.run(
        "create table t (a varchar(10), b char(3), c timestamp(0), d time(3), e decimal(5,2), "
        'f row(x integer, "Y z" varchar(2)), g array(varchar(4)), h timestamp(3) with time zone)'
    )
    assert [row[:2] for row in embedded.rows("show columns from t")] == [
        ["a", "varchar(10)"],
        ["b", "char(3)"],
        ["c", "timestamp(0)"],
        ["d", "time(3)"],
        ["e", "decimal(5,2)"],
        ["f", "row(x integer, Y z varchar(2))"],
        ["g", "array(varchar(4))"],
        ["h", "timestamp(3) with time zone"],
    ]
    embedded.run(
        "insert into t values ('x', 'a', timestamp '2020-01-01 00:00:01', time '01:02:03.4', 1.5, row(1, 'b'), "
        "array['q'], timestamp '2020-01-01 00:00:00 America/New_York')"
    )
    assert embedded.rows("select * from t") == [
        [
            "x",
            "a  ",
            "2020-01-01 00:00:01",
            "01:02:03.400",
            "1.50",
            [1, "b"],
            ["q"],
            "2020-01-01 05:00:00.000 UTC",
        ]
    ]


def test_create_table_as_takes_the_types_of_the_query(embedded: Embedded) -> None:
    found = embedded.run("create table t as select cast('a' as varchar(7)) v, 1.50 d, current_date x, 1 n")
    assert (found.update_type, found.rows) == ("CREATE TABLE", [[1]])
    assert [row[1] for row in embedded.rows("describe t")] == [
        "varchar(7)",
        "decimal(3,2)",
        "date",
        "integer",
    ]


def test_rows_are_counted(embedded: Embedded) -> None:
    embedded.run("create table t (a integer, b varchar)")
    assert embedded.rows("insert into t values (1, 'x'), (2, 'y'), (3, 'z')") == [[3]]
    assert embedded.rows("update t set b = upper(b) || 'q' where a > 1") == [[2]]
    assert embedded.rows("delete from t where b = 'Yq'") == [[1]]
    assert embedded.rows("select * from t order by a") == [[1, "x"], [3, "Zq"]]
    assert embedded.rows(
        "merge into t using (values (1, 'new'), (9, 'nine')) s (k, v) on t.a = s.k "
        "when matched then update set b = s.v when not matched then insert (a, b) values (s.k, s.v)"
    ) == [[2]]
    assert embedded.rows("select * from t order by a") == [[1, "new"], [3, "Zq"], [9, "nine"]]
    assert embedded.run("truncate table t").update_type == "TRUNCATE TABLE"
    assert embedded.rows("select count(*) from t") == [[0]]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("create table t (a integer)", ("TABLE_ALREADY_EXISTS", 1, 1)),
        ("create table nowhere.t (a integer)", ("SCHEMA_NOT_FOUND", 1, 1)),
        ("create table x (a integer, a varchar)", ("DUPLICATE_COLUMN_NAME", 1, 1)),
        ("create table x as select 1", ("MISSING_COLUMN_NAME", 1, 1)),
        ("create table x as select null a", ("COLUMN_TYPE_UNKNOWN", 1, 1)),
        ("insert into t values ('x', 'y')", ("TYPE_MISMATCH", 1, 1)),
        ("insert into t (nope) values (1)", ("COLUMN_NOT_FOUND", 1, 1)),
        ("insert into nope values (1)", ("TABLE_NOT_FOUND", 1, 1)),
        ("drop table nope", ("TABLE_NOT_FOUND", 1, 1)),
        ("drop view t", ("TABLE_NOT_FOUND", 1, 1)),
        ("drop schema default", ("SCHEMA_NOT_EMPTY", 1, 1)),
        ("create schema default", ("SCHEMA_ALREADY_EXISTS", 1, 1)),
        ("show tables from nope.x", ("CATALOG_NOT_FOUND", 1, 1)),
        ("show tables from memory.x", ("SCHEMA_NOT_FOUND", 1, 1)),
        ("show columns from nope", ("TABLE_NOT_FOUND", 1, 1)),
        ("use nope.x", ("CATALOG_NOT_FOUND", None, None)),
        ("set session nope = 1", ("INVALID_SESSION_PROPERTY", 1, 13)),
        ("execute nope", ("NOT_FOUND", None, None)),
        ("execute immediate 'select ?'", ("INVALID_PARAMETER_USAGE", None, None)),
        ("commit", ("NOT_IN_TRANSACTION", None, None)),
        ("start transaction", ("INCOMPATIBLE_CLIENT", None, None)),
        ("grant select on t to user x", ("NOT_SUPPORTED", None, None)),
        ("vacuum t", ("SYNTAX_ERROR", 1, 1)),
        ("select 1; select 2", ("SYNTAX_ERROR", 1, 1)),
        ("select * from t for version as of 1", ("NOT_SUPPORTED", 1, 15)),
        ("select * from t match_recognize (pattern (a) define a as true)", ("NOT_SUPPORTED", 1, 8)),
        ("select " + "(" * 300 + "1" + ")" * 300, ("STACK_OVERFLOW", 1, 258)),
    ],
    ids=lambda value: value[:50] if isinstance(value, str) else "",
)
def test_refusals(embedded: Embedded, statement: str, expected: tuple[str, int | None, int | None]) -> None:
    embedded.run("create table t (a integer, b varchar)")
    assert embedded.error(statement) == expected


@pytest.mark.parametrize(
    "statement",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from '/etc/passwd'",
        "select read_text('/etc/passwd')",
        "select getenv('HOME')",
        "select * from duckdb_settings()",
        "select * from trino.main.x",
        "select * from system.main.duckdb_tables",
        "attach 'x.db' as x",
        "copy t to 'x.csv'",
        "install httpfs",
        "pragma version",
        "select nextval('x')",
        "select trino.main.double_text(1)",
    ],
)
def test_nothing_of_duckdb_itself_can_be_reached(embedded: Embedded, statement: str) -> None:
    with pytest.raises(TrinoFailure) as failed:
        embedded.run(statement)
    assert failed.value.failure.code.name in (
        "SYNTAX_ERROR", "NOT_SUPPORTED", "FUNCTION_NOT_FOUND", "TABLE_NOT_FOUND", "CATALOG_NOT_FOUND",
        "SCHEMA_NOT_FOUND", "COLUMN_NOT_FOUND",
    )  # fmt: skip


def test_quotes_do_not_leave_their_literal(embedded: Embedded) -> None:
    assert embedded.rows("""select 'it''s', 'a"b', '$$', 'x'' || ''y' as "odd ""name" """) == [
        ["it's", 'a"b', "$$", "x' || 'y"]
    ]
    embedded.run("""create table "we""ird" ("a'b" integer)""")
    assert embedded.rows("""select "a'b" from "we""ird" """) == []


def test_views_keep_their_text_and_types(embedded: Embedded) -> None:
    embedded.run("create table t (a integer, b varchar(5))")
    embedded.run("create view v as select b, count(*) n from t group by b")
    embedded.run("insert into t values (1, 'x'), (2, 'x')")
    assert embedded.run("select * from v").columns == [["b", "varchar(5)"], ["n", "bigint"]]
    assert embedded.rows("select * from v") == [["x", 2]]
    assert embedded.rows("show create view v")[0][0].endswith("AS\nselect b, count(*) n from t group by b")
    assert embedded.rows(
        "select table_name, table_type from information_schema.tables where table_schema = 'default'"
    ) == [
        ["t", "BASE TABLE"],
        ["v", "VIEW"],
    ]
    assert embedded.error("create view v as select 1 a")[0] == "TABLE_ALREADY_EXISTS"
    embedded.run("create or replace view v as select 1 a")
    assert embedded.rows("select * from v") == [[1]]


def test_comments(embedded: Embedded) -> None:
    embedded.run("create table t (a varchar(3) comment 'first', b integer) comment 'all'")
    embedded.run("comment on column t.b is 'second'")
    assert [row[3] for row in embedded.rows("show columns from t")] == ["first", "second"]
    assert embedded.rows("show columns from t")[0][1] == "varchar(3)"
    assert embedded.rows(
        "select comment from system.metadata.table_comments where catalog_name = 'memory' and table_name = 't'"
    ) == [["all"]]


def test_show_like_with_escape(embedded: Embedded) -> None:
    for name in ("a_b", "axb"):
        embedded.run(f"create table {name} (x integer)")
    assert embedded.rows("show tables like 'a_b'") == [["a_b"], ["axb"]]
    assert embedded.rows("show tables like 'a!_b' escape '!'") == [["a_b"]]
    assert embedded.rows("show tables in memory.default like 'ax%'") == [["axb"]]


def test_session_statements_answer_by_headers(embedded: Embedded) -> None:
    assert embedded.run("use energy.default").headers == (
        ("X-Trino-Set-Catalog", "energy"),
        ("X-Trino-Set-Schema", "default"),
    )
    assert embedded.run("set session query_max_run_time = '5m'").headers == (
        ("X-Trino-Set-Session", "query_max_run_time=5m"),
    )
    assert embedded.run("reset session query_max_run_time").headers == (
        ("X-Trino-Clear-Session", "query_max_run_time"),
    )
    assert embedded.run("set role all").headers == (("X-Trino-Set-Role", "system=ALL"),)
    assert embedded.run("set time zone 'America/New_York'").headers == (
        ("X-Trino-Set-Session", "time_zone_id=America%2FNew_York"),
    )
    assert embedded.rows("select current_timezone()", properties={"time_zone_id": "Asia/Tokyo"}) == [
        ["Asia/Tokyo"]
    ]


def test_prepared_statements_live_in_the_client(embedded: Embedded) -> None:
    found = embedded.run("prepare p from select ? + 1, ?")
    assert found.headers == (("X-Trino-Added-Prepare", "p=select+%3F+%2B+1%2C+%3F"),)
    prepared = {"p": "select ? + 1, ?"}
    assert embedded.rows("execute p using 41, 'x'", prepared=prepared) == [[42, "x"]]
    assert embedded.rows("describe input p", prepared=prepared) == [[0, "unknown"], [1, "unknown"]]
    assert embedded.run("deallocate prepare p", prepared=prepared).headers == (
        ("X-Trino-Deallocated-Prepare", "p"),
    )


def test_question_marks_count_in_the_order_of_the_text(embedded: Embedded) -> None:
    statement = "select ? from (values 1, 2) t(x) where x = ? order by ? limit ?"
    assert embedded.rows("execute p using 'first', 2, 1, 5", prepared={"p": statement}) == [["first"]]


def test_transactions(embedded: Embedded) -> None:
    ((_, transaction),) = embedded.run("start transaction", transaction="NONE").headers
    embedded.run("create table t (a integer)", transaction=transaction)
    embedded.run("insert into t values (1)", transaction=transaction)
    assert embedded.rows("select * from t", transaction=transaction) == [[1]]
    assert embedded.error("select * from t")[0] == "TABLE_NOT_FOUND"
    assert embedded.error("select 1", transaction=transaction, user="mallory")[0] == "UNKNOWN_TRANSACTION"
    assert embedded.run("rollback", transaction=transaction).headers == (
        ("X-Trino-Clear-Transaction-Id", "true"),
    )
    assert embedded.error("select * from t")[0] == "TABLE_NOT_FOUND"
    assert embedded.error("commit", transaction=transaction)[0] == "UNKNOWN_TRANSACTION"


def test_a_read_only_transaction_refuses_changes(embedded: Embedded) -> None:
    ((_, transaction),) = embedded.run("start transaction read only", transaction="NONE").headers
    assert embedded.error("create table t (a integer)", transaction=transaction)[0] == "READ_ONLY_VIOLATION"


def test_explain(embedded: Embedded) -> None:
    embedded.run("create table t (a integer)")
    assert embedded.run("explain (type validate) select a from t").columns == [["Valid", "boolean"]]
    assert embedded.error("explain (type validate) select b from t") == ("COLUMN_NOT_FOUND", 1, 32)
    plan = embedded.rows("explain (type io, format json) select count(*) from t")[0][0]
    assert '"table": "t"' in plan
    assert "memory:default:t" in embedded.rows("explain select a from t")[0][0]


def test_kill_query_names_the_query(embedded: Embedded) -> None:
    embedded.run("call system.runtime.kill_query('20200101_000000_00000_abcde', 'too slow')")
    assert embedded.killed == ["20200101_000000_00000_abcde"]


def test_information_schema_sees_everything(embedded: Embedded) -> None:
    embedded.run("create table t (a integer, b varchar(3))")
    assert embedded.rows(
        "select column_name, ordinal_position, is_nullable, data_type from information_schema.columns "
        "where table_name = 't' order by 2"
    ) == [["a", 1, "YES", "integer"], ["b", 2, "YES", "varchar(3)"]]
    assert embedded.rows("select schema_name from information_schema.schemata order by 1") == [
        ["default"],
        ["information_schema"],
    ]
    assert embedded.rows(
        "select table_name, column_name, data_type, column_size from system.jdbc.columns "
        "where table_cat = 'memory' and table_schem = 'default' order by ordinal_position"
    ) == [["t", "a", 4, 10], ["t", "b", 12, 3]]
    assert [row[0] for row in embedded.rows("select table_cat from system.jdbc.catalogs")] == [
        "energy",
        "memory",
        "system",
    ]


def test_a_client_without_parametric_datetime_sees_milliseconds(embedded: Embedded) -> None:
    found = embedded.run(
        "select timestamp '2020-01-01 00:00:00.123789', time '01:02:03'", capabilities=frozenset()
    )
    assert found.rows == [["2020-01-01 00:00:00.124", "01:02:03"]]


def test_other_catalogs_are_named_in_full(embedded: Embedded) -> None:
    embedded.run("create schema energy.market")
    embedded.run("create table energy.market.t as select 7 a")
    assert embedded.rows("select t.a, energy.market.t.a from energy.market.t") == [[7, 7]]
    assert embedded.rows("select a from t", catalog="energy", schema="market") == [[7]]
    assert embedded.error("select a from t", catalog=None, schema=None) == ("MISSING_SCHEMA_NAME", 1, 15)
