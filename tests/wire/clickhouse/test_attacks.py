"""What a hostile client tries over HTTP, against the real engine. Each of these is refused or has no effect."""

from __future__ import annotations

import gzip
import uuid

import pytest
import zstandard

from gateway.wire.clickhouse.settings import SettingsPolicy, UnknownSettings
from tests.wire.clickhouse.conftest import Answer, Rig, StartRig


def refused(answer: Answer, code: int, status: int) -> bool:
    return (
        answer.status == status
        and answer.header("X-ClickHouse-Exception-Code") == str(code)
        and answer.body.startswith(f"Code: {code}. DB::Exception: ".encode())
    )


def multipart(
    parts: list[tuple[str, str | None, bytes]], boundary: str = "b0"
) -> tuple[bytes, dict[str, str]]:
    body = b""
    for name, filename, content in parts:
        extra = f'; filename="{filename}"' if filename else ""
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode()
        body += content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), {
        "Content-Type": f"multipart/form-data; boundary={boundary}"
    }


@pytest.mark.parametrize(
    "name",
    ["query", "database", "default_format", "query_id", "session_id", "user", "max_threads", "param_x"],
)
async def test_a_parameter_given_twice_is_refused(rig: Rig, name: str) -> None:
    for target in (
        f"/?query=SELECT+1&{name}=1&{name}=2" if name != "query" else "/?query=SELECT+1&query=SELECT+2",
        f"/?query=SELECT+1&{name}=1&%{ord(name[0]):02x}{name[1:]}=2",
    ):
        answer = await rig.ask(method="GET", target=target)
        assert refused(answer, 36, 400), answer
    assert rig.edge.queries == []


async def test_a_form_cannot_add_to_the_urls_query(rig: Rig) -> None:
    for parts in (
        [("query", None, b", 2")],
        [("query", None, b"SELECT 1"), ("query", None, b", 2")],
    ):
        body, headers = multipart(parts)  # type: ignore[arg-type]
        answer = await rig.ask(body, params={"query": "SELECT 1"}, headers=headers)
        assert refused(answer, 36, 400)
    body, headers = multipart([("query", None, b"SELECT {x:Int8} + 1"), ("param_x", None, b"41")])
    assert (await rig.ask(body, headers=headers)).body == b"42\n"
    body, headers = multipart([("query", None, b"SELECT 1"), ("user", None, b"root")])
    assert refused(await rig.ask(body, headers=headers), 516, 403)
    body, headers = multipart([("query", None, b"SELECT 1"), ("dialect", None, b"kusto")])
    assert refused(await rig.ask(body, headers=headers), 115, 404)


async def test_external_tables(rig: Rig, start_rig: StartRig) -> None:
    parts = [("ext", "x.tsv", b"1\ta\n2\tb\n"), ("_other", "y", b"7\n")]
    body, headers = multipart(parts)  # type: ignore[arg-type]
    params = {
        "query": "SELECT e.id, e.name, n FROM ext AS e, _other ORDER BY id",
        "ext_structure": "id Int8, name String",
        "_other_structure": "n Int8",
        "_other_format": "TSV",
    }
    ours = await rig.ask(body, params=params, headers=headers)
    theirs = await rig.direct(body, params=params, headers=headers)
    assert ours.body == theirs.body == b"1\ta\t7\n2\tb\t7\n"
    assert rig.edge.queries[-1].statement.capabilities == {"external:ext", "external:_other"}
    strict = await start_rig(external_data=False)
    assert refused(await strict.ask(body, params=params, headers=headers), 48, 501)
    for name in ("a.b", 'a";x="', "a b", "ext\r\nX"):
        body, headers = multipart([(name, "f", b"1\n")])
        answer = await rig.ask(body, params={"query": "SELECT 1"}, headers=headers)
        assert answer.status == 400, name
    twice, headers = multipart([("e", "f", b"1\n"), ("e", "f", b"2\n")])
    assert refused(await rig.ask(twice, params={"query": "SELECT 1"}, headers=headers), 36, 400)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dialect", "kusto"),
        ("profile", "default"),
        ("additional_table_filters", "{'t':'1'}"),
        ("additional_result_filter", "1"),
        ("implicit_table_at_top_level", "secrets"),
        ("framing_output_format", "x"),
        ("http_response_headers", "{'X':'Y'}"),
        ("allow_experimental_eval_table_function", "1"),
        ("SQL_tenant", "2"),
        ("no_such_setting", "1"),
        ("Query", "SELECT 2"),
        ("format_schema", "/etc/passwd"),
        ("use_query_cache", "1"),
    ],
)
async def test_settings_by_allow_list(rig: Rig, start_rig: StartRig, name: str, value: str) -> None:
    answer = await rig.ask("SELECT 1", params={name: value})
    assert refused(answer, 115, 404)
    assert name.encode() in answer.body
    assert rig.edge.queries == []
    dropping = await start_rig(settings=SettingsPolicy(unknown=UnknownSettings.DROP))
    answer = await dropping.ask("SELECT 1", params={name: value})
    assert answer.body == b"1\n"
    assert answer.header("X-Gateway-Dropped-Settings") == name


