"""One engine without HTTP, and one coordinator with it, for the tests of the embedded DuckDB."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import duckdb

from gateway.engines.duckdb.coordinator import Coordinator
from gateway.engines.duckdb.engine import Engine
from gateway.engines.duckdb.failures import TrinoFailure
from gateway.engines.duckdb.session import Session
from gateway.engines.duckdb.virtual import RuntimeView
from gateway.wire.http.server import HttpServer
from gateway.wire.trino.results import Chunk, ResultLimits
from gateway.wire.trino.types import PARAMETRIC_DATETIME, client_name


class Collected:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.columns: list[list[str]] = []
        self.headers: tuple[tuple[str, str], ...] = ()
        self.update_type: str | None = None
        self.rows: list[Any] = []

    def begin(self, columns: Any, headers: Any, update_type: str | None) -> None:
        self.columns = [[column.name, client_name(column.type)] for column in columns]
        self.headers, self.update_type = headers, update_type

    def offer(self, chunk: Chunk) -> bool:
        self.rows += json.loads(b"[" + chunk.data + b"]")
        return True

    def using(self, connection: duckdb.DuckDBPyConnection | None) -> None:
        pass


class Embedded:
    """Runs statements one after the other, as one user."""

    def __init__(self, catalog: str = "energy") -> None:
        self.killed: list[str] = []
        self.engine = Engine(
            ":memory:",
            catalog,
            runtime=RuntimeView("node", "http://embedded", "476-embedded", {}),
            kill=lambda query, message: self.killed.append(query),
        )

    def run(self, statement: str, **session: Any) -> Collected:
        """Raises TrinoFailure."""
        given = {"user": "ann", "catalog": "memory", "schema": "default"} | session
        given.setdefault("capabilities", frozenset({PARAMETRIC_DATETIME}))
        out = Collected()
        self.engine.run(statement, Session(**given), out)
        return out

    def rows(self, statement: str, **session: Any) -> list[Any]:
        return self.run(statement, **session).rows

    def error(self, statement: str, **session: Any) -> tuple[str, int | None, int | None]:
        """Name and place of the failure that the statement must have."""
        try:
            found = self.run(statement, **session)
        except TrinoFailure as failure:
            place = failure.failure.position
            return failure.failure.code.name, place and place.line, place and place.column
        raise AssertionError(f"{statement} did not fail; it returned {found.rows[:3]}")


@contextmanager
def serving(
    prepare: Callable[[Coordinator], None] | None = None, limits: ResultLimits | None = None
) -> Iterator[int]:
    """A coordinator on a port of its own, in a thread with its own loop, so that blocking clients can be used."""
    ready, stop = threading.Event(), asyncio.Event()
    found: dict[str, Any] = {}

    async def main() -> None:
        coordinator = Coordinator(":memory:", "energy", workers=4, limits=limits)
        if prepare is not None:
            prepare(coordinator)
        coordinator.start()
        server = HttpServer(coordinator.handle, name="test")
        found["port"] = await server.start("127.0.0.1", 0)
        found["loop"] = asyncio.get_running_loop()
        ready.set()
        await stop.wait()
        await server.drain(1.0)
        await coordinator.close()
        await server.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="embedded")
    thread.start()
    if not ready.wait(30):
        raise AssertionError("the embedded coordinator did not start")
    try:
        yield found["port"]
    finally:
        found["loop"].call_soon_threadsafe(stop.set)
        thread.join(20)
