"""Headers in, a statement and credentials out; and what goes upstream instead."""

import base64

import pytest

from gateway.wire.http.message import Headers, Peer
from gateway.wire.trino.request import (
    BadRequest,
    ClientRequest,
    Forwarded,
    RequestRules,
    read_request,
    upstream_headers,
)

PEER = Peer("10.1.2.3", 999)
ENGINE = [("X-Trino-User", "alice"), ("Authorization", "Basic Z2F0ZXdheQ==")]


def read(*headers: tuple[str, str], rules: RequestRules | None = None) -> ClientRequest:
    return read_request("SELECT 1", Headers(headers), rules or RequestRules())


def sent(request: ClientRequest, **options: object) -> Headers:
    return Headers(upstream_headers(request, ENGINE, **options))  # type: ignore[arg-type]


def basic(name: str, password: str) -> tuple[str, str]:
    return "Authorization", "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_everything_that_shapes_a_statement_is_in_it() -> None:
    request = read(
        ("x-trino-catalog", "tpch"),
        ("X-Trino-Schema", "tiny"),
        ("X-Trino-Path", "a.b"),
        ("X-Trino-Time-Zone", "Europe/Vienna"),
        ("X-Trino-Language", "de-AT"),
        ("X-Trino-Source", "bi"),
        ("X-Trino-Client-Tags", "a,b"),
        ("X-Trino-Client-Tags", "c, a"),
        ("X-Trino-Session", "b=2"),
        ("X-Trino-Session", "lake.a=1"),
        ("X-Trino-Role", "system=ROLE%7Badmin%7D"),
        ("X-Trino-Prepared-Statement", "p=SELECT+%3F"),
        ("X-Trino-Client-Capabilities", "PARAMETRIC_DATETIME,PATH"),
        ("X-Trino-Transaction-Id", "NONE"),
    )
    statement = request.statement
    assert (statement.catalog, statement.schema, statement.path) == ("tpch", "tiny", "a.b")
    assert (statement.time_zone, statement.language, statement.source) == ("Europe/Vienna", "de-AT", "bi")
    assert statement.client_tags == ("a", "b", "c")
    assert statement.properties == (("b", "2"), ("lake.a", "1"))
    assert statement.roles == (("system", "ROLE{admin}"),)
    assert statement.prepared == (("p", "SELECT ?"),)
    assert statement.capabilities == {"PARAMETRIC_DATETIME", "PATH"}
    assert statement.transaction is None
    assert not request.in_transaction


