"""One query as history shows it, how parts of it that arrive separately become one, and how to ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

MAX_NAME = 500
"""Characters kept of any text that a client can choose; an index row has a limit, and so has patience."""

MICROSECONDS = 1_000_000


Row = dict[str, Any]
"""Columns of the `queries` table; `id` and `time_us` are always there, a column that is not is not known."""


@dataclass(frozen=True, slots=True)
class QueryRecord:
    """What history keeps of a query. `time` is when it arrived (Unix seconds); None means not known (yet).

    Records of one id merge: a later one fills in, and replaces only what it knows.
    """

    id: str
    time: float
    process: str | None = None
    principal: str | None = None
    impersonator: str | None = None
    groups: tuple[str, ...] | None = None
    wire: str | None = None
    source: str | None = None
    peer: str | None = None
    kind: str | None = None
    fingerprint: str | None = None
    emitted: str | None = None
    relations: tuple[str, ...] | None = None
    engine: str | None = None
    backend_group: str | None = None
    backend: str | None = None
    engine_query_id: str | None = None
    decision: str | None = None
    refusal: str | None = None
    rule: str | None = None
    outcome: str | None = None
    error_code: str | None = None
    rows: int | None = None
    bytes_out: int | None = None
    bytes_scanned: int | None = None
    queued_ms: float | None = None
    decide_ms: float | None = None
    first_byte_ms: float | None = None
    total_ms: float | None = None
    trail: tuple[Mapping[str, Any], ...] | None = None

    def as_row(self) -> Row:
        """For the `queries` table: what is known, by column."""
        row = {name: value for name in _COLUMNS if (value := getattr(self, name)) is not None}
        return row | {"time_us": int(self.time * MICROSECONDS)}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> QueryRecord:
        """From the `queries` table."""
        known: dict[str, Any] = {name: row.get(name) for name in _COLUMNS}
        for name in ("groups", "relations", "trail"):
            known[name] = None if known[name] is None else tuple(known[name])
        return cls(**known, time=row["time_us"] / MICROSECONDS)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, every field, in the order above."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def merge_row(rows: dict[str, Row], new: Row) -> None:
    """Let a row fill in what is known of its id, by the rules by which the store merges them."""
    known = rows.get(new["id"])
    if known is None:
        rows[new["id"]] = new
        return
    outcome, time_us = known.get("outcome"), known["time_us"]
    known.update((name, value) for name, value in new.items() if value is not None)
    known["time_us"] = min(time_us, new["time_us"])
    if outcome is not None and new.get("outcome") == "unknown":
        known["outcome"] = outcome


_COLUMNS = tuple(field.name for field in fields(QueryRecord) if field.name != "time")


@dataclass(frozen=True, slots=True)
class QueryFilter:
    """Which queries; every field that is set must match. Times are Unix seconds, `since` inclusive."""

    principal: str | None = None
    process: str | None = None
    wire: str | None = None
    source: str | None = None
    kind: str | None = None
    fingerprint: str | None = None
    engine: str | None = None
    backend: str | None = None
    engine_query_id: str | None = None
    decision: str | None = None
    outcome: str | None = None
    since: float | None = None
    until: float | None = None


EVERYTHING = QueryFilter()


@dataclass(frozen=True, slots=True)
class Page:
    """Queries, newest first; `cursor` continues after them and is None at the end."""

    queries: tuple[QueryRecord, ...]
    cursor: str | None


class BadCursor(ValueError):
    """The cursor is not one that `recent_queries` gave."""


def clean(value: Any) -> Any:
    """A value that both databases can hold: no NUL, no lone surrogate, bounded length; inside lists too."""
    if isinstance(value, str):
        if len(value) > MAX_NAME:
            value = value[: MAX_NAME - 1] + "…"
        if value.isascii() and "\0" not in value:
            return value
        return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "�")
    if isinstance(value, Mapping):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    return value
