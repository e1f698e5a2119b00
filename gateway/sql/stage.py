"""The pipeline stages of the SQL engine room: parse, resolve, emit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from gateway.core.decision import Refusal, RefusalCode
from gateway.core.snapshot import Snapshot
from gateway.core.stage import Draft, Stage, StageResult
from gateway.core.statement import Wire
from gateway.sql.emit import Allowed, emit
from gateway.sql.fingerprint import fingerprint
from gateway.sql.guard import guard
from gateway.sql.kinds import Kind, classify
from gateway.sql.limits import DEFAULT_LIMITS, SqlLimits
from gateway.sql.parse import Parsed, parse
from gateway.sql.prepared import inlined
from gateway.sql.relations import Reference, RefKind, references


@dataclass(frozen=True, slots=True)
class SqlRules:
    """Snapshot part: whether a bounded statement that cannot be parsed may pass as it is.

    True only where governance is off. `version` changes with it.
    """

    pass_unparsed: bool = False
    version: str = "0"


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """Note left by *resolve*: every reference of the statement, in the order of the walk."""

    all: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Unparsed:
    """Note left by *parse* for a statement that passes as it is: what kept it from being parsed."""

    kind: Kind
    why: Refusal


def parse_stage(draft: Draft) -> StageResult:
    """Guard, fingerprint, parse. Leaves `Parsed`, or `Unparsed` where the rules let the text pass."""
    text, dialect = draft.statement.text, draft.statement.wire
    limits = _part(draft.snapshot, SqlLimits, DEFAULT_LIMITS)
    draft.read["sql:limits"] = limits.version
    found = classify(text, dialect)
    draft.kind = found.kind
    bounds = guard(text, dialect, limits)
    if isinstance(bounds, Refusal):
        if bounds.code is not RefusalCode.SYNTAX or not _passes(draft):
            return bounds
        _pass(draft, found, bounds)
        return None
    draft.fingerprint = fingerprint(text, dialect)
    parsed = parse(text, dialect)
    if isinstance(parsed, Refusal):
        if not _passes(draft):
            return parsed
        _pass(draft, found, parsed)
        return None
    draft.kind = parsed.kind
    draft.leave(parsed)
    return None


def _passes(draft: Draft) -> bool:
    return _part(draft.snapshot, SqlRules, _STRICT).pass_unparsed


_STRICT = SqlRules()


def _pass(draft: Draft, found: Kind, why: Refusal) -> None:
    draft.fingerprint = draft.fingerprint or fingerprint(draft.statement.text, draft.statement.wire)
    draft.trail.add(
        "parse", "passed unparsed", rule=why.rule, detail=f"{why.code.value}, kind {found.kind.value}"
    )
    draft.leave(Unparsed(found, why))


def resolve_stage(draft: Draft) -> StageResult:
    """Find every reference. Leaves `References` and sets the draft's relations (tables only, sorted)."""
    parsed = draft.note(Parsed)
    if parsed is None:
        return None
    if parsed.shape is not None and parsed.shape.verb == "EXECUTE" and draft.statement.wire is Wire.TRINO:
        whole = inlined(parsed, draft.statement)
        if isinstance(whole, Refusal):
            return _unresolved(draft, whole)
        parsed = whole
        draft.leave(parsed)
    found = references(parsed, draft.statement)
    if isinstance(found, Refusal):
        return _unresolved(draft, found)
    draft.leave(References(found))
    draft.relations = tuple(sorted({ref.name for ref in found if ref.kind is RefKind.TABLE}))
    return None


def _unresolved(draft: Draft, refusal: Refusal) -> StageResult:
    if not _passes(draft):
        return refusal
    draft.trail.add("resolve", "left to the engine", rule=refusal.rule, detail=refusal.code.value)
    return None


def emit_stage(draft: Draft) -> StageResult:
    """The original text where nothing was rewritten; otherwise generated, re-read and checked text."""
    if not draft.rewritten:
        draft.text = draft.statement.text
        return None
    parsed, allowed = draft.note(Parsed), draft.note(Allowed)
    if parsed is None or allowed is None:
        message = "A rewritten statement has no tree to be written from. Nothing was run."
        return Refusal(RefusalCode.INTERNAL, message, rule="sql-emit")
    emitted = emit(parsed, draft.statement, allowed.relations)
    if isinstance(emitted, Refusal):
        return emitted
    draft.text, draft.positions = emitted.text, emitted.positions
    return None


P = TypeVar("P", SqlLimits, SqlRules)


def _part(snapshot: Snapshot, kind: type[P], default: P) -> P:
    if kind not in snapshot:
        return default
    return snapshot[kind]


PARSE = Stage("parse", parse_stage)
RESOLVE = Stage("resolve", resolve_stage)
EMIT = Stage("emit", emit_stage)