@pytest.mark.parametrize(
    ("header", "value", "words"),
    [
        ("X-Presto-User", "alice", "speaks Trino"),
        ("X-Trino-Schema", "tiny", "X-Trino-Catalog is not"),
        ("X-Trino-Session", "a.b.c=1", "catalog.property"),
        ("X-Trino-Session", ".b=1", "catalog.property"),
        ("X-Trino-Role", "system=admin", "ROLE"),
        ("X-Trino-Client-Capabilities", "PATH,<x>", "capability"),
        ("X-Trino-Extra-Credential", "token=secret", "stop at the gateway"),
        ("X-Trino-Resource-Estimate", "DISK=1MB", "EXECUTION_TIME"),
        ("X-Trino-Source", "x" * 1025, "longer than 1024"),
        ("X-Trino-Prepared-Statement", "p", "name=value"),
    ],
)
def test_refusals_say_what_to_do(header: str, value: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        read((header, value))
    assert "secret" not in str(caught.value)


def test_a_single_header_given_twice_is_refused_unless_both_agree() -> None:
    with pytest.raises(BadRequest, match="X-Trino-Catalog is given 2 times"):
        read(("X-Trino-Catalog", "a"), ("X-Trino-Catalog", "b"))
    assert read(("X-Trino-Catalog", "a"), ("X-Trino-Catalog", "a")).statement.catalog == "a"


def test_what_goes_upstream_is_built_not_copied() -> None:
    request = read(
        basic("alice", "hunter2"),
        ("Cookie", "session=1"),
        ("X-Trino-User", "root"),
        ("X-Trino-Original-User", "root"),
        ("X-Trino-Query-Data-Encoding", "json+zstd"),
        ("X-Trino-Routing-Group", "other"),
        ("X-Forwarded-Host", "evil"),
        ("X-Forwarded-For", "1.1.1.1"),
        ("Connection", "X-Trino-User"),
        ("X-Trino-Anything-New", "x"),
        ("traceparent", "00-" + "1" * 32 + "-" + "2" * 16 + "-01"),
        ("tracestate", "a=b"),
        ("User-Agent", "client/1"),
        ("X-Trino-Client-Info", "info"),
        ("X-Trino-Trace-Token", "trace"),
    )
    names = sorted(name.lower() for name, _ in sent(request).items())
    assert names == [
        "authorization",
        "content-type",
        "traceparent",
        "tracestate",
        "user-agent",
        "x-trino-client-info",
        "x-trino-trace-token",
        "x-trino-user",
    ]
    assert sent(request).get_all("X-Trino-User") == ["alice"]
    assert sent(request).get_all("Authorization") == ["Basic Z2F0ZXdheQ=="]


def test_session_values_cannot_start_a_header() -> None:
    request = read(("X-Trino-Session", "a=x%0D%0AX-Trino-User%3A%20root%00"))
    assert request.statement.properties == (("a", "x\r\nX-Trino-User: root\0"),)
    assert sent(request).get_all("X-Trino-Session") == ["a=x%0D%0AX-Trino-User%3A+root%00"]


def test_the_gateways_settings_win_over_the_clients() -> None:
    request = read(("X-Trino-Session", "query_max_scan_physical_bytes=9TB,b=1"))
    headers = sent(request, settings=(("query_max_scan_physical_bytes", "1GB"), ("c", "2")))
    assert headers.get_all("X-Trino-Session") == ["b=1", "query_max_scan_physical_bytes=1GB", "c=2"]


def test_a_rewritten_plan_takes_no_prepared_statement_along() -> None:
    request = read(("X-Trino-Prepared-Statement", "p=SELECT+secret"))
    assert sent(request).get_all("X-Trino-Prepared-Statement") == ["p=SELECT+secret"]
    assert sent(request, prepared_statements=()).get_all("X-Trino-Prepared-Statement") == []


def test_transactions_go_upstream_under_the_engines_id() -> None:
    assert sent(read(("X-Trino-Transaction-Id", "NONE"))).get("X-Trino-Transaction-Id") == "NONE"
    request = read(("X-Trino-Transaction-Id", "abc.def.ghi"))
    assert request.in_transaction
    assert request.statement.transaction == "abc.def.ghi"
    assert sent(request, transaction="abc").get_all("X-Trino-Transaction-Id") == ["abc"]
    assert "X-Trino-Transaction-Id" not in sent(read())


def test_extra_credentials_pass_only_by_name() -> None:
    rules = RequestRules(extra_credentials=frozenset({"s3"}))
    request = read(("X-Trino-Extra-Credential", "s3=key"), rules=rules)
    assert sent(request).get("X-Trino-Extra-Credential") == "s3=key"
    assert "key" not in repr(request)
    with pytest.raises(BadRequest):
        read(("X-Trino-Extra-Credential", "s3=key,other=x"), rules=rules)


def test_a_broken_trace_context_is_dropped() -> None:
    assert "traceparent" not in sent(read(("traceparent", "junk"), ("tracestate", "a=b")))
    assert "tracestate" not in sent(read(("traceparent", "junk"), ("tracestate", "a=b")))


def test_backends_that_process_forwarded_headers_learn_how_we_are_reached() -> None:
    headers = sent(read(), forwarded=Forwarded("https", "gw.example", 443, "10.1.2.3"))
    assert headers.get("X-Forwarded-Host") == "gw.example"
    assert headers.get("X-Forwarded-Proto") == "https"
    assert headers.get("X-Forwarded-Port") == "443"
    assert headers.get("X-Forwarded-For") == "10.1.2.3"
