"""What a stage is, and the working state it works on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gateway.core.decision import IDENTITY, Answer, EngineKind, PositionMap, Refusal
from gateway.core.facts import Facts
from gateway.core.principal import Principal
from gateway.core.snapshot import Snapshot
from gateway.core.statement import RelationName, Statement, StatementKind
from gateway.core.trail import TrailBuilder

T = TypeVar("T")


@dataclass(slots=True)
class Draft:
    """One decision while it is being made. Private to one call of `decide`, so it may be mutable.

    `notes` is where a stage leaves values for later stages of other features, keyed by the value's type
    (the parsed tree, the resolved relations, an estimate): `draft.note(Parsed)` is typed as `Parsed`.
    """

    statement: Statement
    principal: Principal
    snapshot: Snapshot
    facts: Facts
    trail: TrailBuilder = field(default_factory=TrailBuilder)
    kind: StatementKind = StatementKind.UNKNOWN
    text: str = ""
    rewritten: bool = False
    positions: PositionMap = IDENTITY
    fingerprint: str = ""
    relations: tuple[RelationName, ...] = ()
    engine: EngineKind | None = None
    group: str = ""
    backends: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    max_queue_seconds: float | None = None
    read: dict[str, str] = field(default_factory=dict)
    valid_until: float | None = None
    notes: dict[type[Any], Any] = field(default_factory=dict)

    def note(self, kind: type[T]) -> T | None:
        """What an earlier stage left under this type, or None."""
        value = self.notes.get(kind)
        return value if isinstance(value, kind) else None

    def leave(self, value: object) -> None:
        """Leave a value for later stages, keyed by its type."""
        self.notes[type(value)] = value

    def expires(self, at: float) -> None:
        """The decision holds no longer than Unix time `at`."""
        self.valid_until = at if self.valid_until is None else min(self.valid_until, at)

    def fork(self) -> Draft:
        """A copy for *observe* mode: what happens to it changes nothing here. Trees are copied on write."""
        twin = copy.copy(self)
        twin.trail = TrailBuilder()
        twin.settings, twin.read, twin.notes = dict(self.settings), dict(self.read), dict(self.notes)
        return twin


StageResult = Refusal | Answer | None
"""None goes on to the next stage."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A named pure step. `feature` ties it to a mode; None means that it always runs."""

    name: str
    run: Callable[[Draft], StageResult]
    feature: str | None = None
