"""Text for the engine, and the proof that it says what the plan says.

The text is made from the tree, read again by the same parser, and every relation that it names must be one
that the plan allows. Positions in the engine's messages map back to the client's text by the identifiers
that both texts share: exact at an identifier, the nearest identifier before it elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.errors import SqlglotError

from gateway.core.decision import PositionMap, Refusal, RefusalCode
from gateway.core.statement import RelationName, Statement
from gateway.sql.dialects.tokens import MARK
from gateway.sql.parse import Parsed, parse
from gateway.sql.relations import UNSURE, references
from gateway.sql.render import render

RULE = "sql-emit"


@dataclass(frozen=True, slots=True)
class Allowed:
    """Note for *emit*: the relations that the emitted text may name; set by whoever rewrote the tree.

    Table functions count as `RelationName("", "", name)`.
    """

    relations: frozenset[RelationName]


@dataclass(frozen=True, slots=True)
class Emitted:
    """Text that may reach an engine."""

    text: str
    positions: PositionMap


def emit(parsed: Parsed, statement: Statement, allowed: frozenset[RelationName]) -> Emitted | Refusal:
    """Generate, re-parse and assert. Table functions count under RelationName("", "", name).

    Refuses with NOT_SUPPORTED what cannot be written faithfully, and with INTERNAL a text that names more
    than `allowed`; such a text never leaves this function.
    """
    try:
        text = render(parsed)
    except SqlglotError as error:
        message = f"This statement cannot be rewritten: {str(error)[:200]}"
        return Refusal(RefusalCode.NOT_SUPPORTED, message, rule=RULE)
    except RecursionError:
        return Refusal(RefusalCode.TOO_COMPLEX, "The statement is nested too deep to be written.", rule=RULE)
    if MARK in text:
        return _broken("the text holds a mark of the parser")
    again = parse(text, parsed.dialect)
    if isinstance(again, Refusal):
        return _broken(f"the text cannot be read again: {again.message}")
    if again.kind is not parsed.kind or (parsed.shape is not None and again.verb != parsed.verb):
        return _broken(f"the text became {again.verb}")
    named = references(again, statement)
    if isinstance(named, Refusal):
        return _broken(named.message)
    if any(reference.kind in UNSURE for reference in named):
        return _broken("it names a relation that cannot be resolved")
    extra = {reference.name for reference in named} - allowed
    if extra:
        return _broken(f"it names {len(extra)} relation(s) that the plan does not")
    return Emitted(text, PositionMap(tuple(anchors(parsed, again)), identity=False))


def _broken(why: str) -> Refusal:
    message = f"The gateway could not rewrite this statement safely ({why}). Nothing was run."
    return Refusal(RefusalCode.INTERNAL, message, rule=RULE)


def anchors(parsed: Parsed, emitted: Parsed) -> list[tuple[int, int, int, int]]:
    """(emitted line, column, original line, column), sorted, for identifiers that correspond.

    Both trees have the same shape, so they are walked side by side until they part.
    """
    found: list[tuple[int, int, int, int]] = []
    for before, after in zip(parsed.every(), emitted.every(), strict=False):
        if before.tree is None or after.tree is None or not (before.source.exact and after.source.exact):
            continue
        for old, new in _pairs(before.tree, after.tree):
            start, end = old.meta.get("start"), new.meta.get("start")
            if isinstance(start, int) and isinstance(end, int):
                here, there = after.source.place(end), before.source.place(start)
                found.append((here.line, here.column, there.line, there.column))
    return sorted(found)


def _pairs(old: exp.Expr, new: exp.Expr) -> Iterator[tuple[exp.Expr, exp.Expr]]:
    for left, right in zip(old.walk(), new.walk(), strict=False):
        if type(left) is not type(right):
            return
        if isinstance(left, (exp.Identifier, exp.Anonymous)):
            yield left, right
