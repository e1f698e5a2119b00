"""Byte for byte: what the real ClickHouse answers directly, and what the wire hands on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wire.clickhouse.conftest import Answer, Client, Rig

STATEMENTS = [
    block.strip()
    for block in Path(__file__).with_name("statements.sql").read_text("utf-8").split("\n\n")
    if block.strip()
]

FORMATS = [
    "TabSeparated",
    "TabSeparatedRaw",
    "TabSeparatedWithNames",
    "TabSeparatedWithNamesAndTypes",
    "CSV",
    "CSVWithNames",
    "CSVWithNamesAndTypes",
    "CustomSeparated",
    "Values",
    "SQLInsert",
    "Vertical",
    "Pretty",
    "PrettyCompactMonoBlock",
    "PrettySpaceNoEscapes",
    "Markdown",
    "XML",
    "JSON",
    "JSONStrings",
    "JSONColumns",
    "JSONCompact",
    "JSONCompactEachRow",
    "JSONCompactEachRowWithNamesAndTypes",
    "JSONEachRow",
    "JSONStringsEachRow",
    "JSONObjectEachRow",
    "BSONEachRow",
    "MsgPack",
    "Native",
    "RowBinary",
    "RowBinaryWithNames",
    "RowBinaryWithNamesAndTypes",
    "Parquet",
    "Arrow",
    "ArrowStream",
    "ORC",
    "Null",
]

SAME_EACH_TIME = {"output_format_write_statistics": "0"}
# These differ between two runs of the same statement, direct or not; framing is each hop's own.
VOLATILE = {
    "date",
    "connection",
    "keep-alive",
    "transfer-encoding",
    "content-length",
    "x-clickhouse-query-id",
    "x-clickhouse-summary",
    "x-clickhouse-exception-tag",
    "x-gateway-query-id",
}


def comparable(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    headers = {n.lower(): v for n, v in answer.headers if n.lower() not in VOLATILE}
    return answer.status, headers, answer.body


async def assert_same(
    rig: Rig, sql: str, params: dict[str, str], headers: dict[str, str] | None = None
) -> Answer:
    async def run(client: Client) -> Answer:
        return await client(sql, params=params, headers=headers)

    ours, theirs = await run(rig.ask), await run(rig.direct)
    assert comparable(ours) == comparable(theirs), (sql, params, headers)
    assert ours.header("X-ClickHouse-Query-Id")
    return ours


@pytest.mark.parametrize("format_name", FORMATS)
async def test_every_statement_in_every_format(rig: Rig, format_name: str) -> None:
    for sql in STATEMENTS:
        if "sumState" in sql and format_name.startswith("Arrow"):
            continue  # its padding bytes differ from run to run, direct as well
        await assert_same(rig, sql, {"default_format": format_name, **SAME_EACH_TIME})


def test_enough_pairs_are_compared() -> None:
    assert len(FORMATS) * len(STATEMENTS) >= 300


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "lz4", "xz", "snappy", "gzip, br"])
async def test_http_compression_passes_untouched(rig: Rig, encoding: str) -> None:
    sql = "SELECT number, 'some text' FROM numbers(10000)"
    answer = await assert_same(
        rig, sql, {"enable_http_compression": "1", "default_format": "Native"}, {"Accept-Encoding": encoding}
    )
    assert answer.header("Content-Encoding") is not None


@pytest.mark.parametrize("method", ["LZ4", "ZSTD", "NONE"])
async def test_native_compression_passes_untouched(rig: Rig, method: str) -> None:
    await assert_same(
        rig, "SELECT number FROM numbers(1000)", {"compress": "1", "network_compression_method": method}
    )


async def test_errors_are_the_engines_own_words(rig: Rig) -> None:
    for sql in (
        "SELEC 1",
        "SELECT * FROM no_such_table",
        "SELECT no_such_function(1)",
        "SELECT throwIf(number = 3, 'three') FROM numbers(10)",
        "SELECT 1 FORMAT NoSuchFormat",
        "SELECT 1; SELECT 2",
        "SELECT 1 INTO OUTFILE 'x'",
        "",
    ):
        answer = await assert_same(rig, sql, {})
        assert answer.status >= 400
        assert answer.header("X-ClickHouse-Exception-Code") is not None


async def test_encoded_errors(rig: Rig) -> None:
    # Both encodings at once is not compared: ClickHouse 26.7 itself then answers with an empty or a doubly
    # encoded body, differently from run to run.
    await assert_same(rig, "SELEC 1", {"compress": "1"})
    await assert_same(rig, "SELEC 1", {"enable_http_compression": "1"}, {"Accept-Encoding": "gzip"})


async def test_get_head_and_http_10(rig: Rig) -> None:
    for method in ("GET", "HEAD"):
        for query in ("SELECT 7", "CREATE TABLE never (a Int8) ENGINE = Memory", "SELECT 'é' AS `ü`", "x"):
            ours = await rig.ask(method=method, params={"query": query})
            theirs = await rig.direct(method=method, params={"query": query})
            assert comparable(ours) == comparable(theirs), (method, query)
    old = b"GET /?query=SELECT+number+FROM+numbers(3) HTTP/1.0\r\n\r\n"
    assert (await rig.ask.raw(old)).body == b"0\n1\n2\n"


async def test_parameters_and_settings_are_passed_on(rig: Rig) -> None:
    await assert_same(
        rig,
        "SELECT {n:Int32} + 1, {s:String}, {t:Identifier} FROM (SELECT 3 AS x)",
        {"param_n": "41", "param_s": "a+b c%&=;é'\"\\t", "param_t": "x"},
    )
    await assert_same(
        rig, "SELECT 1.0::Float64, now() > '2020-01-01'", {"output_format_json_quote_64bit_integers": "1"}
    )
    seen = await rig.ask("SELECT getSetting('max_threads')", params={"max_threads": "3"})
    assert seen.body == b"3\n"


async def test_invalid_utf8_is_passed_as_bytes(rig: Rig) -> None:
    for sql in (b"SELECT '\xff\xfe' AS x", b"SELECT hex('\xc3\x28')", b"SELECT \xff"):
        ours, theirs = await rig.ask(sql), await rig.direct(sql)
        assert comparable(ours) == comparable(theirs)
    assert (await rig.ask(target="/?query=SELECT+hex('%FF')", method="GET")).body == b"FF\n"


async def test_long_statements(rig: Rig) -> None:
    numbers = ",".join(str(n) for n in range(30_000))
    sql = f"SELECT length([{numbers}])"
    ours = await rig.ask(sql, params={"max_query_size": "1000000"})
    assert (ours.status, ours.body) == (200, b"30000\n")
    long_url = f"SELECT length('{'x' * 100_000}')"
    ours = await rig.ask(method="GET", params={"query": long_url})
    assert (ours.status, ours.body) == (200, b"100000\n")
    create = f"CREATE TABLE never_{'x' * 20_000} (a Int8) ENGINE = Memory"
    refused = await rig.ask(method="GET", params={"query": create})
    assert refused.header("X-ClickHouse-Exception-Code") in ("164", "36"), refused.body[:200]
    assert refused.header("X-ClickHouse-Exception-Code") == "164"
