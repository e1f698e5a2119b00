"""What `decide` returns: run this (`Plan`), here it is (`Answer`), no (`Refusal`), or `Need` to know."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gateway.core.facts import Probe
from gateway.core.statement import Pairs, Position, RelationName, StatementKind
from gateway.core.trail import NO_TRAIL, Trail


class EngineKind(StrEnum):
    """The four engines the gateway can hand a plan to."""

    TRINO = "trino"
    CLICKHOUSE = "clickhouse"
    DUCKDB = "duckdb"
    CHDB = "chdb"


class RefusalCode(StrEnum):
    """Why a statement is refused, independent of the wire; each wire maps these to its own error codes."""

    SYNTAX = "syntax"
    NOT_SUPPORTED = "not_supported"
    TOO_LARGE = "too_large"
    TOO_COMPLEX = "too_complex"
    NOT_FOUND = "not_found"
    """Absent or not granted: deliberately the same, so that a refusal does not reveal what exists."""
    DENIED = "denied"
    BAD_SETTING = "bad_setting"
    BUDGET = "budget"
    QUEUE_FULL = "queue_full"
    TIMEOUT = "timeout"
    NO_BACKEND = "no_backend"
    UNAVAILABLE = "unavailable"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Fix:
    """A way out that is offered with a refusal: words, and a statement to run instead where there is one."""

    hint: str
    statement: str | None = None
    same_result: bool | None = None


@dataclass(frozen=True, slots=True)
class ReadSet:
    """Versions of everything a decision relied on: ("relation:lake.curated.lmp", "…"), sorted."""

    versions: Pairs = ()


@dataclass(frozen=True, slots=True)
class PositionMap:
    """Maps places in the emitted text back to the client's text, for error messages.

    Empty means that both texts are the same. Otherwise `anchors` are (emitted line, emitted column,
    original line, original column), sorted; a place maps by the nearest anchor at or before it.
    """

    anchors: tuple[tuple[int, int, int, int], ...] = ()
    identity: bool = True

    def to_original(self, place: Position) -> Position | None:
        """The client's place for an emitted place; None where nothing of the client's text is near."""
        if self.identity:
            return place
        before = [a for a in self.anchors if (a[0], a[1]) <= (place.line, place.column)]
        return Position(before[-1][2], before[-1][3]) if before else None


IDENTITY = PositionMap()


@dataclass(frozen=True, slots=True)
class Plan:
    """Run `text` on one of `backends` (all of one engine kind), in this order of preference.

    `settings` are session properties or settings that the gateway adds. `valid_until` is a Unix time in
    seconds past which the decision must be made anew; None means as long as its read set holds.
    """

    text: str
    kind: StatementKind
    engine: EngineKind
    group: str
    backends: tuple[str, ...]
    rewritten: bool = False
    settings: Pairs = ()
    relations: tuple[RelationName, ...] = ()
    fingerprint: str = ""
    positions: PositionMap = IDENTITY
    max_queue_seconds: float | None = None
    read_set: ReadSet = ReadSet()
    valid_until: float | None = None
    trail: Trail = NO_TRAIL


@dataclass(frozen=True, slots=True)
class Column:
    """A result column: name, and type in the wire's own spelling (`decimal(12, 2)`, `Nullable(Int64)`)."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A result that the gateway gives itself, small by construction (metadata, EXPLAIN of its own, …)."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    kind: StatementKind
    update_type: str | None = None
    warnings: tuple[str, ...] = ()
    fingerprint: str = ""
    read_set: ReadSet = ReadSet()
    valid_until: float | None = None
    trail: Trail = NO_TRAIL


@dataclass(frozen=True, slots=True)
class Refusal:
    """No, why, where in the client's text, by which rule, and what to do instead."""

    code: RefusalCode
    message: str
    position: Position | None = None
    rule: str | None = None
    fixes: tuple[Fix, ...] = ()
    kind: StatementKind = StatementKind.UNKNOWN
    fingerprint: str = ""
    read_set: ReadSet = ReadSet()
    valid_until: float | None = None
    trail: Trail = NO_TRAIL

    def sentence(self) -> str:
        """The message with its ways out, as a client should show it."""
        return " ".join([self.message, *(f"Fix: {fix.hint}" for fix in self.fixes)])


@dataclass(frozen=True, slots=True)
class Need:
    """Facts that are missing; the edge answers them and decides again."""

    probes: tuple[Probe[Any], ...] = field(default=())


Decision = Plan | Answer | Refusal
"""A finished decision."""
