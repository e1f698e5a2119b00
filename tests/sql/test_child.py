"""The killable child: real processes, real kills."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.sql.child import KillableWorker, Killed, WorkFailed

HERE = "tests.sql.child_work"


@pytest_asyncio.fixture
async def worker() -> AsyncIterator[KillableWorker]:
    child = KillableWorker(memory_bytes=1 << 30)
    await child.start()
    yield child
    pids = child.pids
    await child.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_runs_and_goes_on_after_failures(worker: KillableWorker) -> None:
    assert await worker.run(f"{HERE}:reverse", b"abc", 5) == b"cba"
    first = worker.pids[0]
    with pytest.raises(WorkFailed, match="ValueError") as failure:
        await worker.run(f"{HERE}:fail", b"secret", 5)
    assert "secret" not in str(failure.value)
    assert await worker.run(f"{HERE}:shout", b"x" * 200_000, 5) == b"X" * 200_000
    assert worker.pids[0] == first


async def test_endless_work_is_killed_in_time_and_the_spare_takes_over(worker: KillableWorker) -> None:
    spare = worker.pids[1]
    start = time.monotonic()
    with pytest.raises(Killed):
        await worker.run(f"{HERE}:spin", b"", 0.5)
    assert time.monotonic() - start < 3
    assert worker.pids[0] == spare
    assert await worker.run(f"{HERE}:reverse", b"ab", 5) == b"ba"


async def test_the_kernel_bounds_cpu_even_when_nobody_waits(worker: KillableWorker) -> None:
    """RLIMIT_CPU ends the child without the parent's time-out: wall limit 20 s, CPU limit set to 1 s."""
    with pytest.raises(Killed):
        await worker.run(f"{HERE}:limit_cpu_then_spin", b"", 20)


async def test_a_crash_and_lost_memory_are_killed(worker: KillableWorker) -> None:
    with pytest.raises(Killed):
        await worker.run(f"{HERE}:crash", b"", 5)
    with pytest.raises((Killed, WorkFailed)):
        await worker.run(f"{HERE}:hoard", b"", 5)
    assert await worker.run(f"{HERE}:reverse", b"ab", 5) == b"ba"


async def test_a_cancelled_call_does_not_poison_the_next(worker: KillableWorker) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await worker.run(f"{HERE}:spin", b"", 30)
    assert await worker.run(f"{HERE}:reverse", b"ab", 5) == b"ba"


async def test_calls_queue(worker: KillableWorker) -> None:
    results = await asyncio.gather(*(worker.run(f"{HERE}:reverse", bytes([n, 0]), 5) for n in range(20)))
    assert results == [bytes([0, n]) for n in range(20)]


async def test_a_closed_worker_says_so() -> None:
    child = KillableWorker()
    await child.start()
    await child.close()
    with pytest.raises(Killed):
        await child.run(f"{HERE}:reverse", b"", 1)
