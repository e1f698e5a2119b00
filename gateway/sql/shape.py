"""What our own statement grammars give: a statement's parts, each with its place in the text."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.core.statement import StatementKind
from gateway.sql.cursor import Name
from gateway.sql.lexer import Token


class Role(StrEnum):
    """What a statement does to a relation that it names."""

    READ = "read"
    DESCRIBE = "describe"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    MERGE = "merge"
    CREATE = "create"
    ALTER = "alter"
    DROP = "drop"
    ADMIN = "admin"


class Via(StrEnum):
    """How a statement contains another."""

    EXPLAIN = "explain"
    PREPARE = "prepare"
    IMMEDIATE = "execute immediate"
    EXECUTE = "execute"
    SUBQUERY = "subquery"
    INSERT = "insert"


@dataclass(frozen=True, slots=True)
class Target:
    """A relation that the statement names outside any query."""

    name: Name
    role: Role
    is_function: bool = False


@dataclass(frozen=True, slots=True)
class InnerText:
    """A statement inside the statement: the stretch of text, or the string literal that holds it."""

    start: int
    end: int
    via: Via
    literal: Token | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """In a layout: the place of inner statement number `index`, as a string literal if `quoted`."""

    index: int
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """A statement read by our own grammar.

    `verb` is its spelled-out keyword phrase ("SHOW CREATE TABLE"). `names` are prepared statement names,
    properties or roles; `scope` is the catalog or schema it looks into; `pattern` the LIKE pattern.
    `expressions` are the offsets of stretches that hold expressions (arguments, a KILL's condition).
    `layout` rebuilds the text: stretches (start, end) of the original, slots, and words of our own. `data` is the
    offset at which the data of a ClickHouse INSERT begins.
    """

    kind: StatementKind
    verb: str
    targets: tuple[Target, ...] = ()
    inner: tuple[InnerText, ...] = ()
    names: tuple[str, ...] = ()
    scope: Name | None = None
    pattern: str | None = None
    expressions: tuple[tuple[int, int], ...] = ()
    layout: tuple[tuple[int, int] | Slot | str, ...] = ()
    columns: tuple[str, ...] = ()
    format: str | None = None
    data: int | None = None
