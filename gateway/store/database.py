"""Engines for the two databases, tuned so that the rest of the store need not know which one it is on."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

BUSY_TIMEOUT_MS = 10_000
POOL_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 10.0
STATEMENT_TIMEOUT_MS = 15_000
COMMAND_TIMEOUT_S = 20.0
_WRITES = "gateway_writes"


class StoreUrlError(ValueError):
    """`store.url` names no database that the store can use."""


def async_url(url: str) -> URL:
    """`sqlite:///path` and `postgresql://…` with their asynchronous drivers. Raises StoreUrlError."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreUrlError(_expected("it is not a URL")) from None
    family = parsed.get_backend_name()
    if family == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise StoreUrlError(_expected("an in-memory database would be lost and cannot be shared"))
        return parsed.set(drivername="sqlite+aiosqlite")
    if family in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+asyncpg")
    raise StoreUrlError(_expected(f"{family!r} is not supported"))


def _expected(why: str) -> str:
    return f"store.url: {why}; expected sqlite:///path/to/file.db or postgresql://user@host:port/database"


class Database:
    """A pool of connections; `read` and `write` are transactions, committed at the end of the block."""

    def __init__(self, url: str, *, pool_size: int = 4, command_timeout_s: float | None = None) -> None:
        self.url = async_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite and self.url.database:
            _make_private(Path(self.url.database))
        self._engine = (
            _sqlite(self.url) if self.is_sqlite else _postgres(self.url, pool_size, command_timeout_s)
        )

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes. SQLite takes the write lock at once, so that it never fails half-way."""
        async with self._engine.connect() as connection:
            await connection.execution_options(**{_WRITES: True})
            async with connection.begin():
                yield connection

    async def now_us(self, connection: AsyncConnection) -> int:
        """Microseconds now, by the clock that all processes sharing the store agree on."""
        if self.is_sqlite:
            return time.time_ns() // 1000
        query = sa.text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        return int((await connection.execute(query)).scalar_one())

    async def close(self) -> None:
        await self._engine.dispose()


def _make_private(path: Path) -> None:
    """A new database is for the gateway's own user only: it says who asked for what. SQLite gives the files
    beside it the same mode. A mode that an operator chose is left alone.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(OSError):  # who opens the database next says what is wrong with it
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _json_text(value: Any) -> str:
    return orjson.dumps(value).decode()


def _postgres(url: URL, pool_size: int, command_timeout_s: float | None) -> AsyncEngine:
    return create_async_engine(
        url,
        json_serializer=_json_text,
        json_deserializer=orjson.loads,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        pool_pre_ping=True,
        connect_args={
            "timeout": CONNECT_TIMEOUT_S,
            # The server's own limit cannot help when the server hangs.
            "command_timeout": command_timeout_s or COMMAND_TIMEOUT_S,
            "server_settings": {
                "application_name": "lakehouse-gateway",
                "statement_timeout": str(STATEMENT_TIMEOUT_MS),
            },
        },
    )


def _sqlite(url: URL) -> AsyncEngine:
    engine = create_async_engine(
        url,
        json_serializer=_json_text,
        json_deserializer=orjson.loads,
        pool_size=2,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000},
    )

    @sa.event.listens_for(engine.sync_engine, "connect")
    def _connected(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        # The driver would begin transactions by itself, and late: we say BEGIN ourselves, below.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
