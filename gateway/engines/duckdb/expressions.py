"""Expressions of Trino's SQL, one tree node at a time, to typed DuckDB SQL."""

# ruff: noqa: S608 - SQL is made here, from a parsed tree and quoted names; a client's text is never pasted.

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn, Protocol
from zoneinfo import ZoneInfo

from sqlglot import exp

from gateway.core.statement import Position
from gateway.engines.duckdb import coercion, scalars, temporal
from gateway.engines.duckdb.aggregates import AGGREGATES, WINDOWS, result_type_name
from gateway.engines.duckdb.coercion import INTERVALS, NUMERIC, TEXT, Casts, common, zone_in_text
from gateway.engines.duckdb.failures import fail
from gateway.engines.duckdb.names import FUNCTIONS
from gateway.engines.duckdb.overloads import Call, choose, returned, said
from gateway.engines.duckdb.representation import HELPERS, field_name
from gateway.engines.duckdb.scope import Field, Output, Scope, Typed, quote, text
from gateway.engines.duckdb.syntax import Source, call_of
from gateway.wire.trino.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    INTERVAL_DAY,
    INTERVAL_YEAR,
    JSON,
    UNKNOWN,
    VARBINARY,
    VARCHAR,
    TrinoType,
    UnknownType,
    array,
    decimal,
    display,
    map_of,
    parse_type,
    row,
    timestamp,
    timestamp_tz,
    varchar,
)

MAX_DEPTH = 400
_NOT_PLAIN = "aggregations, window functions or grouping operations"


