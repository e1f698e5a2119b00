"""Statements on chdb: a connection each, or one per session; results in pieces, off the event loop.

A fresh connection per statement costs about 2 ms and gives what the HTTP interface promises: SET, USE and
temporary tables of one request never reach another.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from chdb.state.sqlitelike import Connection

from gateway.engines.chdb.failures import (
    SESSION_IS_LOCKED,
    SESSION_NOT_FOUND,
    TOO_MANY_SESSIONS,
    Failure,
)
from gateway.sql.insert import InsertHead, split_insert

MAX_SESSIONS = 100
DEFAULT_SESSION_S = 60.0
PIECE_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,200}")
# Formats whose pieces can be put one after another; chdb frames each piece of the others as a whole document.
_PIECEWISE = frozenset(
    name.lower()
    for name in (
        "TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "CSV", "Native", "RowBinary", "JSONEachRow",
        "JSONLines", "NDJSON", "JSONCompactEachRow", "JSONStringsEachRow", "JSONCompactStringsEachRow",
        "TSKV", "LineAsString", "RawBLOB", "Null",
    )
)  # fmt: skip
_FORMAT_END = re.compile(r"\s+FORMAT\s+[A-Za-z][A-Za-z0-9]*\s*$", re.IGNORECASE)
_FORMAT = re.compile(rb"\bFORMAT\s+([A-Za-z][A-Za-z0-9]*)\s*(?:SETTINGS\s[^;'\"`]*)?;?\s*$", re.IGNORECASE)
_ROWS = re.compile(
    rb"\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*\(*\s*(SELECT|WITH|FROM|VALUES)\b", re.IGNORECASE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A statement with its data behind it, as sent."""

    statement: bytes
    query_id: str
    default_format: str = "TabSeparated"
    database: str | None = None
    settings: tuple[tuple[str, str], ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    readonly: bool = False

    @property
    def output_format(self) -> str:
        """The format that the result has."""
        match = _FORMAT.search(self.statement[-2_000:])
        return match[1].decode() if match else self.default_format

    @property
    def streams(self) -> bool:
        """Whether the result can be taken in pieces."""
        return self.output_format.lower() in _PIECEWISE and _ROWS.match(self.statement) is not None


@dataclass(slots=True)
class _Session:
    connection: Connection
    expires: float
    busy: bool = False


@dataclass(slots=True)
class Result:
    """Pieces of a result; `rows` and `bytes_read` count what is known when the first piece is there."""

    first: bytes = b""
    rest: AsyncIterator[bytes] | None = None
    rows: int = 0
    rows_read: int = 0
    bytes_read: int = 0
    elapsed: float = 0.0


@dataclass(slots=True)
class Runner:
    """Runs statements on at most `threads` connections at a time; a further one waits."""

    database: str
    threads: int = 4
    _pool: ThreadPoolExecutor = field(init=False)
    _control: ThreadPoolExecutor = field(init=False)
    _sessions: dict[str, _Session] = field(default_factory=dict)
    _anchor: Connection = field(init=False)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="chdb")
        self._control = ThreadPoolExecutor(1, thread_name_prefix="chdb-kill")
        self._anchor = Connection(self.database)  # an in-memory database lives as long as one connection

    def close(self) -> None:
        """Let running statements end."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._control.shutdown(wait=True)
        for session in self._sessions.values():
            session.connection.close()
        self._anchor.close()

    @contextlib.asynccontextmanager
    async def connection(
        self, session_id: str | None, timeout_s: float, *, must_exist: bool
    ) -> AsyncIterator[Connection]:
        """A connection for one statement. Raises Failure for session trouble."""
        if session_id is None:
            fresh = await self._call(Connection, self.database)
            try:
                yield fresh
            finally:
                await self._call(fresh.close)
            return
        session = await self._session(session_id, must_exist)
        session.busy = True
        try:
            yield session.connection
        finally:
            session.busy = False
            session.expires = time.monotonic() + timeout_s

    async def _session(self, session_id: str, must_exist: bool) -> _Session:
        now = time.monotonic()
        for name in [n for n, s in self._sessions.items() if s.expires < now and not s.busy]:
            await self._call(self._sessions.pop(name).connection.close)
        known = self._sessions.get(session_id)
        if known is None and must_exist:
            raise Failure.saying(SESSION_NOT_FOUND, "SESSION_NOT_FOUND", "Session not found")
        if known is not None:
            if known.busy:
                raise Failure.saying(
                    SESSION_IS_LOCKED, "SESSION_IS_LOCKED", "Session is locked by a concurrent client"
                )
            return known
        if len(self._sessions) >= MAX_SESSIONS:
            raise Failure.saying(TOO_MANY_SESSIONS, "TOO_MANY_SIMULTANEOUS_QUERIES", "Too many sessions")
        made = _Session(await self._call(Connection, self.database), now + DEFAULT_SESSION_S)
        return self._sessions.setdefault(session_id, made)

    async def run(self, connection: Connection, asked: Asked) -> Result:
        """Start it and wait for the first piece. Raises Failure."""
        try:
            result: Result = await self._call(self._prepared, connection, asked)
        except (RuntimeError, ValueError) as error:
            raise Failure.of(error) from error
        return result

    def _prepared(self, connection: Connection, asked: Asked) -> Result:
        if asked.database:
            connection.query(f"USE {_identifier(asked.database)}")
        settings = [*asked.settings, ("log_comment", asked.query_id)]
        for name, value in [*settings, *([("readonly", "2")] if asked.readonly else [])]:
            if not _NAME.fullmatch(name):
                raise Failure.saying(115, "UNKNOWN_SETTING", f"Unknown setting {name!r}")
            connection.query(f"SET {name} = {_literal(value)}")
        parameters = dict(asked.parameters)
        # chdb takes bytes, which its annotations do not say; data behind INSERT need not be text.
        statement: Any = asked.statement
        head = split_insert(asked.statement, more=False)
        if isinstance(head, InsertHead) and head.format.lower() != "values":
            return _insert(connection, head, asked.statement)
        if not asked.streams:
            return _result(connection.query(statement, asked.default_format, params=parameters), None)
        pieces = connection.send_query(statement, asked.default_format, params=parameters)
        first = next(pieces, None)
        return Result() if first is None else _result(first, self._rest(pieces))

    async def _rest(self, pieces: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                piece = await self._call(next, pieces, None)
                if piece is None:
                    return
                yield piece.bytes()
        except RuntimeError as error:
            raise Failure.of(error) from error
        finally:
            await self._call(pieces.close)

    async def kill(self, query_id: str) -> None:
        """Stop a running statement by the id that it was asked with."""
        await asyncio.get_running_loop().run_in_executor(self._control, self._kill, query_id)

    def _kill(self, query_id: str) -> None:
        found = self._anchor.query(
            "SELECT query_id FROM system.processes WHERE Settings['log_comment'] = {id:String}",
            "TabSeparatedRaw",
            params={"id": query_id},
        )
        for real in found.bytes().decode().split():
            self._anchor.query(f"KILL QUERY WHERE query_id = {_literal(real)} ASYNC")

    async def _call(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


def _insert(connection: Connection, head: InsertHead, whole: bytes) -> Result:
    """Data behind an INSERT goes in by pieces: chdb reads only the first part of a long statement."""
    target = _FORMAT_END.sub("", head.text)
    with connection.send_insert(target, head.format) as inserter:
        for piece in split(whole[head.data :]):
            inserter.append(piece)
        inserter.finish()
    return Result()


def _result(piece: Any, rest: AsyncIterator[bytes] | None) -> Result:
    return Result(
        piece.bytes(),
        rest,
        piece.rows_read(),
        piece.storage_rows_read(),
        piece.storage_bytes_read(),
        piece.elapsed(),
    )


def split(data: bytes) -> Iterable[bytes]:
    """Pieces of at most a MiB, so that a slow reader is waited for."""
    view = memoryview(data)
    return (bytes(view[at : at + PIECE_BYTES]) for at in range(0, len(data), PIECE_BYTES))


def _identifier(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _literal(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
