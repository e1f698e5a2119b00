"""What a client asked: the text and everything that shapes its meaning."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

Pairs = tuple[tuple[str, str], ...]
"""An immutable mapping that keeps order and repeats: ((name, value), …)."""


class Wire(StrEnum):
    """The protocol a statement arrived on; it fixes the dialect of its text."""

    TRINO = "trino"
    CLICKHOUSE = "clickhouse"


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement as its client meant it.

    `properties` are Trino session properties or ClickHouse settings, sorted by name; `parameters` are
    ClickHouse query parameters (`{name:Type}`); `prepared` are the client's prepared statements, decoded.
    All values are plain text; nothing in here is a credential.
    """

    text: str
    wire: Wire
    catalog: str | None = None
    schema: str | None = None
    path: str | None = None
    time_zone: str | None = None
    language: str | None = None
    source: str | None = None
    client_tags: tuple[str, ...] = ()
    properties: Pairs = ()
    parameters: Pairs = ()
    prepared: Pairs = ()
    roles: Pairs = ()
    capabilities: frozenset[str] = frozenset()
    transaction: str | None = None
    read_only: bool = False
    """The request itself forbids writes (ClickHouse over GET, `readonly` setting)."""


class StatementKind(StrEnum):
    """What a statement does; the allow-list of kinds works on these (invariant 2)."""

    QUERY = "query"
    EXPLAIN = "explain"
    SHOW = "show"
    DESCRIBE = "describe"
    USE = "use"
    SET = "set"
    PREPARE = "prepare"
    EXECUTE = "execute"
    DEALLOCATE = "deallocate"
    TRANSACTION = "transaction"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    MERGE = "merge"
    CREATE = "create"
    ALTER = "alter"
    DROP = "drop"
    CALL = "call"
    KILL = "kill"
    GRANT = "grant"
    ADMIN = "admin"
    UNKNOWN = "unknown"

    @property
    def writes(self) -> bool:
        """Whether the kind may change data or definitions; an unknown statement is taken to write."""
        return self not in _READS


_READS = frozenset(
    {
        StatementKind.QUERY,
        StatementKind.EXPLAIN,
        StatementKind.SHOW,
        StatementKind.DESCRIBE,
        StatementKind.USE,
        StatementKind.SET,
        StatementKind.PREPARE,
        StatementKind.DEALLOCATE,
        StatementKind.TRANSACTION,
    }
)


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a statement's text: line and column, both from 1, in characters."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class RelationName:
    """A fully resolved table or view. ClickHouse has no catalog level: `catalog` is "" there."""

    catalog: str
    schema: str
    table: str

    def __str__(self) -> str:
        return ".".join(part for part in (self.catalog, self.schema, self.table) if part)
