from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from gateway.store.key_values import Changed, KeyValues
from gateway.store.store import Store
from gateway.store.tables import jobs, leases
from gateway.store.work import Jobs, Leases


async def let_time_pass(store: Store) -> None:
    """A minute, at once: the deadlines move instead of the clock."""
    async with store.database.write() as connection:
        await connection.execute(sa.update(leases).values(expires_us=leases.c.expires_us - 60_000_000))
        await connection.execute(sa.update(jobs).values(lease_us=jobs.c.lease_us - 60_000_000))


async def test_a_lease_has_one_holder_and_its_epoch_grows_with_every_change(store: Store) -> None:
    held = Leases(store.database)
    mine = await held.acquire("compact", "a", 30)
    assert mine is not None
    assert await held.acquire("compact", "b", 30) is None
    renewed = await held.acquire("compact", "a", 30)
    assert renewed is not None
    assert renewed.epoch == mine.epoch
    assert renewed.expires >= mine.expires
    await held.release(renewed)
    other = await held.acquire("compact", "b", 30)
    assert other is not None
    assert other.epoch == mine.epoch + 1
    await held.release(renewed)
    assert await held.acquire("compact", "c", 30) is None, "releasing a lost lease does nothing"


async def test_an_expired_lease_passes_on_and_the_old_holder_notices(store: Store) -> None:
    held = Leases(store.database)
    mine = await held.acquire("compact", "a", 30)
    assert mine is not None
    async with store.database.write() as connection:
        assert await held.check_in(connection, mine)
    await let_time_pass(store)
    assert await held.acquire("compact", "b", 30) is not None
    async with store.database.write() as connection:
        assert not await held.check_in(connection, mine)


async def test_of_many_who_ask_at_once_one_gets_the_lease(store: Store) -> None:
    held = Leases(store.database)
    got = await asyncio.gather(*(held.acquire("compact", f"h{i}", 30) for i in range(10)))
    assert sum(lease is not None for lease in got) == 1


async def test_a_job_runs_once_even_if_queued_twice_and_claimed_by_many(store: Store) -> None:
    queue = Jobs(store.database)
    assert await queue.enqueue("j1", "sweep", {"table": "t"})
    assert not await queue.enqueue("j1", "sweep", {"table": "t"})
    claims = await asyncio.gather(*(queue.claim(["sweep"], f"w{i}", 30) for i in range(8)))
    claimed = [job for job in claims if job is not None]
    assert len(claimed) == 1
    assert claimed[0].payload == {"table": "t"}
    holder = f"w{claims.index(claimed[0])}"
    assert not await queue.complete(claimed[0], "somebody else")
    assert await queue.complete(claimed[0], holder, {"files": 3})
    assert await queue.state("j1") == ("done", {"files": 3}, None)
    assert not await queue.enqueue("j1", "sweep", {})


async def test_an_abandoned_job_is_taken_over_and_its_first_worker_cannot_end_it(store: Store) -> None:
    queue = Jobs(store.database)
    await queue.enqueue("j1", "sweep", {}, max_attempts=2)
    first = await queue.claim(["sweep"], "a", 30)
    assert first is not None
    assert await queue.renew(first, "a", 30)
    await let_time_pass(store)
    second = await queue.claim(["sweep"], "b", 30)
    assert second is not None
    assert second.attempt == 2
    assert not await queue.complete(first, "a")
    assert not await queue.renew(first, "a", 30)
    await let_time_pass(store)
    assert await queue.claim(["sweep"], "c", 30) is None
    state = await queue.state("j1")
    assert state is not None
    assert state[0] == "failed"


async def test_a_failed_job_is_tried_again_while_attempts_are_left(store: Store) -> None:
    queue = Jobs(store.database)
    await queue.enqueue("j1", "sweep", {}, max_attempts=2)
    for attempt in (1, 2):
        job = await queue.claim(["sweep"], "a", 30)
        assert job is not None
        assert job.attempt == attempt
        assert await queue.fail(job, "a", "it broke", retry_s=0)
    assert await queue.claim(["sweep"], "a", 30) is None
    assert await queue.state("j1") == ("failed", None, "it broke")
    assert await queue.claim(["other"], "a", 30) is None


async def test_a_value_is_replaced_only_by_who_has_read_it(store: Store) -> None:
    values = KeyValues(store.database)
    assert await values.get("rule/off") is None
    assert await values.put("rule/off", None, expected=0) == 1
    with pytest.raises(Changed):
        await values.put("rule/off", True, expected=0)
    assert await values.put("rule/off", {"by": "sampling"}, expected=1) == 2
    with pytest.raises(Changed):
        await values.put("rule/off", False, expected=1)
    with pytest.raises(Changed):
        await values.put("never set", 1, expected=3)
    assert await values.get("never set") is None
    found = await values.get("rule/off")
    assert found is not None
    assert (found.value, found.version) == ({"by": "sampling"}, 2)
    assert await values.put("rule/off", 5) == 3
