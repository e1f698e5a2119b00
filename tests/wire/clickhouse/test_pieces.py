"""Small parts as values: ids, look-ups, forms, tails, placement."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.principal import Principal
from gateway.wire.clickhouse.errors import WireError
from gateway.wire.clickhouse.ids import Namespace, Namespaces
from gateway.wire.clickhouse.lookups import killed_ids, mentions_ids, translate
from gateway.wire.clickhouse.multipart import ExternalTable, build_form, parse_form
from gateway.wire.clickhouse.placement import pin_session, ranked
from gateway.wire.clickhouse.stream import TAIL_BYTES, Tail, exception_in, summary_of
from gateway.wire.http.client import UpstreamPool
from tests.wire.clickhouse.edge_double import DoubleBackend, DoubleBackends

NS = Namespace("0123456789abcdef")
P = NS.prefix


@given(st.text(max_size=50), st.text(max_size=50), st.text(max_size=30), st.text(max_size=30))
def test_namespaces_never_meet(anna: str, ben: str, one: str, other: str) -> None:
    spaces = Namespaces(b"k" * 16)
    mine = spaces.of(Principal(anna)).inside(one)
    assert spaces.of(Principal(anna)).outside(mine) == one
    if anna != ben:
        assert mine != spaces.of(Principal(ben)).inside(other)
        assert spaces.of(Principal(ben)).outside(mine) is None
    assert Namespaces(b"K" * 16).of(Principal(anna)).prefix != spaces.of(Principal(anna)).prefix


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("KILL QUERY WHERE query_id = 'a'", ["a"]),
        ("kill query where query_id='a' sync", ["a"]),
        ("KILL QUERY ON CLUSTER 'c' WHERE query_id == 'it''s' TEST FORMAT JSON;", ["it's"]),
        ("KILL QUERY ON CLUSTER c WHERE query_id IN ('a', 'b\\'c') ASYNC", ["a", "b'c"]),
        ("/* x */ KILL -- y\n QUERY WHERE `query_id` = 'a'", ["a"]),
        ("SELECT 'KILL QUERY WHERE 1'", None),
        ("KILL MUTATION WHERE database = 'd'", None),
        ("SELECT kill FROM query", None),
    ],
)
def test_what_a_kill_names(text: str, ids: list[str] | None) -> None:
    assert mentions_ids(text)
    assert killed_ids(text) == ids


@pytest.mark.parametrize(
    "text",
    [
        "KILL QUERY",
        "KILL QUERY WHERE 1",
        "KILL QUERY WHERE user = 'gateway'",
        "KILL QUERY WHERE query_id = 'a' OR 1",
        "KILL QUERY WHERE query_id = 'a' AND 1",
        "KILL QUERY WHERE NOT query_id = 'a'",
        "KILL QUERY WHERE query_id != 'a'",
        "KILL QUERY WHERE query_id = concat('a')",
        "KILL QUERY WHERE query_id = 'a' || 'b'",
        "KILL QUERY WHERE query_id IN (SELECT query_id FROM system.processes)",
        "KILL QUERY WHERE query_id IN ('a', query_id)",
        "KILL QUERY WHERE query_id IN ('a'",
        "KILL QUERY WHERE QUERY_ID = 'a'",
        "KILL QUERY WHERE query_id = 'a' SETTINGS x = 1",
        "CREATE TABLE t (a Int8) ENGINE = Null PARALLEL WITH KILL QUERY WHERE 1",
        "EXPLAIN KILL QUERY WHERE query_id = 'a'",
        "KILL QUERY WHERE query_id = {id:String}",
        "KILL QUERY WHERE query_id = 'a",
    ],
)
def test_other_kills_are_refused(text: str) -> None:
    with pytest.raises(WireError) as caught:
        killed_ids(text)
    assert caught.value.code == 497


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("KILL QUERY WHERE query_id = 'a'", f"KILL QUERY WHERE query_id = '{P}a'"),
        (
            "SELECT * FROM system.part_log WHERE query_id = 'a' AND query = 'a'",
            f"SELECT * FROM system.part_log WHERE query_id = '{P}a' AND query = 'a'",
        ),
        (
            "SELECT * FROM system.processes p WHERE p.initial_query_id != 'a'",
            f"SELECT * FROM system.processes p WHERE p.initial_query_id != '{P}a'",
        ),
        (
            "SELECT * FROM `system`.\"query_log\" FINAL WHERE 'a' = query_id OR 'b' = l.query_id",
            f"SELECT * FROM `system`.\"query_log\" FINAL WHERE '{P}a' = query_id OR '{P}b' = l.query_id",
        ),
        (
            "SELECT 1 FROM remote('h', system.query_log) WHERE query_id NOT IN ('a','b') AND x IN ('c')",
            f"SELECT 1 FROM remote('h', system.query_log) WHERE query_id NOT IN ('{P}a','{P}b') AND x IN ('c')",
        ),
        (
            "SELECT system.query_log.query_id FROM system.query_log WHERE query_id LIKE 'a%'",
            f"SELECT system.query_log.query_id FROM system.query_log WHERE query_id LIKE '{P}a%'",
        ),
        ("SELECT * FROM own WHERE query_id = 'a'", "SELECT * FROM own WHERE query_id = 'a'"),
        ("SELECT 'query_id = ''a'''", "SELECT 'query_id = ''a'''"),
    ],
)
def test_translation(text: str, expected: str) -> None:
    assert translate(text, NS, None) == expected


@pytest.mark.parametrize(
    ("text", "alias"),
    [
        ("SELECT query_id FROM @ WHERE query_id = 'a'", " AS query_log"),
        ("SELECT query_id FROM @", " AS query_log"),
        ("SELECT * FROM (SELECT query_id FROM @) AS x, own", " AS query_log"),
        ("select l.query_id from @ as l where l.query_id in (select 'a')", ""),
        ("SELECT query_log.query_id FROM @;", " AS query_log"),
    ],
)
def test_whole_logs_are_shown_without_the_tag(text: str, alias: str) -> None:
    def untagged(name: str) -> str:
        return f"if(startsWith({name}, '{P}'), substring({name}, 18), {name}) AS {name}"

    shown = f"(SELECT * REPLACE ({untagged('query_id')}, {untagged('initial_query_id')}) FROM system.query_log){alias}"
    assert translate(text.replace("@", "system.query_log"), NS, None) == text.replace("@", shown)
    assert translate(text.replace("@", "`system` . query_log"), NS, None) == text.replace("@", shown)


def test_parameters_that_are_ids() -> None:
    parameters = (("id", "a"), ("odd", "a\\tb"))
    text = "SELECT {id:String} FROM system.query_log FINAL WHERE query_id = {id:String} AND user = {u:String}"
    expected = (
        f"SELECT {{id:String}} FROM system.query_log FINAL WHERE query_id = '{P}a' AND user = {{u:String}}"
    )
    assert translate(text, NS, None, parameters) == expected
    kill = "KILL QUERY WHERE query_id = {id:String} SYNC"
    assert killed_ids(kill, parameters) == ["a"]
    assert translate(kill, NS, None, parameters) == f"KILL QUERY WHERE query_id = '{P}a' SYNC"
    with pytest.raises(WireError):
        killed_ids("KILL QUERY WHERE query_id = {odd:String}", parameters)


def test_translation_inside_the_system_database() -> None:
    text = "SELECT * FROM query_log WHERE query_id = 'a'"
    assert translate(text, NS, "system") == text.replace("'a'", f"'{P}a'")
    assert translate(text, NS, "default") == text


@given(st.text(alphabet="KILQUERYkilquery_d='\"()`,;/*-# \nWHINO$ab0\\", max_size=80))
def test_any_text_is_translated_or_refused(text: str) -> None:
    with suppress(WireError):
        if killed_ids(text) is not None:
            assert P in translate(text, NS, None)


TABLE_NAME = st.from_regex(r"[a-z_][a-z0-9_]{0,10}", fullmatch=True)


@given(st.binary(max_size=100), st.dictionaries(TABLE_NAME, st.binary(max_size=100), max_size=4))
def test_forms_survive_a_round_trip(query: bytes, tables: dict[str, bytes]) -> None:
    made = tuple(ExternalTable(name, data) for name, data in tables.items())
    kind, body = build_form(query, made)
    form = parse_form(body, kind.partition("boundary=")[2], external_data=True)
    assert form.tables == made
    assert form.fields == (("query", query.decode("utf-8", "surrogateescape")),)


@given(st.binary(max_size=200))
def test_broken_forms_are_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        parse_form(body, "b0undary", external_data=True)


def test_forms_with_too_many_parts_or_no_names() -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    with pytest.raises(WireError, match="1000 parts"):
        parse_form(part * 1100 + b"--b--\r\n", "b", external_data=True)
    with pytest.raises(WireError, match="no name"):
        parse_form(b"--b\r\nContent-Type: text/plain\r\n\r\n1\r\n--b--\r\n", "b", external_data=True)


@given(st.lists(st.binary(max_size=TAIL_BYTES * 2), max_size=12))
def test_a_tail_is_the_end_and_is_bounded(pieces: list[bytes]) -> None:
    reported: list[int] = []
    tail = Tail(reported.append)
    for piece in pieces:
        tail.feed(piece)
    whole = b"".join(pieces)
    assert whole.endswith(tail.bytes())
    assert len(tail.bytes()) >= min(len(whole), len(pieces[-1]) if pieces else 0, TAIL_BYTES)
    assert len(tail.bytes()) <= TAIL_BYTES


def test_exceptions_at_the_end_of_a_body() -> None:
    block = (
        b"1\t2\nCode: 1. DB::Exception: data that looks like one\r\n__exception__\r\nabcdefghijklmnop\r\n"
        b"Code: 395. DB::Exception: late. (X)\n30 abcdefghijklmnop\r\n__exception__\r\n"
    )
    found = exception_in(block, "abcdefghijklmnop")
    assert found is not None
    assert found[0] == 395
    assert exception_in(b"Code: 60. DB::Exception: old server", None) == (
        60,
        "Code: 60. DB::Exception: old server",
    )
    assert exception_in(b"rows", "abcdefghijklmnop") is None
    assert exception_in(b"", None) is None


@pytest.mark.parametrize("value", [None, "", "{", "[]", "1", '{"a":"x"}', '{"a":null}'])
def test_summaries_that_are_none(value: str | None) -> None:
    assert summary_of(value) == {}


def test_sessions_stay_where_they_are() -> None:
    names = tuple(f"b{i}" for i in range(5))
    sessions = [f"s{i}" for i in range(2000)]
    before = {s: ranked(s, names)[0] for s in sessions}
    assert all(300 < sum(1 for b in before.values() if b == name) < 500 for name in names)
    after = {s: ranked(s, names[:-1])[0] for s in sessions}
    assert all(after[s] == before[s] for s in sessions if before[s] != "b4")


async def test_a_session_goes_to_the_next_healthy_backend() -> None:
    backends = [DoubleBackend(f"b{i}", "", UpstreamPool("127.0.0.1", 1)) for i in range(3)]
    names = tuple(b.name for b in backends)
    live = DoubleBackends(backends)
    order = ranked("s", names)
    assert pin_session("s", names, live) == frozenset(names) - {order[0]}
    live.get(order[0]).healthy = False  # type: ignore[union-attr]
    assert pin_session("s", names, live) == frozenset(names) - {order[1]}
    assert pin_session("s", names[:1], live) == frozenset()
