from __future__ import annotations

import asyncio

import pytest

from gateway.store.key_values import Changed, KeyValues
from gateway.store.store import Store
from gateway.store.work import Jobs, Leases


async def test_a_lease_has_one_holder_and_its_epoch_grows_with_every_change(store: Store) -> None:
    leases = Leases(store.database)
    mine = await leases.acquire("compact", "a", 30)
    assert mine is not None
    assert await leases.acquire("compact", "b", 30) is None
    renewed = await leases.acquire("compact", "a", 30)
    assert renewed is not None
    assert renewed.epoch == mine.epoch
    assert renewed.expires >= mine.expires
    await leases.release(renewed)
    other = await leases.acquire("compact", "b", 30)
    assert other is not None
    assert other.epoch == mine.epoch + 1
    await leases.release(renewed)
    assert await leases.acquire("compact", "c", 30) is None, "releasing a lost lease does nothing"


async def test_an_expired_lease_passes_on_and_the_old_holder_notices(store: Store) -> None:
    leases = Leases(store.database)
    mine = await leases.acquire("compact", "a", 0.05)
    assert mine is not None
    async with store.database.write() as connection:
        assert await leases.check_in(connection, mine)
    await asyncio.sleep(0.1)
    assert await leases.acquire("compact", "b", 30) is not None
    async with store.database.write() as connection:
        assert not await leases.check_in(connection, mine)


async def test_of_many_who_ask_at_once_one_gets_the_lease(store: Store) -> None:
    leases = Leases(store.database)
    got = await asyncio.gather(*(leases.acquire("compact", f"h{i}", 30) for i in range(10)))
    assert sum(lease is not None for lease in got) == 1


async def test_a_job_runs_once_even_if_queued_twice_and_claimed_by_many(store: Store) -> None:
    jobs = Jobs(store.database)
    assert await jobs.enqueue("j1", "sweep", {"table": "t"})
    assert not await jobs.enqueue("j1", "sweep", {"table": "t"})
    claims = await asyncio.gather(*(jobs.claim(["sweep"], f"w{i}", 30) for i in range(8)))
    claimed = [job for job in claims if job is not None]
    assert len(claimed) == 1
    assert claimed[0].payload == {"table": "t"}
    holder = f"w{claims.index(claimed[0])}"
    assert not await jobs.complete(claimed[0], "somebody else")
    assert await jobs.complete(claimed[0], holder, {"files": 3})
    assert await jobs.state("j1") == ("done", {"files": 3}, None)
    assert not await jobs.enqueue("j1", "sweep", {})


async def test_an_abandoned_job_is_taken_over_and_its_first_worker_cannot_end_it(store: Store) -> None:
    jobs = Jobs(store.database)
    await jobs.enqueue("j1", "sweep", {}, max_attempts=2)
    first = await jobs.claim(["sweep"], "a", 0.05)
    assert first is not None
    await asyncio.sleep(0.1)
    second = await jobs.claim(["sweep"], "b", 0.05)
    assert second is not None
    assert second.attempt == 2
    assert not await jobs.complete(first, "a")
    assert not await jobs.renew(first, "a", 30)
    await asyncio.sleep(0.1)
    assert await jobs.claim(["sweep"], "c", 30) is None
    state = await jobs.state("j1")
    assert state is not None
    assert state[0] == "failed"


async def test_a_failed_job_is_tried_again_while_attempts_are_left(store: Store) -> None:
    jobs = Jobs(store.database)
    await jobs.enqueue("j1", "sweep", {}, max_attempts=2)
    for attempt in (1, 2):
        job = await jobs.claim(["sweep"], "a", 30)
        assert job is not None
        assert job.attempt == attempt
        assert await jobs.fail(job, "a", "it broke", retry_s=0)
    assert await jobs.claim(["sweep"], "a", 30) is None
    assert await jobs.state("j1") == ("failed", None, "it broke")
    assert await jobs.claim(["other"], "a", 30) is None


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
