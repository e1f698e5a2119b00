"""The DuckDB side of the embedded engine: connections, transactions, what exists, and running work.

Everything here runs in worker threads, never on the event loop.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import duckdb

from gateway.engines.duckdb import catalog, macros
from gateway.engines.duckdb.catalog import Catalogs
from gateway.engines.duckdb.failures import CODES, TrinoFailure, fail, failure_of
from gateway.engines.duckdb.representation import row_json
from gateway.engines.duckdb.scope import quote, text
from gateway.engines.duckdb.session import Session, checked_zone
from gateway.engines.duckdb.statements import Analysis
from gateway.engines.duckdb.syntax import Source
from gateway.engines.duckdb.virtual import RuntimeView, VirtualTables
from gateway.engines.duckdb.work import ROWS_COLUMN, Act, Change, Known, Select, Work
from gateway.wire.trino.documents import ResultColumn, encode_rows
from gateway.wire.trino.errors import Failure
from gateway.wire.trino.results import Chunk, HeaderPairs, chunks_of
from gateway.wire.trino.types import PARAMETRIC_DATETIME

log = logging.getLogger(__name__)

CHUNK_BYTES = 128 << 10
_FIRST_BATCH = 1024
_MAX_BATCH = 16384
_TRANSACTION_IDLE_S = 300.0
_MAX_TRANSACTIONS = 64
DEFAULT_SCHEMA = "default"


class Sink(Protocol):
    """Where results go; calls come from a worker thread and may block it (back-pressure)."""

    def begin(
        self, columns: Sequence[ResultColumn], headers: HeaderPairs, update_type: str | None
    ) -> None: ...
    def offer(self, chunk: Chunk) -> bool:
        """False when nobody wants more."""
        ...

    def using(self, connection: duckdb.DuckDBPyConnection | None) -> None:
        """The connection that runs the query now, so that it can be interrupted; None when it is done."""
        ...


@dataclass(slots=True)
class _Transaction:
    id: str
    user: str
    connection: duckdb.DuckDBPyConnection
    read_only: bool
    used: float
    lock: threading.Lock = field(default_factory=threading.Lock)


class Engine:
    """One DuckDB instance. `database` is a file or `:memory:`; it appears as the catalog `catalog_name`."""

    def __init__(
        self,
        database: str,
        catalog_name: str,
        *,
        runtime: RuntimeView,
        kill: Callable[[str, str | None], None],
        memory_limit: str | None = None,
        threads: int | None = None,
    ) -> None:
        self._root = duckdb.connect(":memory:")
        if memory_limit:
            self._root.execute(f"SET memory_limit = {text(memory_limit)}")
        if threads:
            self._root.execute(f"SET threads = {int(threads)}")
        macros.create(self._root)
        self._catalog_name = catalog_name
        if catalog_name != "memory":
            path = ":memory:" if database == ":memory:" else str(Path(database).resolve())
            self._root.execute(f"ATTACH {text(path)} AS {quote(catalog_name)}")
        self.catalog_names = tuple(sorted({"memory", catalog_name}))
        for name in self.catalog_names:
            self._root.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(name)}.{quote(DEFAULT_SCHEMA)}")
        # Nothing in a statement may reach files or the network, whatever a translation might let through.
        self._root.execute("SET enable_external_access = false")
        self._runtime = runtime
        self._kill = kill
        self._transactions: dict[str, _Transaction] = {}
        self._lock = threading.Lock()
        self._catalogs: Catalogs | None = None

    @property
    def root(self) -> duckdb.DuckDBPyConnection:
        """A connection for loading data before the engine serves."""
        return self._root

    def changed(self) -> None:
        """Definitions changed; read them anew when next needed."""
        self._catalogs = None

    def close(self) -> None:
        with self._lock:
            open_transactions, self._transactions = list(self._transactions.values()), {}
        for one in open_transactions:
            one.connection.close()
        self._root.close()

    # -- running

    def run(self, statement: str, session: Session, sink: Sink) -> int | None:
        """Analyse and run one statement, to its end. Returns the update count. Raises TrinoFailure."""
        session = _with_time_zone(session)
        with self._connection(session) as (connection, transaction):
            try:
                sink.using(connection)
                analysis = self._analysis(session, connection, transaction)
                work = analysis.work(Source(statement))
                return self._do(work, session, connection, transaction, sink)
            except duckdb.Error as error:
                failure = failure_of(error)
                if failure.code.number >= 65536:
                    log.warning("DuckDB failed: %s: %s", type(error).__name__, failure.code.name)
                raise TrinoFailure(failure) from error
            except RecursionError as error:
                raise TrinoFailure(_too_deep()) from error
            finally:
                sink.using(None)

    def _analysis(
        self, session: Session, connection: duckdb.DuckDBPyConnection, transaction: _Transaction | None
    ) -> Analysis:
        if transaction is not None:
            found = catalog.load(connection, self.catalog_names)
        else:
            found = self._catalogs or catalog.load(connection, self.catalog_names)
            self._catalogs = found
        return Analysis(session, connection, found, VirtualTables(connection, self._runtime), self)

    def _do(
        self,
        work: Work,
        session: Session,
        connection: duckdb.DuckDBPyConnection,
        transaction: _Transaction | None,
        sink: Sink,
    ) -> int | None:
        parametric = PARAMETRIC_DATETIME in session.capabilities
        if isinstance(work, Select):
            self._stream(work, session, connection, parametric, sink)
            return None
        if isinstance(work, Known):
            sink.begin(work.columns, work.headers, work.update_type)
            for chunk in chunks_of(encode_rows(work.columns, work.rows, parametric=parametric), CHUNK_BYTES):
                sink.offer(chunk)
            return None
        if isinstance(work, Act):
            sink.begin((), work.run(), work.update_type)
            return None
        return self._change(work, connection, transaction, sink)

    def _stream(
        self,
        work: Select,
        session: Session,
        connection: duckdb.DuckDBPyConnection,
        parametric: bool,
        sink: Sink,
    ) -> None:
        output = work.output
        columns = [(f"c{i}", kind) for i, kind in enumerate(output.types)]
        line = row_json(columns, zone=session.zone, parametric=parametric)
        connection.execute(f"SELECT {line} FROM ({output.sql})")  # noqa: S608 translated from a parsed tree
        sink.begin([ResultColumn(name, kind) for name, kind in output.columns], (), None)
        batch = _FIRST_BATCH
        while rows := connection.fetchmany(batch):
            data = ",".join([row[0] for row in rows]).encode()
            if not sink.offer(Chunk(data, len(rows))):
                return
            average = max(1, len(data) // len(rows))
            batch = max(1, min(_MAX_BATCH, CHUNK_BYTES // average))

    def _change(
        self,
        work: Change,
        connection: duckdb.DuckDBPyConnection,
        transaction: _Transaction | None,
        sink: Sink,
    ) -> int | None:
        if transaction is not None and transaction.read_only and work.statements:
            fail("READ_ONLY_VIOLATION", "Cannot execute write in a read-only transaction")
        count = self._in_transaction(work, connection, transaction)
        if work.update_type not in ("INSERT", "DELETE", "UPDATE", "MERGE"):
            self.changed()
        counted = work.counted is not None
        sink.begin([ROWS_COLUMN] if counted else [], (), work.update_type)
        if counted:
            sink.offer(Chunk(f"[{count}]".encode(), 1))
        return count if counted else None

    def _in_transaction(
        self, work: Change, connection: duckdb.DuckDBPyConnection, transaction: _Transaction | None
    ) -> int:
        count = 0
        if transaction is None:
            connection.execute("BEGIN TRANSACTION")
        try:
            for index, statement in enumerate(work.statements):
                found = connection.execute(statement).fetchone()
                if index == work.counted and found is not None:
                    count = int(found[0])
            if transaction is None:
                connection.execute("COMMIT")
        except BaseException:
            if transaction is None:
                _quietly_roll_back(connection)
            raise
        return count

    @contextmanager
    def _connection(
        self, session: Session
    ) -> Iterator[tuple[duckdb.DuckDBPyConnection, _Transaction | None]]:
        transaction = self._transaction(session)
        if transaction is None:
            connection = self._root.cursor()
            try:
                connection.execute(f"SET TimeZone = {text(_duck_zone(session.zone))}")
                yield connection, None
            finally:
                connection.close()
            return
        if not transaction.lock.acquire(timeout=30):
            fail(
                "TRANSACTION_CONFLICT",
                "Another statement of this transaction is still running; read its result first",
            )
        try:
            transaction.used = time.monotonic()
            transaction.connection.execute(f"SET TimeZone = {text(_duck_zone(session.zone))}")
            yield transaction.connection, transaction
        finally:
            transaction.used = time.monotonic()
            transaction.lock.release()

    # -- transactions

    def _transaction(self, session: Session) -> _Transaction | None:
        if session.transaction is None or session.transaction.upper() == "NONE":
            return None
        with self._lock:
            found = self._transactions.get(session.transaction)
        if found is None or not secrets.compare_digest(found.user, session.user):
            fail("UNKNOWN_TRANSACTION", f"Unknown transaction ID: {session.transaction}")
        return found

    def begin(self, session: Session, *, read_only: bool) -> str:
        """Start a transaction; returns its id."""
        self.end_idle_transactions()
        with self._lock:
            if len(self._transactions) >= _MAX_TRANSACTIONS:
                fail("QUERY_QUEUE_FULL", f"{_MAX_TRANSACTIONS} transactions are open already; end some first")
            connection = self._root.cursor()
            connection.execute("BEGIN TRANSACTION")
            one = _Transaction(str(uuid.uuid4()), session.user, connection, read_only, time.monotonic())
            self._transactions[one.id] = one
        return one.id

    def commit(self, session: Session) -> None:
        self._end(session, "COMMIT")

    def rollback(self, session: Session) -> None:
        self._end(session, "ROLLBACK")

    def _end(self, session: Session, word: str) -> None:
        found = self._transaction(session)
        if found is None:
            fail("NOT_IN_TRANSACTION", "No transaction in progress")
        with self._lock:
            self._transactions.pop(found.id, None)
        try:
            found.connection.execute(word)
        finally:
            self.changed()

    def end_idle_transactions(self) -> None:
        """Roll back those that nobody used for five minutes."""
        limit = time.monotonic() - _TRANSACTION_IDLE_S
        with self._lock:
            idle = [one for one in self._transactions.values() if one.used < limit and not one.lock.locked()]
            for one in idle:
                del self._transactions[one.id]
        for one in idle:
            one.connection.close()

    def kill(self, query_id: str, message: str | None) -> None:
        self._kill(query_id, message)


def _quietly_roll_back(connection: duckdb.DuckDBPyConnection) -> None:
    try:
        connection.execute("ROLLBACK")
    except duckdb.Error:
        log.debug("the transaction was over already")


def _with_time_zone(session: Session) -> Session:
    """SET TIME ZONE is the session property `time_zone_id`."""
    zone = session.properties.get("time_zone_id")
    return replace(session, zone=checked_zone(zone)) if zone else session


def _duck_zone(zone: str) -> str:
    """DuckDB knows offsets as Etc/GMT zones of the other sign, whole hours only."""
    if zone[:1] not in "+-":
        return zone
    hours = int(zone[1:3])
    return f"Etc/GMT{'-' if zone[0] == '+' else '+'}{hours}" if hours else "UTC"


def _too_deep() -> Failure:
    return Failure(CODES["STACK_OVERFLOW"], "The statement is nested too deeply")
