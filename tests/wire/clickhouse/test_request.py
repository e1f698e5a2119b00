"""Requests as values: no sockets."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.clickhouse.errors import WireError
from gateway.wire.clickhouse.multipart import ExternalTable, Form
from gateway.wire.clickhouse.options import ClickHouseOptions
from gateway.wire.clickhouse.query_string import encode_pairs, parse_query_string
from gateway.wire.clickhouse.request import ClickHouseRequest, parse_request
from gateway.wire.clickhouse.settings import NEVER, SettingsPolicy, UnknownSettings
from gateway.wire.http.message import Headers
from tests.real.addresses import ClickHouseAddress
from tests.wire.clickhouse.conftest import Rig

KEY = b"k" * 16
TEXT = st.text(max_size=20)


def parse(
    query: str = "", headers: list[tuple[str, str]] | None = None, method: str = "POST", **options: object
) -> ClickHouseRequest:
    return parse_request(method, query, Headers(headers or []), ClickHouseOptions(KEY, **options))  # type: ignore[arg-type]


@given(st.lists(st.tuples(TEXT.filter(bool), TEXT), max_size=8))
def test_pairs_survive_a_round_trip(pairs: list[tuple[str, str]]) -> None:
    assert parse_query_string(encode_pairs(pairs)) == pairs
    assert parse_query_string(urlencode(pairs)) == pairs


@given(st.binary(max_size=30))
def test_bytes_survive_a_round_trip(value: bytes) -> None:
    text = value.decode("utf-8", "surrogateescape")
    encoded = encode_pairs([("q", text)])
    assert encoded.isascii()
    assert parse_query_string(encoded) == [("q", text)]


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60))
def test_any_query_string_is_read_or_refused(query: str) -> None:
    with suppress(WireError):
        request = parse(query, settings=SettingsPolicy(unknown=UnknownSettings.DROP))
        assert not NEVER & {name for name, _ in request.settings}


@pytest.mark.parametrize("query", ["query=%zz", "a=%", "%1=1", "query=%e"])
def test_broken_escapes_are_refused(query: str) -> None:
    with pytest.raises(WireError, match="two hex digits"):
        parse(query)


def test_everything_has_its_place() -> None:
    request = parse(
        "query=SELECT+%7Bx%3AInt8%7D&param_x=1&max_threads=2&max_block_size=3&wait_end_of_query=1&buffer_size=10"
        "&session_id=s&session_timeout=60&session_check=0&compress=1&decompress=1&client_protocol_version=54405"
        "&quota_key=k&stacktrace=1&user=u&password=p",
        [("User-Agent", "a/1"), ("Accept-Encoding", "gzip"), ("Content-Encoding", "GZIP"), ("Origin", "x")],
    )
    assert request == ClickHouseRequest(
        method="POST",
        query="SELECT {x:Int8}",
        session_id="s",
        control=(
            ("buffer_size", "10"),
            ("client_protocol_version", "54405"),
            ("compress", "1"),
            ("session_check", "0"),
            ("session_timeout", "60"),
            ("wait_end_of_query", "1"),
        ),
        settings=(("max_block_size", "3"), ("max_threads", "2")),
        parameters=(("x", "1"),),
        dropped=("quota_key", "stacktrace"),
        user="u",
        password="p",
        native_body=True,
        native_answer=True,
        content_encoding="gzip",
        user_agent="a/1",
        accept_encoding="gzip",
        origin=True,
    )


@pytest.mark.parametrize(
    "query",
    [
        "compress=2",
        "session_check=yes",
        "buffer_size=-1",
        "session_timeout=1e3",
        "session_timeout=99999999999",
    ],
)
def test_steering_parameters_are_checked(query: str) -> None:
    with pytest.raises(WireError) as caught:
        parse(query)
    assert caught.value.code == 36


def test_one_parameter_alone_is_passed_on() -> None:
    assert parse("wait_end_of_query=1").control == (("wait_end_of_query", "1"),)


def test_who_forbids_writes() -> None:
    assert parse("", method="GET").read_only
    assert parse("", method="HEAD").read_only
    assert parse("readonly=2").read_only
    assert not parse("readonly=0").read_only
    assert not parse("").read_only


def test_a_table_of_a_form_is_described_and_other_names_are_settings() -> None:
    headers = Headers([("Content-Type", "multipart/form-data; boundary=b")])
    form = Form((("e_format", "CSV"),), (ExternalTable("e", b""),))
    query = "e_structure=a+Int8&date_time_output_format=iso"
    request = parse_request("POST", query, headers, ClickHouseOptions(KEY), form)
    assert request.external == (("e_structure", "a Int8"), ("e_format", "CSV"))
    assert request.settings == (("date_time_output_format", "iso"),)
    with pytest.raises(WireError):
        parse_request("POST", "other_structure=a", headers, ClickHouseOptions(KEY), form)
    with pytest.raises(WireError):
        parse("e_structure=a")


def test_trace_context_is_passed_only_when_it_is_one() -> None:
    good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert parse("", [("traceparent", good)]).trace == good
    assert parse("", [("traceparent", good + "x")]).trace is None


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        ClickHouseOptions(b"short")
    with pytest.raises(ValueError, match="prefix_bytes"):
        ClickHouseOptions(KEY, prefix_bytes=1000)


async def test_the_allow_list_names_real_settings(rig: Rig, clickhouse_server: ClickHouseAddress) -> None:
    names = (await rig.direct("SELECT name FROM system.settings FORMAT TSVRaw")).body.decode().split()
    policy = SettingsPolicy()
    accepted = [name for name in names if policy.accepts(name)]
    assert 500 < len(accepted) < len(names) - 400
    suspicious = ("s3", "azure", "hdfs", "url", "dialect", "zookeeper", "backup", "credential", "profile")
    reaching = [n for n in accepted if any(n.startswith(w) or f"_{w}_" in n for w in suspicious)]
    assert reaching == []
