"""One contract for what the gateway itself asks of an engine, whatever its kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

Row = tuple[Any, ...]


class EngineError(Exception):
    """The engine answered with an error, or not at all. `code` is the engine's own error name or number."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Health:
    """What a health probe found. `coordinator` is the suffix of a Trino coordinator's query ids."""

    up: bool
    detail: str = ""
    version: str = ""
    coordinator: str | None = None


class EngineClient(Protocol):
    """A small client for the gateway's own statements, with the gateway's own credentials."""

    async def health(self) -> Health:
        """A real probe, bounded; never raises for an engine that is down."""
        ...

    async def rows(self, sql: str, *, timeout_s: float, max_rows: int = 1_000_000) -> list[Row]:
        """All rows of a statement. Raises EngineError, also past `timeout_s` or `max_rows`."""
        ...

    async def kill(self, query_id: str) -> None:
        """Stop a query by the engine's own id. Raises EngineError if the engine could not be told."""
        ...
