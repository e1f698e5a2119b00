"""Loaders and worker on the real engines: what exists is seen, what is new is found, what fails changes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from gateway.core.decision import EngineKind
from gateway.core.statement import RelationName
from gateway.engines.clickhouse import ClickHouseClient
from gateway.engines.contract import EngineError
from gateway.engines.trino import TrinoClient
from gateway.metadata.loaders import describe_relation, load_relations
from gateway.metadata.model import Catalogue, Described, RelationKind
from gateway.metadata.worker import MetadataWorker, Source
from gateway.wire.http.client import UpstreamPool
from tests.real.addresses import ClickHouseAddress, TrinoAddress

pytestmark = pytest.mark.xdist_group("metadata")


@pytest.fixture
async def trino(trino_server: TrinoAddress) -> AsyncIterator[TrinoClient]:
    pool = UpstreamPool(trino_server.host, trino_server.port)
    yield TrinoClient(pool, lambda: [("X-Trino-User", "gateway")])
    await pool.close()


@pytest.fixture
async def clickhouse(clickhouse_server: ClickHouseAddress) -> AsyncIterator[ClickHouseClient]:
    pool = UpstreamPool(clickhouse_server.host, clickhouse_server.port)
    headers = [
        ("X-ClickHouse-User", clickhouse_server.user),
        ("X-ClickHouse-Key", clickhouse_server.password),
    ]
    yield ClickHouseClient(pool, lambda: headers)
    await pool.close()


async def test_trino_health_knows_version_and_coordinator(trino: TrinoClient) -> None:
    health = await trino.health()
    assert (health.up, health.version) == (True, "476")
    query = await trino._json("POST", "/v1/statement", b"SELECT 1", 10)
    assert query["id"].endswith(f"_{health.coordinator}"), "ids end with the suffix that was learned"


async def test_trino_relations_columns_and_types(trino: TrinoClient) -> None:
    relations = await load_relations(trino, EngineKind.TRINO, timeout_s=60)
    nation = relations[RelationName("tpch", "tiny", "nation")]
    assert [(c.name, c.type) for c in nation.columns][:2] == [
        ("nationkey", "bigint"),
        ("name", "varchar(25)"),
    ]
    assert not any(name.schema == "information_schema" for name in relations)


async def test_trino_views_come_with_their_text(trino: TrinoClient) -> None:
    name = RelationName("memory", "default", "metadata_view")
    await trino.rows("CREATE OR REPLACE VIEW memory.default.metadata_view AS SELECT 1 AS one", timeout_s=30)
    try:
        view = await describe_relation(trino, EngineKind.TRINO, name, timeout_s=30)
        assert view is not None
        assert view.kind is RelationKind.VIEW
        assert view.view_text is not None
        assert "1" in view.view_text
    finally:
        await trino.rows("DROP VIEW memory.default.metadata_view", timeout_s=30)


@pytest.mark.parametrize(
    "name",
    [
        RelationName("nowhere", "tiny", "nation"),
        RelationName("tpch", "nowhere", "nation"),
        RelationName("tpch", "tiny", "it's \" gone"),
    ],
)
async def test_what_trino_does_not_have_is_none(trino: TrinoClient, name: RelationName) -> None:
    assert await describe_relation(trino, EngineKind.TRINO, name, timeout_s=30) is None


async def test_clickhouse_tables_views_engines_and_comments(clickhouse: ClickHouseClient) -> None:
    for statement in (
        "CREATE DATABASE IF NOT EXISTS meta",
        "CREATE TABLE IF NOT EXISTS meta.`odd'name\\\\` (a Nullable(Int64) COMMENT 'what') "
        "ENGINE = MergeTree ORDER BY tuple()",
        "CREATE VIEW IF NOT EXISTS meta.v AS SELECT a FROM meta.`odd'name\\\\`",
    ):
        await clickhouse.rows(statement, timeout_s=30)
    try:
        odd = await describe_relation(
            clickhouse, EngineKind.CLICKHOUSE, RelationName("", "meta", "odd'name\\"), timeout_s=30
        )
        assert odd is not None
        assert (odd.storage, odd.columns[0].type, odd.columns[0].comment) == (
            "MergeTree",
            "Nullable(Int64)",
            "what",
        )
        every = await load_relations(clickhouse, EngineKind.CLICKHOUSE, timeout_s=60)
        view = every[RelationName("", "meta", "v")]
        assert view.kind is RelationKind.VIEW
        assert "SELECT a" in (view.view_text or "")
    finally:
        await clickhouse.rows("DROP DATABASE meta", timeout_s=30)


async def test_an_engines_error_is_one_line_with_its_code(
    clickhouse: ClickHouseClient, trino: TrinoClient
) -> None:
    with pytest.raises(EngineError) as from_clickhouse:
        await clickhouse.rows("SELECT * FROM nowhere", timeout_s=10)
    assert from_clickhouse.value.code == "60"
    assert "\n" not in str(from_clickhouse.value)
    with pytest.raises(EngineError) as from_trino:
        await trino.rows("SELECT * FROM tpch.tiny.nowhere", timeout_s=30)
    assert from_trino.value.code == "TABLE_NOT_FOUND"


async def test_too_many_rows_and_too_slow_are_errors_and_end_the_query(trino: TrinoClient) -> None:
    with pytest.raises(EngineError, match="more than 10 rows"):
        await trino.rows("SELECT orderkey FROM tpch.tiny.lineitem", timeout_s=60, max_rows=10)
    with pytest.raises(EngineError, match="gave no result within"):
        await trino.rows(
            "SELECT count(*) /* given up */ FROM tpch.sf10.lineitem, tpch.tiny.nation", timeout_s=1
        )
    left = await trino.rows(
        "SELECT state FROM system.runtime.queries WHERE query LIKE '%/* given up */%' AND query NOT LIKE '%LIKE%'",
        timeout_s=30,
    )
    assert all(state == "FAILED" for (state,) in left), left


async def test_a_failed_refresh_keeps_what_was_known(clickhouse: ClickHouseClient) -> None:
    published: list[Catalogue] = []
    sources = [Source("ch", EngineKind.CLICKHOUSE, clickhouse)]
    worker = MetadataWorker(lambda: sources, published.append)
    await worker.refresh()
    broken = ClickHouseClient(UpstreamPool("127.0.0.1", 1), list)
    sources[:] = [Source("ch", EngineKind.CLICKHOUSE, broken)]
    await worker.refresh()
    one = RelationName("", "system", "one")
    assert published[1].find("ch", one) == published[0].find("ch", one) is not None
    assert published[1].groups["ch"].error
    assert published[0].version == published[1].version, "nothing changed: decisions stay cached"
    with pytest.raises(EngineError):
        await worker.describe(Described("ch", one))
    with pytest.raises(EngineError, match="no healthy engine"):
        await worker.describe(Described("elsewhere", one))
    with contextlib.suppress(EngineError):
        await broken.kill("x")
