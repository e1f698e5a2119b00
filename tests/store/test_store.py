from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.store import database, migrations
from gateway.store.database import Database, StoreUrlError, async_url
from gateway.store.history import STORE_ERRORS
from gateway.store.migrate import ADVISORY_LOCK, HEAD, SchemaError
from gateway.store.records import QueryRecord, Row, merge_row
from gateway.store.store import BadCursor, QueryFilter, Retention, Store
from gateway.store.tables import metadata, schema_info
from gateway.store.vault import StatementText, TextPart, Vault
from tests.store.conftest import postgres_database

NOW = time.time()


def record(query_id: str, age_s: float = 0.0, **known: object) -> QueryRecord:
    base: dict[str, object] = {"principal": "alice", "wire": "trino", "kind": "query", "decision": "plan"}
    return QueryRecord(id=query_id, time=NOW - age_s, **{**base, **known})  # type: ignore[arg-type]


async def test_a_query_comes_back_as_it_was_saved(store: Store) -> None:
    saved = QueryRecord(
        id="q1",
        time=1_700_000_000.25,
        process="host/proxy-0",
        principal="åsa",
        impersonator="svc",
        groups=("analysts", "traders"),
        wire="clickhouse",
        source="dbt",
        peer="10.0.0.1:1",
        kind="query",
        fingerprint="f" * 16,
        emitted="e" * 16,
        relations=("lake.curated.lmp",),
        engine="clickhouse",
        backend_group="default",
        backend="ch-a",
        engine_query_id="abc",
        decision="plan",
        outcome="succeeded",
        rows=2**40,
        bytes_out=2**41,
        bytes_scanned=2**42,
        queued_ms=0.5,
        decide_ms=0.25,
        first_byte_ms=3.5,
        total_ms=12.75,
        trail=({"stage": "parse", "effect": "query"}, {"stage": "route", "effect": "chose", "rule": "r"}),
    )
    await store.save_queries([saved])
    assert await store.query("q1") == saved
    assert await store.query("abc") == saved, "found by the engine's id as well"
    assert await store.query("nothing") is None


async def test_parts_of_a_query_merge_in_any_order_and_any_number_of_times(store: Store) -> None:
    decided = record("q1", 10, groups=("g",), trail=({"stage": "parse", "effect": "query"},))
    finished = QueryRecord(id="q1", time=NOW - 5, outcome="succeeded", rows=3)
    rows: dict[str, Row] = {}
    merge_row(rows, decided.as_row())
    merge_row(rows, finished.as_row())
    for order in ([decided, finished], [finished, decided], [finished, decided, finished, decided]):
        for part in order:
            await store.save_queries([part])
        assert await store.query("q1") == QueryRecord.from_row(rows["q1"])
        await store.prune(Retention(history_days=0))
        assert await store.query("q1") is None


async def test_unknown_never_replaces_a_known_outcome(store: Store) -> None:
    unknown = QueryRecord(id="q1", time=NOW, outcome="unknown")
    await store.save_queries([unknown])
    await store.save_queries([QueryRecord(id="q1", time=NOW, outcome="failed")])
    await store.save_queries([unknown])
    found = await store.query("q1")
    assert found is not None
    assert found.outcome == "failed"


async def test_hostile_text_is_stored_bounded_and_harmless(store: Store) -> None:
    await store.save_queries(
        [
            record(
                "q1", engine_query_id="x" * 9000, source="a\0b\ud800c", groups=("g\0",), principal="é" * 9000
            )
        ]
    )
    found = await store.query("q1")
    assert found is not None
    assert len(found.engine_query_id or "") == 500
    assert found.source == "a�b?c"
    assert found.groups == ("g�",)
    assert found.principal is not None
    assert len(found.principal) == 500


async def test_pages_are_newest_first_and_complete_even_for_equal_times(store: Store) -> None:
    same = [record(f"same{i:02d}") for i in range(10)]
    await store.save_queries([*same, record("older", 60), record("newer", -60)])
    seen, cursor = [], None
    while True:
        page = await store.recent_queries(limit=5, cursor=cursor)
        seen += [query.id for query in page.queries]
        cursor = page.cursor
        if cursor is None:
            break
        await store.save_queries([record(f"arrived{len(seen)}", -120)])
    assert seen == ["newer", *sorted((query.id for query in same), reverse=True), "older"]


@pytest.mark.parametrize("cursor", ["", "x", "1", "1.", "-1.a", "9" * 30 + ".a", "1.\0"])
async def test_a_made_up_cursor_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(BadCursor):
        await store.recent_queries(cursor=cursor)


@pytest.mark.parametrize(
    ("matching", "expected"),
    [
        (QueryFilter(), ["a", "b", "c"]),
        (QueryFilter(principal="bob"), ["b"]),
        (QueryFilter(wire="clickhouse", outcome="failed"), ["c"]),
        (QueryFilter(since=NOW - 15), ["a", "b"]),
        (QueryFilter(until=NOW - 15), ["c"]),
        (QueryFilter(principal="' OR 1=1 --"), []),
    ],
)
async def test_filters(store: Store, matching: QueryFilter, expected: list[str]) -> None:
    await store.save_queries(
        [
            record("a"),
            record("b", 10, principal="bob"),
            record("c", 20, wire="clickhouse", outcome="failed"),
        ]
    )
    page = await store.recent_queries(matching)
    assert [query.id for query in page.queries] == expected