async def test_never_means_never(start_rig: StartRig) -> None:
    open_rig = await start_rig(
        settings=SettingsPolicy(allow=frozenset({"dialect"}), unknown=UnknownSettings.PASS)
    )
    for name in ("dialect", "profile", "additional_table_filters", "allow_experimental_new_dialect"):
        assert refused(await open_rig.ask("SELECT 1", params={name: "1"}), 115, 404), name
    passed = await open_rig.ask("SELECT 1", params={"no_such_setting": "1"})
    assert b"Unknown setting" in passed.body  # the engine's own answer


async def test_readonly_can_only_tighten(rig: Rig, table: str) -> None:
    create = f"CREATE TABLE {table} (a Int8) ENGINE = Memory"
    for params in ({"readonly": "1"}, {"readonly": "2"}):
        assert (await rig.ask(create, params=params)).header("X-ClickHouse-Exception-Code") == "164"
    for method in ("GET", "HEAD"):
        for readonly in ({}, {"readonly": "0"}):
            answer = await rig.ask(method=method, params={"query": create, **readonly})
            assert answer.header("X-ClickHouse-Exception-Code") == "164"
        with_body = await rig.ask(create, method="GET")
        assert with_body.status != 200 or with_body.body == b"Ok.\n"
    with_body = await rig.ask(create[6:], method="GET", params={"query": "CREATE"})
    assert with_body.header("X-ClickHouse-Exception-Code") == "164"
    assert refused(await rig.ask("SELECT 1", params={"readonly": "x"}), 36, 400)
    assert rig.edge.queries[-1].statement.read_only
    assert (await rig.direct(f"EXISTS TABLE {table}")).body == b"0\n"


async def test_roles_are_not_taken_from_the_url(rig: Rig) -> None:
    assert refused(await rig.ask("SELECT 1", params=[("role", "admin"), ("role", "root")]), 497, 500)


async def test_headers_beat_parameters(rig: Rig) -> None:
    answer = await rig.ask(
        "SELECT currentDatabase()",
        params={"database": "default", "default_format": "CSV"},
        headers={"X-ClickHouse-Database": "system", "X-ClickHouse-Format": "JSONEachRow"},
    )
    assert answer.body == b'{"currentDatabase()":"system"}\n'
    assert rig.edge.queries[-1].statement.schema == "system"
    two = b"X-ClickHouse-Database: a\r\nX-ClickHouse-Database: b\r\n"
    twice = b"POST / HTTP/1.1\r\nHost: x\r\n" + two + b"Content-Length: 8\r\n\r\nSELECT 1"
    assert (await rig.ask.raw(twice)).status == 400


async def test_clients_credentials_stop_here(rig: Rig) -> None:
    anna = {"X-ClickHouse-User": "anna", "X-ClickHouse-Key": "anna-pw", "X-ClickHouse-Quota": "q"}
    answer = await rig.ask("SELECT currentUser()", headers=anna)
    assert answer.body == b"gateway\n"
    assert answer.header("X-Gateway-Dropped-Settings") == "X-ClickHouse-Quota"
    in_url = await rig.ask("SELECT currentUser()", params={"user": "anna", "password": "anna-pw"})
    assert in_url.body == b"gateway\n"
    seen = await rig.ask("SELECT count() FROM system.processes WHERE query LIKE '%anna-pw%'", headers=anna)
    assert seen.body.strip() == b"1"  # itself, nothing else
    for headers, params in (
        ({**anna, "Authorization": "Basic YW5uYTphbm5hLXB3"}, {}),
        ({"Authorization": "Basic YW5uYTphbm5hLXB3"}, {"user": "gateway", "password": "dev"}),
        (anna, {"user": "gateway"}),
        ({"X-ClickHouse-User": "anna", "X-ClickHouse-SSL-Certificate-Auth": "on"}, {}),
        ({"X-ClickHouse-User": "anna"}, {}),
        ({"X-ClickHouse-User": "gateway", "X-ClickHouse-Key": "dev"}, {}),
        ({"Authorization": "Negotiate abc"}, {}),
    ):
        assert refused(await rig.ask("SELECT 1", headers=headers, params=params), 516, 403), (headers, params)
    challenge = await rig.ask("SELECT 1", headers={"X-ClickHouse-User": "default", "X-ClickHouse-Key": "x"})
    assert refused(challenge, 194, 401)
    assert challenge.header("WWW-Authenticate") == 'Basic realm="ClickHouse server HTTP API"'


