"""The store: query history and what else must outlive a process, on SQLite or PostgreSQL alike."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store.database import Database
from gateway.store.merge import QueryMerge
from gateway.store.migrate import HEAD, SchemaError, upgrade, usable_revision
from gateway.store.records import (
    EVERYTHING,
    MICROSECONDS,
    BadCursor,
    Page,
    QueryFilter,
    QueryRecord,
    Row,
    merge_row,
)
from gateway.store.tables import audit_events, jobs, queries, statements

MAX_LIMIT = 1000
PRUNE_CHUNK = 1000
MIGRATION_TIMEOUT_S = 1800.0
DAY_US = 86_400 * MICROSECONDS


@dataclass(frozen=True, slots=True)
class Retention:
    """Days that things are kept; 0 keeps none, None keeps all."""

    history_days: float | None = 90
    statement_days: float | None = 30
    event_days: float | None = 365
    job_days: float | None = 7


@dataclass(frozen=True, slots=True)
class Pruned:
    """Rows removed by `prune`."""

    queries: int
    statements: int
    events: int
    jobs: int


class Store:
    """Open with `Store.open`; every method is one bounded transaction."""

    def __init__(self, database: Database, revision: str) -> None:
        self.database = database
        self.revision = revision
        self._merge = QueryMerge(database.is_sqlite)

    @classmethod
    async def open(cls, url: str, *, migrate: bool = True) -> Store:
        """Connect and make the schema usable. Raises StoreUrlError, SchemaError, or the driver's error."""
        database = Database(url)
        try:
            async with database.read() as connection:
                revision = await connection.run_sync(usable_revision)
            if revision is None:
                revision = await _migrated(url, migrate)
        except BaseException:
            await database.close()
            raise
        return cls(database, revision)

    async def close(self) -> None:
        await self.database.close()

    async def ping(self) -> None:
        """Raises the driver's error when the store does not answer."""
        async with self.database.read() as connection:
            await connection.execute(sa.text("SELECT 1"))

    async def save_queries(self, records: Iterable[QueryRecord]) -> None:
        """Insert, or merge into what is known of the same ids. Idempotent, and order does not matter."""
        rows: dict[str, Row] = {}
        for record in records:
            merge_row(rows, record.as_row())
        async with self.database.write() as connection:
            await self.save_rows(connection, rows)

    async def save_rows(self, connection: AsyncConnection, rows: Mapping[str, Row]) -> None:
        """Merge rows by id, inside the caller's transaction."""
        if rows:
            await self._merge.run(connection, [rows[query_id] for query_id in sorted(rows)])

    async def query(self, query_id: str) -> QueryRecord | None:
        """By the gateway's id, or else by the engine's (its newest)."""
        by_engine = sa.select(queries).where(queries.c.engine_query_id == query_id)
        attempts = (
            sa.select(queries).where(queries.c.id == query_id),
            by_engine.order_by(queries.c.time_us.desc()).limit(1),
        )
        async with self.database.read() as connection:
            for attempt in attempts:
                row = (await connection.execute(attempt)).mappings().first()
                if row is not None:
                    return QueryRecord.from_row(dict(row))
        return None

    async def recent_queries(
        self, matching: QueryFilter = EVERYTHING, limit: int = 100, cursor: str | None = None
    ) -> Page:
        """Newest first, at most `limit` (1 to 1000). Raises BadCursor."""
        limit = min(max(limit, 1), MAX_LIMIT)
        select = sa.select(queries).where(*_conditions(matching))
        if cursor is not None:
            time_us, query_id = _parse_cursor(cursor)
            select = select.where(sa.tuple_(queries.c.time_us, queries.c.id) < sa.tuple_(time_us, query_id))
        select = select.order_by(queries.c.time_us.desc(), queries.c.id.desc()).limit(limit + 1)
        async with self.database.read() as connection:
            rows = (await connection.execute(select)).mappings().all()
        page = rows[:limit]
        more = f"{page[-1]['time_us']}.{page[-1]['id']}" if len(rows) > limit else None
        return Page(tuple(QueryRecord.from_row(dict(row)) for row in page), more)

    async def prune(self, retention: Retention = Retention()) -> Pruned:
        """Remove what is older than its retention, in small transactions that let others through."""
        async with self.database.read() as connection:
            now = await self.database.now_us(connection)
        ended = jobs.c.state.in_(("done", "failed"))
        return Pruned(
            queries=await self._prune(queries, queries.c.time_us, now, retention.history_days),
            statements=await self._prune(statements, statements.c.time_us, now, retention.statement_days),
            events=await self._prune(audit_events, audit_events.c.time_us, now, retention.event_days),
            jobs=await self._prune(jobs, jobs.c.updated_us, now, retention.job_days, ended),
        )

    async def _prune(
        self,
        table: sa.Table,
        time_us: sa.Column[int],
        now: int,
        days: float | None,
        *conditions: sa.ColumnElement[bool],
    ) -> int:
        if days is None:
            return 0
        keys = list(table.primary_key.columns)
        old = sa.select(*keys).where(time_us < now - int(days * DAY_US), *conditions).limit(PRUNE_CHUNK)
        delete = sa.delete(table).where(sa.tuple_(*keys).in_(old))
        removed = 0
        while True:
            async with self.database.write() as connection:
                count = (await connection.execute(delete)).rowcount
            removed += count
            if count < PRUNE_CHUNK:
                return removed


async def _migrated(url: str, allowed: bool) -> str:
    """Migrate, or wait for the process that does."""
    if not allowed:
        raise SchemaError(
            f"the store has no schema, or an older one than this version needs ({HEAD}): start one gateway "
            "that may migrate, then the others"
        )
    database = Database(url, command_timeout_s=MIGRATION_TIMEOUT_S)
    try:
        async with asyncio.timeout(MIGRATION_TIMEOUT_S):
            while True:
                async with database.write() as connection:
                    if (revision := await connection.run_sync(upgrade)) is not None:
                        return revision
                await asyncio.sleep(0.2)
    finally:
        await database.close()


def _conditions(matching: QueryFilter) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    for field in fields(matching):
        value: Any = getattr(matching, field.name)
        if value is None:
            continue
        if field.name == "since":
            conditions.append(queries.c.time_us >= int(value * MICROSECONDS))
        elif field.name == "until":
            conditions.append(queries.c.time_us < int(value * MICROSECONDS))
        else:
            conditions.append(queries.c[field.name] == value)
    return conditions


def _parse_cursor(cursor: str) -> tuple[int, str]:
    time_us, dot, query_id = cursor.partition(".")
    if not dot or not query_id or not time_us.isdecimal() or len(time_us) > 18 or "\0" in query_id:
        raise BadCursor("the cursor is not one that an earlier page gave")
    return int(time_us), query_id


__all__: Sequence[str] = [
    "EVERYTHING",
    "BadCursor",
    "Page",
    "Pruned",
    "QueryFilter",
    "Retention",
    "Store",
]
