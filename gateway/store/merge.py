"""The one statement that history is written with, compiled once.

SQLAlchemy builds it, so both databases get the same one, but rows go to the driver as plain tuples: taking
each row through SQLAlchemy's type system costs more than all the rest of writing it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store.records import MAX_NAME, Row, clean
from gateway.store.tables import queries

ROWS_AT_ONCE = 32
"""Converting so many rows holds the event loop for less than a millisecond."""

MAX_PLAIN_JSON = 16_000

MAX_INTEGER = 2**63 - 1


class QueryMerge:
    """INSERT … ON CONFLICT that lets each row fill in what it knows: idempotent, in any order."""

    def __init__(self, is_sqlite: bool) -> None:
        statement = _statement(sqlite.insert(queries) if is_sqlite else postgresql.insert(queries))
        dialect: sa.Dialect = make_url("sqlite://" if is_sqlite else "postgresql+asyncpg://").get_dialect()()
        compiled = statement.compile(dialect=dialect, column_keys=[column.name for column in queries.columns])
        self._sql = str(compiled)
        self._columns = [(name, _converter(queries.c[name].type)) for name in compiled.positiontup or ()]

    async def run(self, connection: AsyncConnection, rows: Sequence[Row]) -> None:
        """Write rows, inside the caller's transaction."""
        columns = self._columns
        for start in range(0, len(rows), ROWS_AT_ONCE):
            await connection.exec_driver_sql(
                self._sql,
                [
                    tuple([convert(row.get(name)) for name, convert in columns])
                    for row in rows[start : start + ROWS_AT_ONCE]
                ],
            )


def _converter(kind: Any) -> Callable[[Any], Any]:
    """Whatever a record holds, the database gets a value that its column takes: one bad record must not
    stand in the way of all that come after it.
    """
    if isinstance(kind, sa.JSON):
        return _json
    if isinstance(kind, sa.String):
        return partial(_text, min(kind.length or MAX_NAME, MAX_NAME))
    return _whole if isinstance(kind, sa.Integer) else _real


def _text(limit: int, value: Any) -> str | None:
    if value is None:
        return None
    if type(value) is str and len(value) <= limit and value.isascii() and "\0" not in value:
        return value
    return str(clean(str(value)))[:limit]


def _whole(value: Any) -> int | None:
    known = _real(value)
    return None if known is None else min(max(int(value), -MAX_INTEGER), MAX_INTEGER)


def _real(value: Any) -> float | None:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _json(value: Any) -> str | None:
    if value is None:
        return None
    try:
        text = orjson.dumps(value).decode()
        if len(text) <= MAX_PLAIN_JSON and "\\u0000" not in text:
            return text
    except TypeError:
        pass  # A lone surrogate: the slow way below replaces it.
    return orjson.dumps(clean(value)).decode()


def _statement(insert: sqlite.Insert | postgresql.Insert) -> sqlite.Insert | postgresql.Insert:
    new, old = insert.excluded, queries.c
    updates: dict[str, Any] = {
        column.name: sa.func.coalesce(new[column.name], column)
        for column in queries.columns
        if column.name not in ("id", "time_us", "outcome")
    }
    updates["time_us"] = sa.case((new.time_us < old.time_us, new.time_us), else_=old.time_us)
    updates["outcome"] = sa.case(
        (new.outcome == sa.literal_column("'unknown'"), sa.func.coalesce(old.outcome, new.outcome)),
        else_=sa.func.coalesce(new.outcome, old.outcome),
    )
    return insert.on_conflict_do_update(index_elements=["id"], set_=updates)
