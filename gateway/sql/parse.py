"""Text to a parsed statement, or a refusal with its place.

Two readers share the work: our own small grammars (`dialects/*/statements.py`) take everything that
sqlglot would keep as an opaque `Command`, and sqlglot takes queries and data definition. A statement that
neither understands is refused; nothing opaque passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlglot import exp
from sqlglot.errors import ParseError, TokenError

from gateway.core.decision import Refusal, RefusalCode
from gateway.core.statement import Position, StatementKind, Wire
from gateway.sql.cursor import Cursor, Unparsed
from gateway.sql.dialects.clickhouse import statements as clickhouse
from gateway.sql.dialects.tokens import TooDeep, Unfaithful
from gateway.sql.dialects.trino import statements as trino
from gateway.sql.faithful import to_trees
from gateway.sql.kinds import classify
from gateway.sql.lexer import offset_at, position_at, unquote
from gateway.sql.shape import InnerText, Shape, Via

RULE = "sql-parse"
MAX_INNER = 4
"""How deep statements may contain statements (EXPLAIN of EXECUTE IMMEDIATE of …)."""

_GRAMMARS = {Wire.TRINO: trino.shape, Wire.CLICKHOUSE: clickhouse.shape}
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_WHERE = re.compile(r"\s*Line \d+, Col: \d+\.?.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a statement's text stands in the client's text.

    `exact` is false for text out of a string literal: its places all map to the literal's start.
    """

    text: str
    base: int = 0
    exact: bool = True

    def place(self, offset: int) -> Position:
        """The client's line and column of an offset in the statement's own text."""
        return position_at(self.text, self.base + offset if self.exact else self.base)


@dataclass(frozen=True, slots=True, eq=False)
class Inner:
    """A statement inside a statement."""

    parsed: Parsed
    via: Via


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """One statement. Exactly one of `tree` and `shape` is set.

    `tree` is sqlglot's; function calls in it are `exp.Anonymous` with their name as written. It belongs to
    the decision that parsed it: substitution works on a copy. `expressions` are trees of the stretches
    that `shape.expressions` names, each a `SELECT` of them.
    """

    text: str
    dialect: Wire
    kind: StatementKind
    verb: str
    source: Source
    tree: exp.Expr | None = field(default=None, repr=False)
    shape: Shape | None = None
    inner: tuple[Inner, ...] = ()
    expressions: tuple[exp.Expr, ...] = field(default=(), repr=False)

    def place_of(self, node: exp.Expr) -> Position | None:
        """The client's place of a tree node: its first identifier that kept one."""
        offset = start_of(node)
        return None if offset is None else self.source.place(offset)

    def every(self) -> Iterator[Parsed]:
        """This statement and all statements inside it."""
        yield self
        for inner in self.inner:
            yield from inner.parsed.every()

    def trees(self) -> Iterator[exp.Expr]:
        """The trees of this statement itself, not of inner ones."""
        if self.tree is not None:
            yield self.tree
        yield from self.expressions


def start_of(node: exp.Expr) -> int | None:
    """The offset of a node in the text it was parsed from, from the first identifier that has one."""
    if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
        starts = [part.meta["start"] for part in node.parts if "start" in part.meta]
        return min(starts, default=None)
    for part in node.walk():
        start = part.meta.get("start") if part.args else None
        if isinstance(start, int):
            return start
    return None


def parse(text: str, dialect: Wire) -> Parsed | Refusal:
    """Parse one statement that the guard let pass. Refuses with SYNTAX, NOT_SUPPORTED or TOO_COMPLEX."""
    return _parse(text, dialect, Source(text), 0)


def parse_inner(text: str, dialect: Wire, source: Source) -> Parsed | Refusal:
    """Parse a statement that belongs to another one (a prepared statement's text)."""
    return _parse(text, dialect, source, 1)


def _parse(text: str, dialect: Wire, source: Source, depth: int) -> Parsed | Refusal:
    if depth > MAX_INNER:
        return _refuse(RefusalCode.TOO_COMPLEX, "Statements are nested too deep in statements.", source, 0)
    found = classify(text, dialect)
    try:
        cursor = Cursor(text, dialect)
        if cursor.peek() is None:
            return _refuse(RefusalCode.SYNTAX, "The statement is empty.", source, 0)
        shape = _GRAMMARS[dialect](cursor, found.verb)
    except Unparsed as failure:
        return _relocated(failure.refusal, text, source)
    except RecursionError:
        return _too_complex(source)
    if shape is None:
        return _parse_tree(text, dialect, source)
    return _with_inner(text, dialect, source, shape, depth)


def _with_inner(text: str, dialect: Wire, source: Source, shape: Shape, depth: int) -> Parsed | Refusal:
    inner: list[Inner] = []
    for part in shape.inner:
        parsed = _parse_part(text, dialect, source, part, depth)
        if isinstance(parsed, Refusal):
            return parsed
        inner.append(Inner(parsed, part.via))
    expressions: list[exp.Expr] = []
    for start, end in shape.expressions:
        tree = _parse_expressions(text[start:end], dialect, source, start)
        if isinstance(tree, Refusal):
            return tree
        expressions.append(tree)
    return Parsed(
        text, dialect, shape.kind, shape.verb, source, None, shape, tuple(inner), tuple(expressions)
    )