class SessionView(Protocol):
    """What an expression may depend on besides the text."""

    @property
    def user(self) -> str: ...
    @property
    def catalog(self) -> str | None: ...
    @property
    def schema(self) -> str | None: ...
    @property
    def zone(self) -> str: ...
    @property
    def now(self) -> datetime: ...
    @property
    def version(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value given with EXECUTE … USING, and the text that it stands in."""

    node: exp.Expr
    source: Source


@dataclass(frozen=True, slots=True)
class Clause:
    """Where an expression stands, as far as it limits what may be in it."""

    name: str
    aggregates: bool = False
    windows: bool = False
    inside: str | None = None
    """The aggregate around it, and where that begins."""
    inside_place: Position | None = None


_COMPARE: dict[type[exp.Expr], str] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
}  # fmt: skip
_ARITHMETIC: dict[type[exp.Expr], str] = {
    exp.Add: "add", exp.Sub: "sub", exp.Mul: "mul", exp.Div: "div", exp.Mod: "mod",
}  # fmt: skip
_Handler = Callable[["Expressions", Any, Scope], Typed]
_NODES: dict[type[exp.Expr], _Handler] = {}


def _node(*kinds: type[exp.Expr]) -> Callable[[_Handler], _Handler]:
    def register(handler: _Handler) -> _Handler:
        for kind in kinds:
            _NODES[kind] = handler
        return handler

    return register


class Expressions:
    """Translates expressions. Queries inside of them come from the subclass that knows queries."""

    def __init__(self, source: Source, session: SessionView, parameters: Sequence[Parameter] = ()) -> None:
        self.source = source
        self.session = session
        self.parameters = list(parameters)
        self.casts = Casts(session.zone)
        self.clause = Clause("SELECT", aggregates=True, windows=True)
        self._lambdas = 0
        self._depth = 0
        self._window_names: dict[str, exp.Window] = {}

    def subquery(self, node: exp.Expr, scope: Scope) -> Output:
        """A query inside an expression."""
        raise NotImplementedError

    # -- entry

    def expression(self, node: exp.Expr, scope: Scope) -> Typed:
        """One expression. Raises TrinoFailure with the place in the client's text."""
        handler = _NODES.get(type(node))
        if handler is None:
            fail(
                "NOT_SUPPORTED",
                f"The embedded engine has no {node.key.replace('_', ' ')}",
                self.source.of(node),
            )
        self._depth += 1
        if self._depth > MAX_DEPTH:
            fail("STACK_OVERFLOW", "The expression is nested too deeply", self.source.of(node))
        try:
            return handler(self, node, scope)
        finally:
            self._depth -= 1

    def condition(self, node: exp.Expr, scope: Scope, what: str) -> str:
        """A boolean expression of a clause."""
        value = self.expression(node, scope)
        if value.type.base not in ("boolean", "unknown"):
            fail(
                "TYPE_MISMATCH",
                f"{what} must evaluate to a boolean: actual type {display(value.type)}",
                self.source.of(node),
            )
        return value.sql if value.type == BOOLEAN else "CAST(NULL AS BOOLEAN)"

    def arithmetic(self, op: str, a: Typed, b: Typed, place: Position | None) -> Typed:
        return coercion.arithmetic(self.casts, op, a, b, place)

    def now_sql(self, digits: int) -> str:
        return f"TIMESTAMPTZ {text(_fraction(self.session.now, digits, ' '))}"

    def decimal_literal(self, digits: str, place: Position | None) -> Typed:
        """`1.50`, with the precision and scale that it is written with."""
        found = re.fullmatch(r"([+-]?)(\d*)(?:\.(\d*))?", digits)
        if found is None or not (found[2] or found[3]):
            fail("INVALID_LITERAL", f"'{digits}' is not a valid DECIMAL literal", place)
        whole, fraction = found[2].lstrip("0"), found[3] or ""
        precision = max(1, len(whole) + len(fraction))
        if precision > 38:
            fail("INVALID_LITERAL", f"Invalid decimal literal '{digits}': more than 38 digits", place)
        value = f"{found[1]}{found[2] or '0'}.{fraction}" if fraction else f"{found[1]}{found[2] or '0'}"
        return Typed(
            f"CAST('{value}' AS DECIMAL({precision},{len(fraction)}))", decimal(precision, len(fraction))
        )

    def wrong_parameters(self) -> NoReturn:
        expected, given = len(self.source.placeholders), len(self.parameters)
        fail(
            "INVALID_PARAMETER_USAGE",
            f"Incorrect number of parameters: expected {expected} but found {given}",
        )

    # -- comparison

    def compare(self, symbol: str, a: Typed, b: Typed, place: Position | None) -> Typed:
        kind = common(a.type, b.type)
        if kind is None or (symbol in ("<", "<=", ">", ">=") and kind.base in ("map", "json")):
            fail(
                "TYPE_MISMATCH", f"Cannot apply operator: {display(a.type)} {symbol} {display(b.type)}", place
            )
        left, right = self.comparable(a, kind), self.comparable(b, kind)
        return Typed(f"({left} {symbol} {right})", BOOLEAN)

    def comparable(self, value: Typed, kind: TrinoType) -> str:
        if kind.base == "char" or value.type.base == "char":
            return value.sql if kind.base == "char" else self.casts.implicit(value, kind).sql
        return self.casts.implicit(value, kind).sql

    # -- lambdas

    def lambda_body(
        self,
        node: exp.Expr,
        types: Sequence[TrinoType],
        place: Position | None,
        stands_for: Sequence[str] | None = None,
    ) -> tuple[list[str], Typed]:
        """The parameters' names in DuckDB, and the body. `stands_for` replaces parameters by other SQL."""
        if not isinstance(node, exp.Lambda):
            fail("FUNCTION_NOT_FOUND", "A lambda expression (x -> …) is expected here", place)
        given = [one.name for one in node.expressions]
        if len(given) != len(types):
            fail(
                "INVALID_ARGUMENTS",
                f"The lambda takes {len(given)} arguments, {len(types)} are passed",
                place,
            )
        names = []
        fields = []
        for index, (name, kind) in enumerate(zip(given, types, strict=True)):
            self._lambdas += 1
            names.append(f"l{self._lambdas}")
            fields.append(Field(name, kind, stands_for[index] if stands_for else names[-1]))
        scope = Scope(fields, self.lambda_scope)
        body = self.expression(node.this, scope)
        return names, body

    lambda_scope: Scope | None = None


# -- names


@_node(exp.Column)
def _column(self: Expressions, node: exp.Column, scope: Scope) -> Typed:
    if isinstance(node.this, exp.Star):
        fail("NOT_SUPPORTED", "A star is not an expression", self.source.of(node))
    return _named(self, [part.name for part in node.parts], scope, node)


@_node(exp.Identifier)
def _identifier(self: Expressions, node: exp.Identifier, scope: Scope) -> Typed:
    return _named(self, [node.name], scope, node)


_SESSION_NAMES = {"current_user", "current_catalog", "current_schema", "current_path"}


def _named(self: Expressions, parts: list[str], scope: Scope, node: exp.Expr) -> Typed:
    lowered = tuple(part.lower() for part in parts)
    for length in range(len(parts), 0, -1):
        found = scope.find(lowered[:length])
        if length < len(parts):
            found = [one for one in found if one.type.base == "row"]
        if len(found) > 1:
            fail("AMBIGUOUS_NAME", f"Column '{'.'.join(parts[:length])}' is ambiguous", self.source.of(node))
        if found:
            return _fields_of(self, Typed(found[0].sql, found[0].type), parts[length:], node)
    if len(parts) == 1 and lowered[0] in _SESSION_NAMES:
        return _session_value(self, lowered[0])
    fail("COLUMN_NOT_FOUND", f"Column '{'.'.join(parts)}' cannot be resolved", self.source.of(node))


def _fields_of(self: Expressions, value: Typed, names: Sequence[str], node: exp.Expr) -> Typed:
    for name in names:
        index = next(
            (i for i, one in enumerate(value.type.names) if (one or "").lower() == name.lower()), None
        )
        if value.type.base != "row" or index is None:
            fail("COLUMN_NOT_FOUND", f"Column '{name}' cannot be resolved", self.source.of(node))
        value = _field_at(value, index)
    return value


def _field_at(value: Typed, index: int) -> Typed:
    return Typed(f"({value.sql})[{text(field_name(value.type, index))}]", value.type.items[index])


@_node(exp.Dot)
def _dot(self: Expressions, node: exp.Dot, scope: Scope) -> Typed:
    return _fields_of(self, self.expression(node.this, scope), [node.expression.name], node)


def _session_value(self: Expressions, name: str) -> Typed:
    value = {
        "current_user": self.session.user,
        "current_catalog": self.session.catalog,
        "current_schema": self.session.schema,
        "current_path": "",
    }[name]
    return Typed("CAST(NULL AS VARCHAR)" if value is None else text(value), VARCHAR, value)


@_node(exp.CurrentUser, exp.CurrentCatalog, exp.CurrentSchema)
def _current(self: Expressions, node: exp.Expr, scope: Scope) -> Typed:
    return _session_value(self, node.key if "_" in node.key else node.key.replace("current", "current_"))


# -- literals


@_node(exp.Literal)
def _literal(self: Expressions, node: exp.Literal, scope: Scope) -> Typed:
    value = node.this
    if node.is_string:
        return Typed(text(value), varchar(len(value)), value)
    if "e" in value.lower():
        return Typed(f"CAST({text(value)} AS DOUBLE)", DOUBLE, float(value))
    if "." in value:
        return self.decimal_literal(_as_written(self, node), self.source.of(node))
    number = int(value)
    if number <= 2_147_483_647:
        return Typed(value, INTEGER, number)
    if number <= 9_223_372_036_854_775_807:
        return Typed(f"CAST({value} AS BIGINT)", BIGINT, number)
    fail("INVALID_LITERAL", f"Invalid numeric literal: {value}", self.source.of(node))


def _as_written(self: Expressions, node: exp.Literal) -> str:
    """The parser shows `.5` and `0.50` alike; their types differ."""
    start, end = node.meta.get("start"), node.meta.get("end")
    if start is not None and end is not None:
        written = self.source.text[start : end + 1].replace("_", "")
        if re.fullmatch(r"\d*\.\d*", written):
            return written
    return str(node.this)


@_node(exp.Boolean)
def _boolean(self: Expressions, node: exp.Boolean, scope: Scope) -> Typed:
    return Typed("true" if node.this else "false", BOOLEAN, bool(node.this))


@_node(exp.Null)
def _null(self: Expressions, node: exp.Null, scope: Scope) -> Typed:
    return Typed("NULL", UNKNOWN)


@_node(exp.HexString)
def _hex(self: Expressions, node: exp.HexString, scope: Scope) -> Typed:
    digits = re.sub(r"\s", "", str(node.this))
    if len(digits) % 2 or re.search(r"[^0-9a-fA-F]", digits):
        fail(
            "INVALID_LITERAL",
            "Binary literal must contain an even number of hexadecimal digits",
            self.source.of(node),
        )
    return Typed(f"unhex({text(digits)})", VARBINARY)


@_node(exp.UnicodeString)
def _unicode(self: Expressions, node: exp.UnicodeString, scope: Scope) -> Typed:
    value = re.sub(
        r"\\(?:\+([0-9a-fA-F]{6})|([0-9a-fA-F]{4})|\\)",
        lambda m: "\\" if not (m[1] or m[2]) else chr(int(m[1] or m[2], 16)),
        str(node.name),
    )
    return Typed(text(value), varchar(len(value)), value)


_INTERVAL = {
    "year": "to_years", "month": "to_months", "week": "to_weeks", "day": "to_days", "hour": "to_hours",
    "minute": "to_minutes", "second": "to_seconds",
}  # fmt: skip


@_node(exp.Interval)
def _interval(self: Expressions, node: exp.Interval, scope: Scope) -> Typed:
    value, unit = node.this, node.args.get("unit")
    negative = isinstance(value, exp.Neg)
    literal = str((value.this if negative else value).name)
    if isinstance(unit, exp.IntervalSpan):
        return _span(self, literal, negative, unit, node)
    name = unit.name.lower().rstrip("s") if unit is not None else ""
    if name not in _INTERVAL or not re.fullmatch(r"[+-]?\d+(\.\d+)?", literal):
        fail("INVALID_LITERAL", f"Invalid INTERVAL {name.upper()} value: {literal}", self.source.of(node))
    kind = INTERVAL_YEAR if name in ("year", "month") else INTERVAL_DAY
    number = f"{'-' if negative else ''}{literal}".replace("--", "")
    argument = f"CAST({number} AS DOUBLE)" if "." in number else number
    return Typed(f"{_INTERVAL[name]}({argument})", kind)


def _span(self: Expressions, literal: str, negative: bool, unit: exp.Expr, node: exp.Expr) -> Typed:
    first, last = unit.this.name.lower(), unit.expression.name.lower()
    sign = "-" if negative != literal.startswith("-") else ""
    body = literal.lstrip("+-")
    if (first, last) == ("year", "month") and (found := re.fullmatch(r"(\d+)-(\d+)", body)):
        return Typed(f"to_months({sign}{int(found[1]) * 12 + int(found[2])})", INTERVAL_YEAR)
    order = ("day", "hour", "minute", "second")
    numbers = re.split(r"[ :]", body)
    if first in order and last in order and len(numbers) == order.index(last) - order.index(first) + 1:
        factors = (86_400_000, 3_600_000, 60_000, 1000)[order.index(first) : order.index(last) + 1]
        if all(re.fullmatch(r"\d+(\.\d+)?", one) for one in numbers):
            total = sum(round(float(one) * factor) for one, factor in zip(numbers, factors, strict=True))
            return Typed(f"to_milliseconds({sign}{total})", INTERVAL_DAY)
    fail(
        "INVALID_LITERAL",
        f"Invalid INTERVAL {first.upper()} TO {last.upper()} value: {literal}",
        self.source.of(node),
    )


@_node(exp.ParseJSON)
def _json_literal(self: Expressions, node: exp.ParseJSON, scope: Scope) -> Typed:
    value = self.expression(node.this, scope)
    return Typed(f"{HELPERS}.parse_json({value.sql})", JSON)


def _parameter(self: Expressions, offset: int | None) -> Typed:
    """The value of a question mark: they count in the order of the text, whatever the order of translation."""
    places = self.source.placeholders
    index = places.index(offset) if offset in places else 0
    if index >= len(self.parameters):
        self.wrong_parameters()
    parameter = self.parameters[index]
    before, self.source = self.source, parameter.source
    try:
        return self.expression(parameter.node, Scope())
    finally:
        self.source = before


# -- the clock


def _fraction(moment: datetime, digits: int, separator: str) -> str:
    shown = moment.strftime(f"%Y-%m-%d{separator}%H:%M:%S")
    fraction = f"{moment.microsecond:06d}"[:digits]
    offset = moment.strftime("%z")
    return (
        f"{shown}{'.' + fraction if fraction else ''}{offset[:3]}:{offset[3:5]}"
        if offset
        else (f"{shown}{'.' + fraction if fraction else ''}")
    )


def _digits(node: exp.Expr) -> int:
    given = node.args.get("this")
    return int(given.name) if isinstance(given, exp.Literal) else 3


def _local_now(self: Expressions) -> datetime:
    return self.session.now.astimezone(_tzinfo(self.session.zone)).replace(tzinfo=None)


def _tzinfo(zone: str) -> Any:
    if zone[:1] in "+-":
        return datetime.fromisoformat(f"2000-01-01T00:00:00{zone}").tzinfo
    return ZoneInfo(zone)


@_node(exp.CurrentTimestamp)
def _current_timestamp(self: Expressions, node: exp.Expr, scope: Scope) -> Typed:
    digits = min(_digits(node), 6)
    return Typed(self.now_sql(digits), timestamp_tz(_digits(node), self.session.zone))


@_node(exp.CurrentDate)
def _current_date(self: Expressions, node: exp.Expr, scope: Scope) -> Typed:
    return Typed(f"DATE '{_local_now(self):%Y-%m-%d}'", DATE)


@_node(exp.Localtimestamp)
def _localtimestamp(self: Expressions, node: exp.Expr, scope: Scope) -> Typed:
    shown = _fraction(_local_now(self), min(_digits(node), 6), " ")
    return Typed(f"TIMESTAMP '{shown}'", timestamp(_digits(node)))


@_node(exp.Localtime)
def _localtime(self: Expressions, node: exp.Expr, scope: Scope) -> Typed:
    shown = _fraction(_local_now(self), min(_digits(node), 6), " ")[11:]
    return Typed(f"TIME '{shown}'", TrinoType("time", (_digits(node),)))


@_node(exp.CurrentTime)
def _current_time(self: Expressions, node: exp.Expr, scope: Scope) -> Typed:
    here = self.session.now.astimezone(_tzinfo(self.session.zone))
    return Typed(
        text(_fraction(here, min(_digits(node), 6), " ")[11:]),
        TrinoType("time with time zone", (_digits(node),)),
    )


# -- operators


@_node(exp.Paren)
def _paren(self: Expressions, node: exp.Paren, scope: Scope) -> Typed:
    inner = self.expression(node.this, scope)
    return Typed(f"({inner.sql})", inner.type, inner.literal)


@_node(exp.Neg)
def _negative(self: Expressions, node: exp.Neg, scope: Scope) -> Typed:
    if isinstance(node.this, exp.Literal) and node.this.name == "9223372036854775808":
        return Typed("CAST(-9223372036854775808 AS BIGINT)", BIGINT)
    value = self.expression(node.this, scope)
    if value.type.base not in NUMERIC and value.type.base not in INTERVALS and value.type != UNKNOWN:
        fail("TYPE_MISMATCH", f"Cannot negate {display(value.type)}", self.source.of(node))
    return Typed(f"(-{value.sql})", value.type)


@_node(exp.Not)
def _not(self: Expressions, node: exp.Not, scope: Scope) -> Typed:
    return Typed(f"(NOT {self.condition(node.this, scope, 'Value of logical NOT expression')})", BOOLEAN)


@_node(exp.And, exp.Or)
def _logical(self: Expressions, node: exp.Expr, scope: Scope) -> Typed:
    # A long chain is a deep tree on the left; walk it instead of recursing.
    symbol, kind = (" AND ", exp.And) if isinstance(node, exp.And) else (" OR ", exp.Or)
    terms: list[exp.Expr] = []
    here: exp.Expr = node
    while isinstance(here, kind):
        terms.append(here.expression)
        here = here.this
    parts = [self.condition(term, scope, "Logical expression term") for term in (here, *reversed(terms))]
    return Typed(f"({symbol.join(parts)})", BOOLEAN)


@_node(*_ARITHMETIC)
def _binary(self: Expressions, node: exp.Expr, scope: Scope) -> Typed:
    a, b = self.expression(node.this, scope), self.expression(node.expression, scope)
    return self.arithmetic(_ARITHMETIC[type(node)], a, b, self.source.operator(node))


@_node(exp.DPipe)
def _concat(self: Expressions, node: exp.DPipe, scope: Scope) -> Typed:
    args = [self.expression(node.this, scope), self.expression(node.expression, scope)]
    return scalars.concat(Call("concat", args, [], self.source.operator(node), self))


@_node(*_COMPARE)
def _comparison(self: Expressions, node: exp.Expr, scope: Scope) -> Typed:
    symbol = _COMPARE[type(node)]
    right = node.expression
    if isinstance(right, exp.Any | exp.All):
        return _quantified(self, node, symbol, scope)
    a, b = self.expression(node.this, scope), self.expression(right, scope)
    return self.compare(symbol, a, b, self.source.operator(node))


def _quantified(self: Expressions, node: exp.Expr, symbol: str, scope: Scope) -> Typed:
    right = node.expression
    word = "ALL" if isinstance(right, exp.All) else "ANY"
    inner = right.this.this if isinstance(right.this, exp.Subquery) else right.this
    output = self.subquery(inner, scope)
    value = self.expression(node.this, scope)
    value, sql = _match_column(self, value, output, node)
    return Typed(f"({value.sql} {symbol} {word} ({sql}))", BOOLEAN)


def _match_column(self: Expressions, value: Typed, output: Output, node: exp.Expr) -> tuple[Typed, str]:
    """A value and the one column of a subquery, in their common type."""
    if len(output.types) != 1:
        fail(
            "TYPE_MISMATCH",
            f"Subquery must return one column, it returns {len(output.types)}",
            self.source.of(node),
        )
    kind = common(value.type, output.types[0])
    if kind is None:
        fail(
            "TYPE_MISMATCH",
            f"value and result of subquery must be of the same type: {display(value.type)} vs "
            f"{display(output.types[0])}",
            self.source.of(node),
        )
    column = self.casts.implicit(Typed("c0", output.types[0]), kind)
    sql = output.sql if column.sql == "c0" else f"SELECT {column.sql} AS c0 FROM ({output.sql})"
    return self.casts.implicit(value, kind), sql


@_node(exp.NullSafeEQ, exp.NullSafeNEQ)
def _distinct_from(self: Expressions, node: exp.Expr, scope: Scope) -> Typed:
    a, b = self.expression(node.this, scope), self.expression(node.expression, scope)
    kind = common(a.type, b.type)
    if kind is None:
        fail(
            "TYPE_MISMATCH",
            f"Cannot apply operator: {display(a.type)} IS DISTINCT FROM {display(b.type)}",
            self.source.operator(node),
        )
    word = "IS DISTINCT FROM" if isinstance(node, exp.NullSafeNEQ) else "IS NOT DISTINCT FROM"
    return Typed(f"({self.comparable(a, kind)} {word} {self.comparable(b, kind)})", BOOLEAN)


@_node(exp.Is)
def _is(self: Expressions, node: exp.Is, scope: Scope) -> Typed:
    value = self.expression(node.this, scope)
    right = node.expression
    word = "IS NOT" if node.args.get("negate") else "IS"
    if isinstance(right, exp.Null):
        return Typed(f"({value.sql} {word} NULL)", BOOLEAN)
    if isinstance(right, exp.Boolean):
        return Typed(f"({value.sql} {word} {'TRUE' if right.this else 'FALSE'})", BOOLEAN)
    fail("SYNTAX_ERROR", "IS takes NULL, TRUE or FALSE", self.source.of(right))


@_node(exp.Between)
def _between(self: Expressions, node: exp.Between, scope: Scope) -> Typed:
    value = self.expression(node.this, scope)
    low, high = self.expression(node.args["low"], scope), self.expression(node.args["high"], scope)
    place = self.source.operator(node)
    if node.args.get("symmetric"):
        fail("NOT_SUPPORTED", "The embedded engine has no BETWEEN SYMMETRIC", place)
    at_least = self.compare(">=", value, low, place).sql
    return Typed(f"({at_least} AND {self.compare('<=', value, high, place).sql})", BOOLEAN)


@_node(exp.In)
def _in(self: Expressions, node: exp.In, scope: Scope) -> Typed:
    query = node.args.get("query")
    if query is not None:
        return _in_query(self, node, query, scope)
    left = self.expression(node.this, scope)
    values = [self.expression(one, scope) for one in node.expressions]
    kind = left.type
    for value in values:
        merged = common(kind, value.type)
        if merged is None:
            fail(
                "TYPE_MISMATCH",
                f"IN value and list items must be the same type or coercible to a common type. Cannot find common "
                f"type between {display(kind)} and {display(value.type)}",
                self.source.of(node),
            )
        kind = merged
    items = ", ".join(self.comparable(value, kind) for value in values)
    return Typed(f"({self.comparable(left, kind)} IN ({items}))", BOOLEAN)


def _in_query(self: Expressions, node: exp.In, query: exp.Expr, scope: Scope) -> Typed:
    inner = query.this if isinstance(query, exp.Subquery) and not query.args.get("limit") else query
    output = self.subquery(inner, scope)
    if isinstance(node.this, exp.Tuple):
        left = [self.expression(one, scope).sql for one in node.this.expressions]
        if len(left) != len(output.types):
            fail("TYPE_MISMATCH", "Row and subquery have different numbers of columns", self.source.of(node))
        return Typed(f"(({', '.join(left)}) IN ({output.sql}))", BOOLEAN)
    value, sql = _match_column(self, self.expression(node.this, scope), output, node)
    return Typed(f"({value.sql} IN ({sql}))", BOOLEAN)


@_node(exp.Like)
def _like(self: Expressions, node: exp.Like, scope: Scope) -> Typed:
    return _like_with(self, node, None, scope)


@_node(exp.Escape)
def _escape(self: Expressions, node: exp.Escape, scope: Scope) -> Typed:
    return _like_with(self, node.this, node.expression, scope)


def _like_with(self: Expressions, node: exp.Expr, escape: exp.Expr | None, scope: Scope) -> Typed:
    value, pattern = self.expression(node.this, scope), self.expression(node.expression, scope)
    for one, what in ((value, "Left"), (pattern, "Pattern")):
        if one.type.base not in TEXT and one.type != UNKNOWN:
            fail(
                "TYPE_MISMATCH",
                f"{what} side of LIKE expression must evaluate to a varchar (actual: {display(one.type)})",
                self.source.of(node),
            )
    subject = self.casts.implicit(value, VARCHAR).sql
    suffix = "" if escape is None else f" ESCAPE {self.expression(escape, scope).sql}"
    word = "NOT LIKE" if node.args.get("negate") else "LIKE"
    return Typed(f"({subject} {word} {self.casts.implicit(pattern, VARCHAR).sql}{suffix})", BOOLEAN)


@_node(exp.AtTimeZone)
def _at_time_zone(self: Expressions, node: exp.AtTimeZone, scope: Scope) -> Typed:
    value, zone = self.expression(node.this, scope), self.expression(node.args["zone"], scope)
    if not isinstance(zone.literal, str):
        fail("NOT_SUPPORTED", "AT TIME ZONE needs a literal in the embedded engine", self.source.of(node))
    if value.type.base == "timestamp":
        value = self.casts.cast(value, timestamp_tz(value.type.precision))
    if value.type.base != "timestamp with time zone":
        fail(
            "TYPE_MISMATCH",
            f"Type of value must be a time or timestamp with or without time zone (actual "
            f"{display(value.type)})",
            self.source.of(node),
        )
    return temporal.in_zone(value, zone.literal)


# -- casts


@_node(exp.Cast)
def _cast(self: Expressions, node: exp.Cast, scope: Scope) -> Typed:
    target = data_type(self, node.args["to"])
    value = self.expression(node.this, scope)
    if _is_literal_of(self, node, value):
        return _typed_literal(self, node, value, target)
    return self.casts.cast(value, target, self.source.before(node.this, "cast"))


def _is_literal_of(self: Expressions, node: exp.Cast, value: Typed) -> bool:
    """`DATE '2020-01-01'` rather than `CAST('2020-01-01' AS DATE)`: the text before the literal is a type."""
    start = node.this.meta.get("start") if isinstance(node.this, exp.Literal) else None
    if start is None or not isinstance(value.literal, str):
        return False
    before = self.source.text[:start].rstrip()
    return not before.endswith("(") and before[-1:].isalnum()


def _typed_literal(self: Expressions, node: exp.Cast, value: Typed, target: TrinoType) -> Typed:
    written = str(value.literal)
    if target.base in ("timestamp", "timestamp with time zone"):
        zone = zone_in_text(written)
        fraction = re.search(r"\.(\d+)", written)
        digits = len(fraction[1]) if fraction else 0
        target = timestamp_tz(digits, zone) if zone else timestamp(digits)
        if digits > 6 and not zone:
            return Typed(f"CAST({text(written)} AS TIMESTAMP_NS)", target)
    if target.base == "time":
        fraction = re.search(r"\.(\d+)", written)
        target = TrinoType("time", (len(fraction[1]) if fraction else 0,))
        if written.count(":") == 1:
            value = Typed(text(f"{written}:00"), VARCHAR, written)
    return Typed(self.casts.cast_sql(value, target), target, value.literal if target.base == "date" else None)


@_node(exp.TryCast)
def _try_cast(self: Expressions, node: exp.TryCast, scope: Scope) -> Typed:
    target = data_type(self, node.args["to"])
    value = self.expression(node.this, scope)
    before, self.casts.null_on_error = self.casts.null_on_error, True
    try:
        return self.casts.cast(value, target, self.source.before(node.this, "try_cast"))
    finally:
        self.casts.null_on_error = before


def data_type(self: Expressions, node: exp.Expr) -> TrinoType:
    """A type as written in SQL."""
    try:
        return _data_type(node)
    except UnknownType as error:
        fail("TYPE_NOT_FOUND", str(error), self.source.of(node))


_DTYPES = {
    exp.DataType.Type.INT: "integer", exp.DataType.Type.FLOAT: "real", exp.DataType.Type.TEXT: "varchar",
    exp.DataType.Type.TIMESTAMPTZ: "timestamp with time zone", exp.DataType.Type.TIMETZ: "time with time zone",
    exp.DataType.Type.VARBINARY: "varbinary", exp.DataType.Type.NULL: "unknown",
}  # fmt: skip


def _field_type(node: exp.Expr) -> tuple[str | None, TrinoType]:
    if isinstance(node, exp.ColumnDef):
        return node.name, _data_type(node.args["kind"])
    return None, _data_type(node)


def _data_type(node: exp.Expr) -> TrinoType:
    if not isinstance(node, exp.DataType):
        if isinstance(node, exp.Interval | exp.IntervalSpan):
            return parse_type(
                "interval " + node.sql(dialect="trino").lower().removeprefix("interval").strip()
            )
        return parse_type(node.sql(dialect="trino").lower())
    kind = node.this
    if isinstance(kind, exp.Expr):
        return parse_type("interval " + kind.sql(dialect="trino").lower().removeprefix("interval").strip())
    name = _DTYPES.get(kind) or str(kind.value).lower()
    inner = node.expressions
    if name == "array":
        return array(_data_type(inner[0]))
    if name == "map":
        return map_of(_data_type(inner[0]), _data_type(inner[1]))
    if name == "struct":
        fields = [_field_type(one) for one in inner]  # fmt: skip
        return row(tuple(kind for _, kind in fields), tuple(name for name, _ in fields))
    if name == "userdefined":
        return parse_type(
            node.args["kind"].name if isinstance(node.args["kind"], exp.Expr) else node.args["kind"]
        )
    numbers = ",".join(one.this.name for one in inner)
    head, _, tail = name.partition(" ")
    return parse_type(f"{head}({numbers}) {tail}" if numbers else name)


# -- conditional


@_node(exp.Case)
def _case(self: Expressions, node: exp.Case, scope: Scope) -> Typed:
    subject = None if node.this is None else self.expression(node.this, scope)
    tests, results = [], []
    for branch in node.args["ifs"]:
        if subject is None:
            tests.append(self.condition(branch.this, scope, "CASE WHEN clause"))
        else:
            tests.append(
                self.compare(
                    "=", subject, self.expression(branch.this, scope), self.source.of(branch.this)
                ).sql
            )
        results.append(self.expression(branch.args["true"], scope))
    default = node.args.get("default")
    if default is not None:
        results.append(self.expression(default, scope))
    call = Call("case", results, [], self.source.of(node), self)
    values = scalars.unify(call, results, "CASE results")
    arms = " ".join(f"WHEN {test} THEN {value.sql}" for test, value in zip(tests, values, strict=False))
    otherwise = f" ELSE {values[-1].sql}" if default is not None else ""
    return Typed(f"CASE {arms}{otherwise} END", values[0].type)


@_node(exp.If)
def _if_node(self: Expressions, node: exp.If, scope: Scope) -> Typed:
    arms = [node.this, node.args["true"], *([node.args["false"]] if node.args.get("false") else [])]
    values = [self.expression(arm, scope) for arm in arms]
    return scalars.HANDLERS["if"](Call("if", values, arms, self.source.of(node), self))


# -- constructors and access


@_node(exp.Array)
def _array(self: Expressions, node: exp.Array, scope: Scope) -> Typed:
    values = [self.expression(one, scope) for one in node.expressions]
    if not values:
        return Typed("[]", array(UNKNOWN))
    call = Call("array", values, [], self.source.of(node), self)
    values = scalars.unify(call, values, "ARRAY elements")
    return Typed(f"[{', '.join(value.sql for value in values)}]", array(values[0].type))


@_node(exp.Struct, exp.Tuple)
def _row(self: Expressions, node: exp.Expr, scope: Scope) -> Typed:
    values = [self.expression(one, scope) for one in node.expressions]
    kind = row(tuple(value.type for value in values))
    parts = ", ".join(f"{quote(field_name(kind, i))} := {value.sql}" for i, value in enumerate(values))
    return Typed(f"struct_pack({parts})", kind)


@_node(exp.Map, exp.VarMap)
def _map(self: Expressions, node: exp.Expr, scope: Scope) -> Typed:
    keys, values = node.args.get("keys"), node.args.get("values")
    if keys is None or values is None or (isinstance(keys, exp.Array) and not keys.expressions):
        return Typed("map([], [])", map_of(UNKNOWN, UNKNOWN))
    a, b = self.expression(keys, scope), self.expression(values, scope)
    if a.type.base != "array" or b.type.base != "array":
        fail(
            "FUNCTION_NOT_FOUND",
            f"Unexpected parameters ({display(a.type)}, {display(b.type)}) for function map. "
            "Expected: map(), map(array(K), array(V))",
            self.source.of(node),
        )
    return Typed(f"map({a.sql}, {b.sql})", map_of(a.type.items[0], b.type.items[0]))


@_node(exp.Bracket)
def _subscript(self: Expressions, node: exp.Bracket, scope: Scope) -> Typed:
    value = self.expression(node.this, scope)
    index_node = node.expressions[0]
    index = self.expression(index_node, scope)
    if value.type.base == "row":
        return _row_subscript(self, value, index, node)
    if value.type.base == "map":
        key = self.casts.implicit(index, value.type.items[0]).sql
        access = (
            f"({value.sql})[{key}]"
            if self.casts.null_on_error
            else f"{HELPERS}.map_subscript({value.sql}, {key})"
        )
        return Typed(access, value.type.items[1])
    if value.type.base == "array" and index.type.base in coercion.INTEGERS:
        name = "subscript"
        access = (
            f"({value.sql})[{index.sql}]"
            if self.casts.null_on_error
            else f"{HELPERS}.{name}({value.sql}, {index.sql})"
        )
        return Typed(access, value.type.items[0])
    fail(
        "TYPE_MISMATCH",
        f"Cannot use {display(index.type)} for subscript of {display(value.type)}",
        self.source.of(node),
    )


def _row_subscript(self: Expressions, value: Typed, index: Typed, node: exp.Expr) -> Typed:
    number = index.literal
    if not isinstance(number, int) or not 1 <= number <= len(value.type.items):
        fail(
            "INVALID_FUNCTION_ARGUMENT",
            f"Invalid subscript index: {number}. ROW indices start at 1",
            self.source.of(node),
        )
    return _field_at(value, number - 1)


# -- functions with syntax of their own


@_node(exp.Extract)
def _extract(self: Expressions, node: exp.Extract, scope: Scope) -> Typed:
    field = node.name.lower()
    value = self.expression(node.expression, scope)
    if field not in temporal.FIELDS:
        fail(
            "INVALID_FUNCTION_ARGUMENT",
            f"Invalid EXTRACT field: {field.upper()}",
            self.source.of(node.expression),
        )
    if value.type.base in INTERVALS:
        return Typed(f"CAST(date_part('{field}', {value.sql}) AS BIGINT)", BIGINT)
    if value.type.base not in ("date", "timestamp", "timestamp with time zone", "time"):
        fail(
            "TYPE_MISMATCH",
            f"Cannot extract {field.upper()} from {display(value.type)}",
            self.source.of(node.expression),
        )
    return Typed(temporal.part(self.casts.local(value), field), BIGINT)


@_node(exp.Trim)
def _trim(self: Expressions, node: exp.Trim, scope: Scope) -> Typed:
    name = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(str(node.args.get("position") or "").upper(), "trim")
    args = [node.this, *([node.expression] if node.args.get("expression") else [])]
    return _apply(self, name, [self.expression(one, scope) for one in args], args, self.source.of(node))


@_node(exp.Substring)
def _substring(self: Expressions, node: exp.Substring, scope: Scope) -> Typed:
    args = [one for one in (node.this, node.args.get("start"), node.args.get("length")) if one is not None]
    return _apply(
        self, "substring", [self.expression(one, scope) for one in args], args, self.source.of(node)
    )


@_node(exp.StrPosition)
def _position(self: Expressions, node: exp.StrPosition, scope: Scope) -> Typed:
    args = [node.this, node.args["substr"]]
    return _apply(self, "strpos", [self.expression(one, scope) for one in args], args, self.source.of(node))


@_node(exp.Exists)
def _exists(self: Expressions, node: exp.Exists, scope: Scope) -> Typed:
    inner = node.this.this if isinstance(node.this, exp.Subquery) else node.this
    return Typed(f"EXISTS ({self.subquery(inner, scope).sql})", BOOLEAN)


@_node(exp.Subquery, exp.Select)
def _scalar_subquery(self: Expressions, node: exp.Expr, scope: Scope) -> Typed:
    output = self.subquery(node, scope)
    if len(output.types) == 1:
        return Typed(f"({output.sql})", output.types[0])
    kind = row(output.types, output.names)
    parts = ", ".join(f"{quote(name)} := c{i}" for i, name in enumerate(output.names))
    return Typed(f"(SELECT struct_pack({parts}) FROM ({output.sql}))", kind)


# -- calls


@_node(exp.Anonymous)
def _call(self: Expressions, node: exp.Anonymous, scope: Scope) -> Typed:
    name, offset = call_of(node)
    if name == "parameter":
        return _parameter(self, offset)
    place = self.source.of(node)
    if name not in FUNCTIONS:
        fail("FUNCTION_NOT_FOUND", f"Function '{name}' not registered", place)
    if name in AGGREGATES:
        return _aggregate(self, node, scope, "")
    if name in WINDOWS:
        fail("MISSING_OVER", f"Window function {name} requires an OVER clause", place)
    if name == "try":
        return _try(self, node, scope)
    if name == "grouping":
        keys = ", ".join(self.expression(one, scope).sql for one in node.expressions)
        return Typed(f"CAST(grouping({keys}) AS INTEGER)", INTEGER)
    before, self.lambda_scope = self.lambda_scope, scope
    try:
        args = [_argument(self, one, scope) for one in node.expressions]
        return _apply(self, name, args, node.expressions, place)
    finally:
        self.lambda_scope = before


def _argument(self: Expressions, node: exp.Expr, scope: Scope) -> Typed:
    return Typed("", UNKNOWN) if isinstance(node, exp.Lambda) else self.expression(node, scope)


def _apply(
    self: Expressions, name: str, args: list[Typed], nodes: Sequence[exp.Expr], place: Position | None
) -> Typed:
    call = Call(name, args, nodes, place, self)
    if name in scalars.HANDLERS:
        return scalars.HANDLERS[name](call)
    call.extra["raw"] = call.types
    overload, call = choose(scalars.SCALARS[name], call)
    return Typed(said(overload, call), returned(overload, call))


def _try(self: Expressions, node: exp.Anonymous, scope: Scope) -> Typed:
    """TRY: what fails in our own SQL gives NULL instead; DuckDB's TRY catches the rest."""
    if len(node.expressions) != 1:
        fail("INVALID_ARGUMENTS", "The 'try' function must have exactly one argument", self.source.of(node))
    before, self.casts.null_on_error = self.casts.null_on_error, True
    try:
        value = self.expression(node.expressions[0], scope)
    finally:
        self.casts.null_on_error = before
    if any(call_of(one)[0] in AGGREGATES for one in node.find_all(exp.Anonymous)) or node.find(exp.Subquery):
        return Typed(value.sql, value.type)
    return Typed(f"TRY({value.sql})", value.type)


def _aggregate(
    self: Expressions, node: exp.Anonymous, scope: Scope, suffix: str, order: str = "", nulls: str = ""
) -> Typed:
    name, _ = call_of(node)
    place = self.source.of(node)
    windowed = " OVER " in suffix
    if not windowed:
        _check_aggregate(self, name, node, place)
    before = self.clause
    if not windowed:
        self.clause = Clause(
            before.name, aggregates=False, windows=before.windows, inside=name, inside_place=place
        )
    try:
        args, distinct, inner_order = _aggregate_arguments(self, node, scope)
    finally:
        self.clause = before
    extra = {"D": "DISTINCT " if distinct else "", "O": order or inner_order, "N": nulls}
    call = Call(name, args, node.expressions, place, self, dict(extra))
    table = WINDOWS if name in WINDOWS else AGGREGATES
    overload, call = choose(table[name], call)
    kind = returned(overload, call)
    core = said(overload, call, **extra) + suffix
    return Typed(overload.wrap.format(core, T=result_type_name(kind)), kind)


def _check_aggregate(self: Expressions, name: str, node: exp.Expr, place: Position | None) -> None:
    shown = f"{name}({', '.join(_readable(one) for one in node.expressions)})"
    if self.clause.inside is not None:
        fail(
            "NESTED_AGGREGATION",
            f"Cannot nest aggregations inside aggregation '{self.clause.inside}': [{shown}]",
            self.clause.inside_place,
        )
    if not self.clause.aggregates:
        fail(
            "EXPRESSION_NOT_SCALAR",
            f"{self.clause.name} clause cannot contain {_NOT_PLAIN}: [{shown}]",
            place,
        )


def _readable(node: exp.Expr) -> str:
    """Trino's SQL of a node, without the marks of calls."""
    return re.sub(r"FN_\d+__", "", node.sql(dialect="trino"), flags=re.IGNORECASE).lower()


def _aggregate_arguments(
    self: Expressions, node: exp.Anonymous, scope: Scope
) -> tuple[list[Typed], bool, str]:
    nodes = list(node.expressions)
    order = ""
    if nodes and isinstance(nodes[-1], exp.Order):
        last = nodes.pop()
        order = f" ORDER BY {_sort_items(self, last.expressions, scope)}"
        if last.this is not None:
            nodes.append(last.this)
    distinct = False
    if nodes and isinstance(nodes[0], exp.Distinct):
        distinct = True
        nodes = [*nodes[0].expressions, *nodes[1:]]
    if len(nodes) == 1 and isinstance(nodes[0], exp.Star):
        nodes = []
    return [self.expression(one, scope) for one in nodes], distinct, order


def _sort_items(self: Expressions, items: Sequence[exp.Expr], scope: Scope) -> str:
    parts = []
    for item in items:
        inner = item.this if isinstance(item, exp.Ordered) else item
        parts.append(f"{self.expression(inner, scope).sql}{direction(item)}")
    return ", ".join(parts)


def direction(item: exp.Expr) -> str:
    """ASC/DESC with Trino's default: NULLs last, both ways."""
    word = " DESC" if item.args.get("desc") else " ASC"
    return f"{word} NULLS {'FIRST' if item.args.get('nulls_first') else 'LAST'}"


@_node(exp.Count)
def _count(self: Expressions, node: exp.Count, scope: Scope) -> Typed:
    inner = exp.Anonymous(this="count", expressions=[node.this] if node.this is not None else [])
    return _call(self, inner, scope)


@_node(exp.WithinGroup)
def _within_group(self: Expressions, node: exp.WithinGroup, scope: Scope) -> Typed:
    order = f" ORDER BY {_sort_items(self, node.expression.expressions, scope)}"
    return _aggregate(self, node.this, scope, "", order=order)


@_node(exp.Filter)
def _filter(self: Expressions, node: exp.Filter, scope: Scope) -> Typed:
    return _aggregate_over(self, node, scope, "")


@_node(exp.Window)
def _window(self: Expressions, node: exp.Window, scope: Scope) -> Typed:
    if not self.clause.windows:
        fail(
            "EXPRESSION_NOT_SCALAR",
            f"{self.clause.name} clause cannot contain {_NOT_PLAIN}",
            self.source.of(node),
        )
    return _aggregate_over(self, node.this, scope, f" OVER {_over(self, node, scope)}")


def _aggregate_over(self: Expressions, node: exp.Expr, scope: Scope, over: str) -> Typed:
    """Peel FILTER, WITHIN GROUP and the treatment of NULLs off a call."""
    condition = order = nulls = ""
    while not isinstance(node, exp.Anonymous):
        if isinstance(node, exp.Filter):
            condition = f" FILTER (WHERE {self.condition(node.expression.this, scope, 'FILTER expression')})"
        elif isinstance(node, exp.WithinGroup):
            order = f" ORDER BY {_sort_items(self, node.expression.expressions, scope)}"
        elif isinstance(node, exp.IgnoreNulls):
            nulls = " IGNORE NULLS"
        elif isinstance(node, exp.Count):
            node = exp.Anonymous(this="count", expressions=[node.this] if node.this is not None else [])
            continue
        elif not isinstance(node, exp.RespectNulls):
            fail(
                "FUNCTION_NOT_FOUND",
                f"'{node.sql(dialect='trino')}' is no function over rows",
                self.source.of(node),
            )
        node = node.this
    name, _ = call_of(node)
    if name not in AGGREGATES and name not in WINDOWS:
        known = name in FUNCTIONS
        fail(
            "FUNCTION_NOT_AGGREGATE" if known else "FUNCTION_NOT_FOUND",
            f"'{name}' is not an aggregate or window function"
            if known
            else f"Function '{name}' not registered",
            self.source.of(node),
        )
    return _aggregate(self, node, scope, condition + over, order=order, nulls=nulls)


def _over(self: Expressions, node: exp.Window, scope: Scope) -> str:
    named = node.args.get("alias")
    if named is not None and not node.args.get("partition_by") and not node.args.get("order"):
        definition = self._window_names.get(named.name.lower())
        if definition is None:
            fail("INVALID_WINDOW_REFERENCE", f"Cannot resolve WINDOW name {named.name}", self.source.of(node))
        return _over(self, definition, scope)
    parts = []
    if partition := node.args.get("partition_by"):
        parts.append("PARTITION BY " + ", ".join(self.expression(one, scope).sql for one in partition))
    if order := node.args.get("order"):
        parts.append("ORDER BY " + _sort_items(self, order.expressions, scope))
    if spec := node.args.get("spec"):
        parts.append(_frame(self, spec, scope))
    return f"({' '.join(parts)})"


def _frame(self: Expressions, spec: exp.Expr, scope: Scope) -> str:
    def edge(which: str) -> str:
        value, side = spec.args.get(which), spec.args.get(f"{which}_side") or ""
        shown = (
            self.expression(value, scope).sql if isinstance(value, exp.Expr) else str(value or "CURRENT ROW")
        )
        return f"{shown} {side}".strip()

    kind = spec.args.get("kind") or "RANGE"
    if spec.args.get("end") is None:
        return f"{kind} {edge('start')}"
    return f"{kind} BETWEEN {edge('start')} AND {edge('end')}"