async def test_prune_removes_what_is_old_and_only_that(store: Store) -> None:
    day = 86_400
    await store.save_queries([record(f"old{i}", 91 * day) for i in range(1100)] + [record("new", 89 * day)])
    vault = Vault(store.database, [b"k" * 32])
    await vault.save(
        [
            StatementText("old0", TextPart.ORIGINAL, "select 1", NOW - 31 * day),
            StatementText("new", TextPart.ORIGINAL, "select 1", NOW - 29 * day),
        ]
    )
    pruned = await store.prune()
    assert (pruned.queries, pruned.statements) == (1100, 1)
    assert [query.id for query in (await store.recent_queries()).queries] == ["new"]
    assert (await store.prune(Retention(None, None, None, None))).queries == 0


# -- schema ------------------------------------------------------------------------------------------------


async def test_migrations_make_exactly_the_tables_that_the_code_uses(store: Store) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with store.database.read() as connection:
        assert await connection.run_sync(differences) == []
    versions = Path(migrations.__file__).parent / "versions"
    assert store.revision == HEAD == max(path.name[1:5] for path in versions.glob("r*.py"))


def open_in_new_process(url: str, revision: Connection) -> None:
    async def opened() -> str:
        store = await Store.open(url)
        await store.close()
        return store.revision

    revision.send(asyncio.run(opened()))


async def test_many_processes_may_start_on_an_empty_store_at_once(empty_url: str) -> None:
    fork = multiprocessing.get_context("fork")  # A fresh interpreter each would take most of the time.
    pipes = [fork.Pipe(duplex=False) for _ in range(4)]
    started = [fork.Process(target=open_in_new_process, args=(empty_url, end)) for _, end in pipes]
    for process in started:
        process.start()
    try:
        for receiver, _ in pipes:
            assert await asyncio.to_thread(receiver.poll, 60)
            assert receiver.recv() == HEAD
    finally:
        for process in started:
            process.kill()
            process.join()


async def pretend_revision(url: str, revision: str, oldest_reader: int) -> None:
    store = await Store.open(url)
    async with store.database.write() as connection:
        await connection.execute(
            sa.text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision}
        )
        await connection.execute(sa.update(schema_info).values(oldest_reader=oldest_reader))
    await store.close()


async def test_whoever_comes_while_another_migrates_waits(postgres_server: Any) -> None:
    async with postgres_database(postgres_server.dsn) as url:
        other = Database(url)
        async with other.write() as connection:
            await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
            waiting = asyncio.get_running_loop().create_task(Store.open(url))
            await asyncio.sleep(0.5)
            assert not waiting.done()
        await other.close()
        await (await asyncio.wait_for(waiting, 30)).close()


async def test_a_postgresql_that_hangs_is_given_up_and_used_again_when_it_is_back(
    postgres_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "COMMAND_TIMEOUT_S", 0.5)
    async with postgres_database(postgres_server.dsn) as url:
        store = await Store.open(url)
        async with store.database.read() as connection:
            pid = (await connection.execute(sa.text("SELECT pg_backend_pid()"))).scalar_one()
        os.kill(pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(STORE_ERRORS):
                await store.save_queries([record("q1")])
            assert time.monotonic() - started < 10
        finally:
            os.kill(pid, signal.SIGCONT)
        await store.save_queries([record("q1")])
        await store.close()


async def test_a_postgresql_that_drops_the_connection_is_used_again_at_once(postgres_server: Any) -> None:
    async with postgres_database(postgres_server.dsn) as url:
        store = await Store.open(url)
        await store.ping()
        async with Database(url).read() as connection:
            await connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        await store.save_queries([record("q1")])
        await store.close()


async def test_a_neighbouring_newer_schema_is_used_as_it_is(empty_url: str) -> None:
    await pretend_revision(empty_url, "0999", oldest_reader=1)
    store = await Store.open(empty_url)
    await store.save_queries([record("q1")])
    assert store.revision == "0999"
    await store.close()


async def test_a_schema_too_new_and_one_not_ours_are_refused_with_what_to_do(empty_url: str) -> None:
    await pretend_revision(empty_url, "0999", oldest_reader=998)
    with pytest.raises(SchemaError, match="upgrade this gateway"):
        await Store.open(empty_url)
    await pretend_revision_raw(empty_url, "deadbeef")
    with pytest.raises(SchemaError, match=r"check `store\.url`"):
        await Store.open(empty_url)


async def pretend_revision_raw(url: str, revision: str) -> None:
    engine = sa.ext.asyncio.create_async_engine(async_url(url))
    async with engine.begin() as connection:
        await connection.execute(sa.text(f"UPDATE alembic_version SET version_num = '{revision}'"))
    await engine.dispose()


async def test_an_empty_store_is_not_migrated_by_who_may_not(empty_url: str) -> None:
    with pytest.raises(SchemaError, match="may migrate"):
        await Store.open(empty_url, migrate=False)


async def test_somebody_elses_database_is_left_alone(empty_url: str) -> None:
    if empty_url.startswith("sqlite"):
        Path(empty_url.removeprefix("sqlite:///")).parent.mkdir(parents=True)
    engine = sa.ext.asyncio.create_async_engine(async_url(empty_url))
    async with engine.begin() as connection:
        await connection.execute(sa.text("CREATE TABLE customers (id INTEGER)"))
    await engine.dispose()
    with pytest.raises(SchemaError, match="customers"):
        await Store.open(empty_url)


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://h/d", "sqlite://", "sqlite:///:memory:"])
def test_an_unusable_url_is_explained_without_showing_it(url: str) -> None:
    with pytest.raises(StoreUrlError, match="expected sqlite:///"):
        async_url(url)


def test_a_password_in_a_bad_url_is_not_repeated() -> None:
    with pytest.raises(StoreUrlError) as failed:
        async_url("mysql://user:hunter2@host/db")
    assert "hunter2" not in str(failed.value)
