"""Carries the audit's files into the store: query history from them, and the other events beside it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store.audit_chain import (
    MAX_LINE_BYTES,
    SEGMENT_KIND,
    START,
    Line,
    Link,
    Malformed,
    link_hash,
    parse_line,
)
from gateway.store.audit_files import base_path, read_link, segments, write_link
from gateway.store.history import STORE_ERRORS, describe
from gateway.store.records import MICROSECONDS, Row, clean, merge_row
from gateway.store.store import Store
from gateway.store.tables import audit_events, audit_heads, queries

log = logging.getLogger(__name__)

BATCH_LINES = 256
"""Reading so many holds the event loop for about a millisecond; each batch is one transaction."""

FIRST_READ_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a stream has been read: its chain's position, and the offset after it in that segment."""

    link: Link
    offset: int


@dataclass(slots=True)
class Batch:
    """Lines read in one go, the position after them, and what did not hold."""

    lines: list[Line]
    after: Cursor
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Ingested:
    """What one round did."""

    records: int
    problems: tuple[str, ...]


class AuditIngest:
    """Reads every stream of a directory from where it was left, exactly once into effect.

    Position and rows are committed together, and rows merge, so a kill at any moment loses and doubles
    nothing. A broken chain is reported and read past: history goes on, `verify` still shows the break.
    Run it in one process per directory; `node` keeps apart the streams of hosts that share a store.
    """

    def __init__(
        self,
        store: Store,
        directory: Path,
        *,
        node: str | None = None,
        key: bytes = b"",
        on_problem: Callable[[str], None] = lambda problem: None,
    ) -> None:
        self._store = store
        self._directory = directory
        self._node = node or socket.gethostname()
        self._key = key
        self._on_problem = on_problem
        self._failing = False

    async def run(self, interval_s: float = 1.0) -> None:
        """Rounds for ever; a store that is away is waited for."""
        while True:
            try:
                await self.run_once()
                self._failing = False
            except STORE_ERRORS as error:
                if not self._failing:
                    log.warning("audit: cannot be carried into the store (%s); trying on", describe(error))
                self._failing = True
            await asyncio.sleep(interval_s)

    async def run_once(self) -> Ingested:
        """Everything that is in the files now."""
        records, problems = 0, []
        for stream in self._streams():
            cursor = await self._cursor(stream)
            while True:
                batch = read_batch(self._directory, stream, cursor, self._key)
                if batch.after == cursor:
                    break
                await self._store_batch(stream, batch)
                cursor = batch.after
                records += len(batch.lines)
                problems += [f"{stream}: {problem}" for problem in batch.problems]
        for problem in problems:
            log.error("audit: %s (see `gateway audit verify`)", problem)
            self._on_problem(problem)
        return Ingested(records, tuple(problems))

    async def anchors(self) -> list[tuple[str, Link]]:
        """The positions kept in the store for this node, for `verify`."""
        select = sa.select(audit_heads).where(
            audit_heads.c.stream.startswith(self._process(""), autoescape=True)
        )
        async with self._store.database.read() as connection:
            rows = (await connection.execute(select)).all()
        return [
            (row.stream.removeprefix(self._process("")), Link(row.n, bytes.fromhex(row.head), row.segment))
            for row in rows
        ]

    async def prune_files(self, older_than_days: float) -> int:
        """Remove segments that are in the store and older; returns how many. The newest always stays."""
        limit = time.time() - older_than_days * 86_400
        removed = 0
        for stream, link in await self.anchors():
            removed += await asyncio.to_thread(_prune_stream, self._directory, stream, link, limit)
        return removed

    def _streams(self) -> list[str]:
        return list(segments(self._directory)) if self._directory.is_dir() else []

    def _process(self, stream: str) -> str:
        return f"{self._node[:100]}/{stream}"

    async def _cursor(self, stream: str) -> Cursor:
        select = sa.select(audit_heads).where(audit_heads.c.stream == self._process(stream))
        async with self._store.database.read() as connection:
            row = (await connection.execute(select)).one_or_none()
        if row is None:
            return Cursor(START, 0)
        return Cursor(Link(row.n, bytes.fromhex(row.head), row.segment), row.file_offset)

    async def _store_batch(self, stream: str, batch: Batch) -> None:
        process = self._process(stream)
        async with self._store.database.write() as connection:
            for group in _split_at_starts(batch.lines):
                if _is_start(group[0]):
                    await _end_orphans(connection, process, _microseconds(group[0].record.get("time")))
                await self._store.save_rows(connection, _rows_of(group, process))
            await self._save_events(connection, process, batch.lines)
            await self._save_cursor(connection, process, batch.after)

    async def _save_events(self, connection: AsyncConnection, process: str, lines: list[Line]) -> None:
        rows = [_event(process, line) for line in lines if line.kind not in ("decided", "finished")]
        if rows:
            await connection.execute(self._insert(audit_events).on_conflict_do_nothing(), rows)

    async def _save_cursor(self, connection: AsyncConnection, process: str, cursor: Cursor) -> None:
        values = {
            "n": cursor.link.n,
            "head": cursor.link.head.hex(),
            "segment": cursor.link.segment,
            "file_offset": cursor.offset,
            "updated_us": await self._store.database.now_us(connection),
        }
        insert = self._insert(audit_heads).values(stream=process, **values)
        await connection.execute(insert.on_conflict_do_update(index_elements=["stream"], set_=values))

    def _insert(self, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
        return sqlite.insert(table) if self._store.database.is_sqlite else postgresql.insert(table)


def read_batch(directory: Path, stream: str, cursor: Cursor, key: bytes) -> Batch:
    """The next lines of a stream after `cursor`, a bounded number, from one segment."""
    files = segments(directory).get(stream, [])
    if cursor.link.segment == 0 and (base := read_link(base_path(directory, stream))) is not None:
        cursor = Cursor(base, 0)
    current = next((path for index, path in files if index == cursor.link.segment), None)
    newer = next(((index, path) for index, path in files if index > cursor.link.segment), None)
    if current is not None:
        batch = _read_lines(current, cursor, key)
        if batch.after != cursor or newer is None:
            return batch
    if newer is None:
        return Batch([], cursor)
    problems = []
    if newer[0] != cursor.link.segment + 1:
        problems.append(f"segment {cursor.link.segment + 1} is missing before {newer[1].name}")
    batch = _read_lines(newer[1], Cursor(Link(cursor.link.n, cursor.link.head, newer[0]), 0), key)
    batch.problems[:0] = problems
    return batch


def _read_lines(path: Path, cursor: Cursor, key: bytes) -> Batch:
    with path.open("rb") as file:
        file.seek(cursor.offset)
        data = file.read(FIRST_READ_BYTES)
        if data and b"\n" not in data:
            data += file.read(MAX_LINE_BYTES)
    batch = Batch([], cursor)
    position, link, start = 0, cursor.link, cursor.offset
    while len(batch.lines) < BATCH_LINES and (end := data.find(b"\n", position)) >= 0:
        raw, position = data[position:end], end + 1
        try:
            line = parse_line(raw)
        except Malformed as error:
            batch.problems.append(f"{path.name} at byte {start + end - len(raw)}: {error}")
            continue
        if line.n != link.n + 1 or link_hash(link.head, line.body, key) != line.claimed:
            batch.problems.append(f"{path.name}: the chain is broken before record {line.n}")
        link = Link(line.n, line.claimed, link.segment)
        batch.lines.append(line)
    batch.after = Cursor(link, start + position)
    return batch


def _split_at_starts(lines: list[Line]) -> list[list[Line]]:
    groups: list[list[Line]] = []
    for line in lines:
        if not groups or _is_start(line):
            groups.append([])
        groups[-1].append(line)
    return groups


def _is_start(line: Line) -> bool:
    return line.kind == SEGMENT_KIND and line.record.get("reason") == "start"


async def _end_orphans(connection: AsyncConnection, process: str, started_us: int) -> None:
    """Queries that the stream's earlier process never finished: how they ended is not known, and said so."""
    await connection.execute(
        sa.update(queries)
        .where(
            queries.c.process == process,
            queries.c.outcome.is_(None),
            queries.c.time_us < started_us,
        )
        .values(outcome="unknown")
    )


def _rows_of(lines: list[Line], process: str) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for line in lines:
        if line.kind in ("decided", "finished") and not isinstance(line.record.get("query_id"), str):
            continue  # No version of ours wrote it; `verify` has its say about the chain.
        if line.kind == "decided":
            merge_row(rows, _from_decided(line.record, process))
        elif line.kind == "finished":
            merge_row(rows, _from_finished(line.record))
    return rows


_DECIDED = ("principal", "impersonator", "wire", "source", "peer", "kind", "fingerprint", "emitted", "engine")
_DECIDED_MORE = ("backend_group", "decision", "refusal", "rule", "decide_ms", "groups", "relations")
_FINISHED = ("outcome", "backend", "engine_query_id", "error_code", "rows", "bytes_out", "bytes_scanned")
_FINISHED_MORE = ("queued_ms", "first_byte_ms", "total_ms")
_FROM_DECIDED = (*_DECIDED, *_DECIDED_MORE)
_FROM_FINISHED = (*_FINISHED, *_FINISHED_MORE)


def _from_decided(record: dict[str, Any], process: str) -> Row:
    row = {name: record.get(name) for name in _FROM_DECIDED}
    row["id"] = record["query_id"]
    row["time_us"] = _microseconds(record.get("time"))
    row["process"] = process
    trail = record.get("trail")
    row["trail"] = [_step(step) for step in trail] if isinstance(trail, list) else None
    return row


def _from_finished(record: dict[str, Any]) -> Row:
    row = {name: record.get(name) for name in _FROM_FINISHED}
    row["id"] = record["query_id"]
    row["time_us"] = _microseconds(record.get("time")) - _microseconds(record.get("total_ms")) // 1000
    return row


def _microseconds(seconds: Any) -> int:
    """Also of what is no time, so that one odd record cannot stop the rest; 0 is plainly wrong on sight."""
    known = isinstance(seconds, (int, float)) and math.isfinite(seconds) and abs(seconds) < 1e11
    return int(seconds * MICROSECONDS) if known else 0


def _step(step: dict[str, Any] | str) -> dict[str, Any]:
    if not isinstance(step, dict):
        return {"stage": "audit", "effect": str(step)}
    return {name: value for name, value in step.items() if value not in (None, False)}


def _event(process: str, line: Line) -> dict[str, Any]:
    record = line.record
    actor = record.get("actor") or record.get("principal") or record.get("user")
    return {
        "stream": process,
        "n": line.n,
        "time_us": _microseconds(record.get("time")),
        "kind": clean(line.kind)[:255],
        "actor": None if actor is None else clean(str(actor)),
        "body": clean(record),
    }


def _prune_stream(directory: Path, stream: str, ingested: Link, limit: float) -> int:
    """Remove whole segments before the one that was being ingested, moving the chain's base first."""
    removed = 0
    files = segments(directory).get(stream, [])
    for (index, path), (_, follower) in itertools.pairwise(files):
        if index >= ingested.segment or path.stat().st_mtime >= limit:
            break
        base = _opening_base(follower, index)
        if base is None:
            break
        write_link(base_path(directory, stream), base)
        path.unlink()
        removed += 1
    return removed


def _opening_base(follower: Path, index: int) -> Link | None:
    """The chain's position before `follower`, from its opening record."""
    with follower.open("rb") as file:
        raw = file.readline(MAX_LINE_BYTES)
    if not raw.endswith(b"\n"):
        return None
    line = parse_line(raw[:-1])
    return Link(line.n - 1, bytes.fromhex(line.record["previous"]), index)