def _parse_part(text: str, dialect: Wire, source: Source, part: InnerText, depth: int) -> Parsed | Refusal:
    if part.literal is not None:
        inside = unquote(part.literal, dialect)
        return _parse(inside, dialect, Source(source.text, source.base + part.start, exact=False), depth + 1)
    nested = Source(source.text, source.base + part.start, source.exact) if source.exact else source
    return _parse(text[part.start : part.end], dialect, nested, depth + 1)


_CALL = "SELECT arguments("
"""Expressions are read as a call's arguments: that allows a list, and names (`x => 1`)."""


def _parse_expressions(text: str, dialect: Wire, source: Source, start: int) -> exp.Expr | Refusal:
    base = source.base + start - len(_CALL) if source.exact else source.base
    parsed = _parse_tree(f"{_CALL}{text})", dialect, Source(source.text, base, source.exact))
    if isinstance(parsed, Refusal):
        return parsed
    call = parsed.tree.expressions[0] if parsed.tree is not None and parsed.tree.expressions else None
    if not isinstance(call, exp.Anonymous) or len(parsed.tree.expressions) != 1:  # type: ignore[union-attr]
        return _refuse(RefusalCode.SYNTAX, "An expression was expected here.", source, start)
    return exp.Tuple(expressions=call.expressions)


def _parse_tree(text: str, dialect: Wire, source: Source) -> Parsed | Refusal:
    try:
        trees = to_trees(text, dialect)
    except ParseError as error:
        return _syntax(error, text, source)
    except TokenError:
        return _refuse(RefusalCode.SYNTAX, "The statement cannot be split into words and symbols.", source, 0)
    except (RecursionError, TooDeep):
        return _too_complex(source)
    except Unfaithful as why:
        return _refuse(RefusalCode.NOT_SUPPORTED, why.message, source, why.offset)
    if not trees:
        return _refuse(RefusalCode.SYNTAX, "The statement is empty.", source, 0)
    if len(trees) > 1:
        offset = start_of(trees[1]) or 0
        return _refuse(RefusalCode.SYNTAX, "Only one statement may be sent at a time.", source, offset)
    tree = trees[0]
    kind = _kind(tree)
    if kind is None:
        verb = classify(text, dialect).verb or "This"
        return _refuse(
            RefusalCode.NOT_SUPPORTED, f"{verb} statements of this form are not supported.", source, 0
        )
    return Parsed(text, dialect, kind, classify(text, dialect).verb, source, tree)


_KINDS: tuple[tuple[type[exp.Expr], StatementKind], ...] = (
    (exp.Query, StatementKind.QUERY),
    (exp.Values, StatementKind.QUERY),
    (exp.Insert, StatementKind.INSERT),
    (exp.Update, StatementKind.UPDATE),
    (exp.Delete, StatementKind.DELETE),
    (exp.Merge, StatementKind.MERGE),
    (exp.Create, StatementKind.CREATE),
    (exp.Alter, StatementKind.ALTER),
    (exp.Drop, StatementKind.DROP),
)


def _kind(tree: exp.Expr) -> StatementKind | None:
    """The allow-list of root nodes; anything opaque inside makes the statement unknown too."""
    if tree.find(exp.Command) is not None:
        return None
    return next((kind for node, kind in _KINDS if isinstance(tree, node)), None)


def _syntax(error: ParseError, text: str, source: Source) -> Refusal:
    first = error.errors[0] if error.errors else {}
    description = _WHERE.sub("", _ANSI.sub("", str(first.get("description") or error)))[:200].strip()
    offset = _error_offset(first, text)
    return _refuse(RefusalCode.SYNTAX, f"Syntax error: {description or 'not understood'}.", source, offset)


def _error_offset(first: dict[str, object], text: str) -> int:
    """sqlglot's column is that of the token's last character; the highlight gives its length."""
    line, column = first.get("line"), first.get("col")
    if not isinstance(line, int) or not isinstance(column, int):
        return 0
    highlight = str(first.get("highlight") or "")
    start = 0
    for _ in range(line - 1):
        start = text.find("\n", start) + 1
    return max(start + column - max(len(highlight), 1), 0)


def _too_complex(source: Source) -> Refusal:
    return _refuse(RefusalCode.TOO_COMPLEX, "The statement is nested too deep to be read.", source, 0)


def _relocated(refusal: Refusal, text: str, source: Source) -> Refusal:
    """Move a position in `text` to the client's text."""
    if refusal.position is None:
        return refusal
    place = source.place(offset_at(text, refusal.position))
    return Refusal(refusal.code, refusal.message, place, refusal.rule)


def _refuse(code: RefusalCode, message: str, source: Source, offset: int) -> Refusal:
    return Refusal(code, message, source.place(offset), RULE)
