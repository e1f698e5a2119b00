from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from gateway.core.tasks import Supervisor
from gateway.store.history import HistoryLimits, HistoryWriter
from gateway.store.records import QueryRecord
from gateway.store.store import Store
from gateway.store.vault import StatementText, TextPart, Vault

KEY = b"k" * 32


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    owner = Supervisor("test")
    yield owner
    await owner.close()


def query(i: int, **known: object) -> QueryRecord:
    return QueryRecord(id=f"q{i:05d}", time=1000.0 + i, principal="alice", **known)  # type: ignore[arg-type]


async def count(store: Store) -> int:
    async with store.database.read() as connection:
        return int((await connection.execute(sa.text("SELECT count(*) FROM queries"))).scalar_one())


async def test_offered_records_and_texts_reach_the_store(store: Store, supervisor: Supervisor) -> None:
    writer = HistoryWriter(store, Vault(store.database, [KEY]), limits=HistoryLimits(interval_s=0.01))
    writer.start(supervisor)
    for i in range(1000):
        assert writer.offer(query(i))
        assert writer.offer(query(i, outcome="succeeded"))
    assert writer.offer(StatementText("q00000", TextPart.ORIGINAL, "select 1", 1000.0))
    await writer.close()
    assert await count(store) == 1000
    found = await store.query("q00999")
    assert found is not None
    assert found.outcome == "succeeded"
    async with store.database.read() as connection:
        assert (await connection.execute(sa.text("SELECT count(*) FROM statements"))).scalar_one() == 1


async def test_a_full_queue_drops_at_once_and_counts(store: Store) -> None:
    lost: list[int] = []
    limits = HistoryLimits(items=10, bytes=100)
    writer = HistoryWriter(store, Vault(store.database, [KEY]), limits=limits, on_lost=lost.append)
    assert [writer.offer(query(i)) for i in range(12)] == [True] * 10 + [False] * 2
    assert sum(lost) == 2
    small = HistoryWriter(store, Vault(store.database, [KEY]), limits=limits, on_lost=lost.append)
    assert small.offer(StatementText("q", TextPart.ORIGINAL, "x" * 90, 0.0))
    assert not small.offer(StatementText("q", TextPart.ORIGINAL, "x" * 90, 0.0))


async def test_offer_costs_microseconds(store: Store) -> None:
    writer = HistoryWriter(store, Vault(store.database, [KEY]))
    records = [query(i) for i in range(5000)]
    started = time.thread_time()
    for item in records:
        writer.offer(item)
    assert (time.thread_time() - started) / len(records) < 20e-6


async def test_a_store_that_is_away_is_waited_for(
    store: Store, supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    async with store.database.write() as connection:
        await connection.execute(sa.text("ALTER TABLE queries RENAME TO gone"))
    writer = HistoryWriter(
        store, Vault(store.database, [KEY]), limits=HistoryLimits(interval_s=0.01, retry_s=0.02)
    )
    writer.start(supervisor)
    writer.offer(query(1))
    await asyncio.sleep(0.2)
    assert writer.waiting == 1
    assert sum("does not take records" in record.message for record in caplog.records) == 1
    assert "alice" not in caplog.text, "a driver's error must not carry the row into the log"
    async with store.database.write() as connection:
        await connection.execute(sa.text("ALTER TABLE gone RENAME TO queries"))
    await writer.close()
    assert await count(store) == 1


async def test_closing_while_the_store_is_away_is_bounded_and_counted(
    store: Store, supervisor: Supervisor
) -> None:
    async with store.database.write() as connection:
        await connection.execute(sa.text("DROP TABLE queries"))
    lost: list[int] = []
    limits = HistoryLimits(interval_s=0.01, retry_s=0.02, close_timeout_s=1.0)
    writer = HistoryWriter(store, Vault(store.database, [KEY]), limits=limits, on_lost=lost.append)
    writer.start(supervisor)
    for i in range(3):
        writer.offer(query(i))
    started = time.monotonic()
    await writer.close()
    assert time.monotonic() - started < 10
    assert sum(lost) == 3
