"""INSERT through the wire into the real ClickHouse: statement and data in every arrangement that clients use."""

from __future__ import annotations

import gzip
import lzma
import zlib

import lz4.frame
import pytest
import zstandard

from gateway.core.decision import Decision, Plan
from gateway.core.principal import Principal
from gateway.core.statement import Statement
from gateway.wire.clickhouse.coding import native_block
from tests.wire.clickhouse.conftest import Rig, StartRig

ROWS = b'1,"one"\n2,"two"\n3,"th\xc3\xa9"\n'
EXPECTED = "1\tone\n2\ttwo\n3\tthé\n".encode()

COMPRESSORS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
    "lz4": lz4.frame.compress,
    "xz": lzma.compress,
}


@pytest.fixture
async def target(rig: Rig, table: str) -> str:
    await rig.direct(f"CREATE TABLE {table} (a Int32, b String) ENGINE = Memory")
    return table


async def rows_of(rig: Rig, table: str) -> bytes:
    return (await rig.direct(f"SELECT a, b FROM {table} ORDER BY a")).body


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("", b"INSERT INTO {t} FORMAT CSV\n" + ROWS),
        ("", b"INSERT INTO {t} FORMAT CSV " + ROWS),
        ("", b"INSERT INTO {t} (a, b) FORMAT CSV\r\n" + ROWS),
        ("", b"INSERT INTO {t} SETTINGS input_format_parallel_parsing = 0 FORMAT CSV\n" + ROWS),
        ("INSERT INTO {t} FORMAT CSV", ROWS),
        ("INSERT INTO {t} (a, b)", b"FORMAT CSV\n" + ROWS),
        ("INSERT INTO", b"{t} FORMAT CSV\n" + ROWS),
        ('INSERT INTO {t} FORMAT CSV 1,"one"', b'2,"two"\n3,"th\xc3\xa9"\n'),
        ("", "INSERT INTO {t} VALUES (1, 'one'), (2, 'two') , (3, 'thé')".encode()),
        ("INSERT INTO {t} VALUES", "(1, 'one'), (2, 'two'), (3, 'thé')".encode()),
        ("INSERT INTO {t} VALUES (1, 'one'),", "(2, 'two'), (3, 'thé')".encode()),
        ("", "/* a */ insert into {t} -- b\n values(1,'one')(2,'two')(3,'thé')".encode()),
        ("", b"INSERT INTO {t} SELECT number + 1, ['one', 'two', 'th\xc3\xa9'][number + 1] FROM numbers(3)"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_statement_and_data_in_any_place(
    rig: Rig, target: str, url: str, body: bytes, chunked: bool
) -> None:
    body = body.replace(b"{t}", target.encode())
    params = {"query": url.replace("{t}", target)} if url else {}
    chunks = [body[i : i + 7] for i in range(0, len(body), 7)] if chunked else None
    answer = await rig.ask(b"" if chunked else body, params=params, chunks=chunks)
    assert (answer.status, answer.body) == (200, b"")
    assert await rows_of(rig, target) == EXPECTED


@pytest.mark.parametrize("encoding", COMPRESSORS)
@pytest.mark.parametrize("in_url", [True, False])
async def test_compressed_bodies(rig: Rig, target: str, encoding: str, in_url: bool) -> None:
    statement = f"INSERT INTO {target} FORMAT CSV"
    body = ROWS if in_url else statement.encode() + b"\n" + ROWS
    answer = await rig.ask(
        COMPRESSORS[encoding](body),
        params={"query": statement} if in_url else {},
        headers={"Content-Encoding": encoding},
    )
    assert (answer.status, answer.body) == (200, b"")
    assert await rows_of(rig, target) == EXPECTED


@pytest.mark.parametrize("in_url", [True, False])
async def test_native_compressed_bodies(rig: Rig, target: str, in_url: bool) -> None:
    statement = f"INSERT INTO {target} FORMAT CSV"
    body = ROWS if in_url else statement.encode() + b"\n" + ROWS
    params = {"decompress": "1", **({"query": statement} if in_url else {})}
    answer = await rig.ask(native_block(body[:9]) + native_block(body[9:]), params=params)
    assert (answer.status, answer.body) == (200, b"")
    assert await rows_of(rig, target) == EXPECTED


@pytest.mark.parametrize(
    "format_name", ["Native", "RowBinary", "Parquet", "JSONEachRow", "TSV", "Arrow", "CSV"]
)
async def test_formats_and_sizes_beyond_the_prefix(rig: Rig, target: str, format_name: str) -> None:
    made = await rig.direct(
        f"SELECT toInt32(number) AS a, repeat(toString(number), 5) AS b FROM numbers(60000) FORMAT {format_name}"
    )
    assert len(made.body) > rig.options.prefix_bytes
    body = f"INSERT INTO {target} FORMAT {format_name}\n".encode() + made.body
    answer = await rig.ask(body)
    assert (answer.status, answer.body) == (200, b"")
    sums = await rig.direct(f"SELECT count(), sum(a), sum(length(b)) FROM {target}")
    assert sums.body.split(b"\t")[0] == b"60000"
    assert sums.body.split(b"\t")[1] == b"1799970000"


async def test_the_plan_is_told_the_statement_and_never_the_data(rig: Rig, target: str) -> None:
    await rig.ask(f"INSERT INTO {target} FORMAT CSV\n".encode() + ROWS)
    assert rig.edge.queries[-1].statement.text == f"INSERT INTO {target} FORMAT CSV\n"
    assert not rig.edge.queries[-1].statement.read_only


async def test_a_rewritten_insert_keeps_its_data(
    start_rig: StartRig, rig: Rig, target: str, table: str
) -> None:
    def elsewhere(statement: Statement, principal: Principal) -> Decision:
        plan = other.edge.pass_through(statement, principal)
        assert isinstance(plan, Plan)
        return Plan(
            f"INSERT INTO {target} (a, b) FORMAT CSV", plan.kind, plan.engine, "all", plan.backends, True
        )

    other = await start_rig(decide=elsewhere)
    for body, params in (
        (b"INSERT INTO nowhere FORMAT CSV\n" + ROWS, {}),
        (ROWS, {"query": "INSERT INTO nowhere FORMAT CSV"}),
    ):
        answer = await other.ask(body, params=params)
        assert (answer.status, answer.body) == (200, b"")
        assert await rows_of(rig, target) == EXPECTED
        await rig.direct(f"TRUNCATE TABLE {target}")


async def test_errors_in_data_come_back(rig: Rig, target: str) -> None:
    bad = f"INSERT INTO {target} FORMAT CSV\n".encode() + b"x,y\n"
    ours, theirs = await rig.ask(bad), await rig.direct(bad)
    assert ours.status == theirs.status == 400
    assert ours.header("X-ClickHouse-Exception-Code") == theirs.header("X-ClickHouse-Exception-Code")


async def test_broken_compression_is_refused(rig: Rig, target: str) -> None:
    for body, params, headers in (
        (b"not gzip", {}, {"Content-Encoding": "gzip"}),
        (gzip.compress(b"SELECT 1")[:-4], {}, {"Content-Encoding": "gzip"}),
        (b"x" * 100, {"decompress": "1"}, {}),
        (bytes([1]) + native_block(b"SELECT 1")[1:], {"decompress": "1"}, {}),
        (native_block(b"SELECT 1"), {"decompress": "1"}, {"Content-Encoding": "gzip"}),
        (b"SELECT 1", {}, {"Content-Encoding": "rot13"}),
    ):
        answer = await rig.ask(body, params=params, headers=headers)
        assert answer.status in (400, 501), answer
        assert b"Code: " in answer.body
