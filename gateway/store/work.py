"""Leases and jobs: how processes that share a store agree on who does what, and nothing is done twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store.database import Database
from gateway.store.records import MAX_NAME, MICROSECONDS, clean
from gateway.store.tables import jobs, leases


@dataclass(frozen=True, slots=True)
class Lease:
    """`holder` owns `name` until `expires` (Unix seconds, the store's clock).

    `epoch` grows with every change of holder: a write that checks it cannot come from a former one.
    """

    name: str
    holder: str
    epoch: int
    expires: float


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed job. `attempt` counts from 1."""

    id: str
    kind: str
    payload: dict[str, Any]
    attempt: int
    max_attempts: int


class Leases:
    """Named leases with a time to live."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        """Take or renew the lease; None while somebody else holds it."""
        async with self._database.write() as connection:
            now = await self._database.now_us(connection)
            expires = now + int(ttl_s * MICROSECONDS)
            insert = sqlite.insert(leases) if self._database.is_sqlite else postgresql.insert(leases)
            mine = (leases.c.holder == holder) & (leases.c.expires_us > now)
            taking = insert.values(name=name, holder=holder, epoch=1, expires_us=expires)
            taken = taking.on_conflict_do_update(
                index_elements=["name"],
                set_={
                    "holder": holder,
                    "expires_us": expires,
                    "epoch": sa.case((mine, leases.c.epoch), else_=leases.c.epoch + 1),
                },
                where=(leases.c.holder == holder) | (leases.c.expires_us <= now),
            ).returning(leases.c.epoch)
            epoch = (await connection.execute(taken)).scalar_one_or_none()
        return None if epoch is None else Lease(name, holder, epoch, expires / MICROSECONDS)

    async def release(self, lease: Lease) -> None:
        """Give the lease back at once; nothing happens if it has already passed on."""
        held = (leases.c.name == lease.name) & (leases.c.holder == lease.holder)
        async with self._database.write() as connection:
            await connection.execute(
                sa.update(leases).where(held, leases.c.epoch == lease.epoch).values(expires_us=0)
            )

    async def check_in(self, connection: AsyncConnection, lease: Lease) -> bool:
        """Whether the lease still holds, inside the transaction that is about to rely on it."""
        now = await self._database.now_us(connection)
        select = sa.select(leases.c.epoch).where(leases.c.name == lease.name, leases.c.expires_us > now)
        if not self._database.is_sqlite:
            select = select.with_for_update()
        return (await connection.execute(select)).scalar_one_or_none() == lease.epoch


class Jobs:
    """A durable queue. A job's id is its idempotency key: the same id is queued once, whoever asks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enqueue(
        self, job_id: str, kind: str, payload: dict[str, Any], *, delay_s: float = 0, max_attempts: int = 5
    ) -> bool:
        """False if a job of this id is already known (queued, running or ended)."""
        async with self._database.write() as connection:
            now = await self._database.now_us(connection)
            insert = sqlite.insert(jobs) if self._database.is_sqlite else postgresql.insert(jobs)
            values = {
                "id": job_id,
                "kind": kind,
                "payload": payload,
                "state": "queued",
                "attempts": 0,
                "max_attempts": max_attempts,
                "due_us": now + int(delay_s * MICROSECONDS),
                "updated_us": now,
            }
            result = await connection.execute(
                insert.values(values).on_conflict_do_nothing().returning(jobs.c.id)
            )
            return result.first() is not None

    async def claim(self, kinds: Sequence[str], holder: str, lease_s: float) -> Job | None:
        """The oldest due job of these kinds, leased; also one whose worker's lease ran out."""
        async with self._database.write() as connection:
            now = await self._database.now_us(connection)
            await connection.execute(_given_up(now))
            due = (jobs.c.state == "queued") & (jobs.c.due_us <= now)
            abandoned = (jobs.c.state == "running") & (jobs.c.lease_us <= now)
            select = sa.select(jobs).where(jobs.c.kind.in_(kinds), due | abandoned)
            select = select.order_by(jobs.c.due_us, jobs.c.id).limit(1).with_for_update(skip_locked=True)
            row = (await connection.execute(select)).mappings().first()
            if row is None:
                return None
            claimed = {
                "state": "running",
                "attempts": row["attempts"] + 1,
                "holder": holder,
                "lease_us": now + int(lease_s * MICROSECONDS),
                "updated_us": now,
            }
            await connection.execute(sa.update(jobs).where(jobs.c.id == row["id"]).values(claimed))
        return Job(row["id"], row["kind"], row["payload"], row["attempts"] + 1, row["max_attempts"])

    async def renew(self, job: Job, holder: str, lease_s: float) -> bool:
        """Keep working; False if the job was given to somebody else meanwhile."""
        async with self._database.write() as connection:
            now = await self._database.now_us(connection)
            return await _update(
                connection, job, holder, lease_us=now + int(lease_s * MICROSECONDS), updated_us=now
            )

    async def complete(self, job: Job, holder: str, result: Any = None) -> bool:
        """Done; False (and nothing changed) if the job was given to somebody else meanwhile."""
        async with self._database.write() as connection:
            now = await self._database.now_us(connection)
            return await _update(connection, job, holder, state="done", result=result, updated_us=now)

    async def fail(self, job: Job, holder: str, error: str, retry_s: float | None = None) -> bool:
        """Failed: tried again after `retry_s` while attempts are left, else (or with None) for good."""
        again = retry_s is not None and job.attempt < job.max_attempts
        async with self._database.write() as connection:
            now = await self._database.now_us(connection)
            return await _update(
                connection,
                job,
                holder,
                state="queued" if again else "failed",
                due_us=now + int((retry_s or 0) * MICROSECONDS),
                error=clean(error)[:MAX_NAME],
                updated_us=now,
            )

    async def state(self, job_id: str) -> tuple[str, Any, str | None] | None:
        """(state, result, error) of a job; None if its id is unknown."""
        select = sa.select(jobs.c.state, jobs.c.result, jobs.c.error).where(jobs.c.id == job_id)
        async with self._database.read() as connection:
            row = (await connection.execute(select)).first()
        return None if row is None else (row.state, row.result, row.error)


def _given_up(now: int) -> sa.Update:
    """Jobs whose last allowed attempt vanished with its worker."""
    return (
        sa.update(jobs)
        .where(jobs.c.state == "running", jobs.c.lease_us <= now, jobs.c.attempts >= jobs.c.max_attempts)
        .values(state="failed", error="the worker of the last attempt disappeared", updated_us=now)
    )


async def _update(connection: AsyncConnection, job: Job, holder: str, **values: Any) -> bool:
    mine = (jobs.c.id == job.id) & (jobs.c.holder == holder) & (jobs.c.attempts == job.attempt)
    result = await connection.execute(
        sa.update(jobs).where(mine, jobs.c.state == "running").values(values).returning(jobs.c.id)
    )
    return result.first() is not None