@pytest.mark.parametrize("evil", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "\r\n\r\n<html>"])
async def test_line_ends_in_anything(rig: Rig, evil: str) -> None:
    for params in (
        {"query_id": evil},
        {"session_id": evil},
        {"database": evil},
        {"default_format": evil},
        {evil: "1"},
        {"param_x": evil, "max_threads": evil},
    ):
        answer = await rig.ask("SELECT 1", params=params)
        assert answer.status >= 400, params
        assert answer.header("X-Evil") is None
    harmless = await rig.ask(
        "SELECT {x:String} FORMAT JSONEachRow", params={"param_x": evil.replace("\0", "")}
    )
    assert harmless.header("X-Evil") is None


async def test_curly_quotes_and_odd_minus_reach_decide_as_they_are(rig: Rig) -> None:
    text = "SELECT 1 AS “email”, ‘a’, 2 − 1"
    await rig.ask(text)
    assert rig.edge.queries[-1].statement.text == text


async def test_compressed_bombs_are_bounded(rig: Rig) -> None:
    spaces = b"SELECT 1" + b" " * 40_000_000
    for encoding, body in (("gzip", gzip.compress(spaces, 1)), ("zstd", zstandard.compress(spaces))):
        answer = await rig.ask(body, headers={"Content-Encoding": encoding})
        assert refused(answer, 62, 400), answer
        assert b"larger than the limit of 1000000 bytes" in answer.body
    body, headers = multipart([("query", None, b"SELECT 1")])
    headers["Content-Encoding"] = "gzip"
    form = await rig.ask(gzip.compress(body + spaces, 1), headers=headers)
    assert refused(form, 36, 400)


async def test_too_long_statements(rig: Rig) -> None:
    for sql in (b"SELECT '" + b"x" * 1_100_000 + b"'", b"-- " + b"y" * 1_100_000):
        assert refused(await rig.ask(sql), 62, 400)
    head = b"INSERT INTO t (" + b"a," * 40_000
    assert refused(await rig.ask(head + b"b) FORMAT CSV\n1"), 62, 400)


async def test_only_these_paths_and_methods(rig: Rig) -> None:
    for path in ("/play", "/dashboard", "/binary", "/merges", "/metrics", "/js/x.js", "//", "/ping/../x"):
        answer = await rig.ask(method="GET", path=path)
        assert answer.status == 404
        assert answer.body.startswith(f"There is no handle {path}\n".encode())
    for method in ("PUT", "DELETE", "PATCH", "TRACE"):
        assert (await rig.ask(method=method, params={"query": "SELECT 1"})).status in (405, 501)
    assert (await rig.ask(method="GET", path="/ping")).body == b"Ok.\n"
    assert (await rig.ask(method="GET")).body == b"Ok.\n"
    assert (await rig.ask(method="GET", path="/replicas_status")).body == b"Ok.\n"
    options = await rig.ask(method="OPTIONS", headers={"Origin": "http://x"})
    assert (options.status, options.body) == (204, b"")
    cors = await rig.ask("SELECT 1", params={"add_http_cors_header": "1"}, headers={"Origin": "http://x"})
    assert cors.header("Access-Control-Allow-Origin") == "*"


async def test_expect_continue_and_missing_length(rig: Rig) -> None:
    fields = b"Expect: 100-continue\r\nContent-Length: 8\r\nConnection: close\r\n"
    asked = b"POST / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\nSELECT 1"
    assert (await rig.ask.raw(asked)).body == b"1\n"
    unframed = b"POST /?query=SELECT+1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert refused(await rig.ask.raw(unframed), 381, 411)


async def test_what_clients_send_to_trace_or_identify_is_our_own_upstream(rig: Rig) -> None:
    mine = uuid.uuid4().hex
    agent = f"product/{mine} (lv:py)"
    await rig.ask("SELECT 1", headers={"User-Agent": agent, "X-Forwarded-For": "6.6.6.6", "Referer": "r"})
    await rig.direct("SYSTEM FLUSH LOGS query_log")
    sql = (
        f"SELECT DISTINCT forwarded_for, http_referer FROM system.query_log WHERE http_user_agent = '{agent}'"
    )
    assert (await rig.direct(sql)).body == b"127.0.0.1\t\n"


async def test_a_session_cannot_change_the_language(rig: Rig, table: str) -> None:
    await rig.direct(f"CREATE TABLE {table} (secret Int8) ENGINE = Memory")
    params = {"session_id": uuid.uuid4().hex}
    for change in (
        "SET allow_experimental_kusto_dialect = 1, dialect = 'kusto'",
        f"SET implicit_table_at_top_level = '{table}'",
    ):
        assert (await rig.ask(change, params=params)).status == 200
    for more in ({}, {"readonly": "1"}, {"readonly": "2", "max_threads": "2"}):
        assert (await rig.ask("SELECT 1 + 1", params={**params, **more})).body == b"2\n"
    assert (await rig.ask(method="GET", params={**params, "query": "SELECT 1 + 1"})).body == b"2\n"
    assert (await rig.ask("SELECT secret", params=params)).header("X-ClickHouse-Exception-Code") == "47"
