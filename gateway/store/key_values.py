"""Small named values that processes share (switches, watermarks), with compare-and-set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from gateway.store.database import Database
from gateway.store.tables import settings


class Changed(Exception):
    """Somebody else changed the value since it was read."""


@dataclass(frozen=True, slots=True)
class Versioned:
    """A value and the version to give back when replacing it."""

    value: Any
    version: int


class KeyValues:
    """JSON values by key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, key: str) -> Versioned | None:
        """The value, or None where the key was never set."""
        select = sa.select(settings.c.value, settings.c.version).where(settings.c.key == key)
        async with self._database.read() as connection:
            row = (await connection.execute(select)).first()
        return None if row is None else Versioned(row.value["v"], row.version)

    async def put(self, key: str, value: Any, *, expected: int | None = None) -> int:
        """Set the value and return its version, counting from 1.

        `expected` is the version it must still have (0: not set yet). Raises Changed.
        """
        async with self._database.write() as connection:
            now = await self._database.now_us(connection)
            insert = sqlite.insert(settings) if self._database.is_sqlite else postgresql.insert(settings)
            first = insert.values(key=key, value={"v": value}, version=1, updated_us=now)
            if expected == 0:
                saved = first.on_conflict_do_nothing()
            else:
                saved = first.on_conflict_do_update(
                    index_elements=["key"],
                    set_={"value": {"v": value}, "version": settings.c.version + 1, "updated_us": now},
                    where=sa.true() if expected is None else settings.c.version == expected,
                )
            version = (await connection.execute(saved.returning(settings.c.version))).scalar_one_or_none()
            # An insert where a version was expected means that the key has gone: leave nothing behind.
            if version is None or (expected not in (None, 0) and version != expected + 1):
                raise Changed(f"{key} was changed by somebody else; read it again")
        return int(version)
