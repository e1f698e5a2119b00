"""Tables of functions: what arguments they take, what they return, and how DuckDB says it.

A signature is a list of kinds: `v` varchar, `i` whole number (as bigint), `d` number (as double), `n` number,
`c` decimal, `z` boolean, `y` varbinary, `D` date, `t` timestamp (dates too), `T` timestamp with zone, `w` time,
`a` array, `m` map, `j` json, `r` row, `I` interval day to second, `u` uuid, `x` anything; `?` after a kind: may be
absent; `*`: any number of them, including none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.core.statement import Position
from gateway.engines.duckdb.coercion import INTEGERS, NUMERIC, TEXT, Casts
from gateway.engines.duckdb.failures import fail
from gateway.engines.duckdb.scope import Typed
from gateway.wire.trino.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    JSON,
    UNKNOWN,
    VARBINARY,
    VARCHAR,
    TrinoType,
    display,
    timestamp,
)

if TYPE_CHECKING:
    from sqlglot import exp

    from gateway.engines.duckdb.expressions import Expressions


@dataclass(slots=True)
class Call:
    """One call while it is translated. `args` are translated arguments; `nodes` their trees (for lambdas)."""

    name: str
    args: list[Typed]
    nodes: Sequence[exp.Expr]
    place: Position | None
    compiler: Expressions
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def casts(self) -> Casts:
        return self.compiler.casts

    @property
    def types(self) -> list[TrinoType]:
        return [arg.type for arg in self.args]


Returns = TrinoType | Callable[[Call], TrinoType]
Template = str | Callable[[Call], str]
Handler = Callable[[Call], Typed]


@dataclass(frozen=True, slots=True)
class Overload:
    """One signature of a function."""

    kinds: tuple[str, ...]
    returns: Returns
    sql: Template
    wrap: str = "{}"


_KIND_TESTS: dict[str, Callable[[TrinoType], bool]] = {
    "v": lambda t: t.base in TEXT,
    "i": lambda t: t.base in INTEGERS,
    "d": lambda t: t.base in NUMERIC,
    "n": lambda t: t.base in NUMERIC,
    "c": lambda t: t.base == "decimal",
    "z": lambda t: t.base == "boolean",
    "y": lambda t: t.base == "varbinary",
    "D": lambda t: t.base == "date",
    "t": lambda t: t.base in ("timestamp", "date"),
    "T": lambda t: t.base == "timestamp with time zone",
    "w": lambda t: t.base == "time",
    "a": lambda t: t.base == "array",
    "m": lambda t: t.base == "map",
    "j": lambda t: t.base == "json",
    "r": lambda t: t.base == "row",
    "I": lambda t: t.base == "interval day to second",
    "Y": lambda t: t.base == "interval year to month",
    "u": lambda t: t.base == "uuid",
    "x": lambda t: True,
}
KIND_NAMES = {
    "v": "varchar(x)", "i": "bigint", "d": "double", "n": "number", "c": "decimal(p,s)", "z": "boolean",
    "y": "varbinary", "D": "date", "t": "timestamp(p)", "T": "timestamp(p) with time zone", "w": "time(p)",
    "a": "array(T)", "m": "map(K,V)", "j": "json", "r": "row", "I": "interval day to second", "u": "uuid",
    "Y": "interval year to month", "x": "T",
}  # fmt: skip
_TARGETS: dict[str, TrinoType] = {
    "i": BIGINT, "d": DOUBLE, "z": BOOLEAN, "y": VARBINARY, "D": DATE, "j": JSON, "v": VARCHAR,
}  # fmt: skip


def match(overload: Overload, call: Call) -> list[Typed] | None:
    """The arguments converted to a signature's kinds; None when they do not fit."""
    args, kinds = call.args, list(overload.kinds)
    if kinds and kinds[-1].endswith("*"):
        repeat = kinds.pop()[0]
        kinds += [repeat] * max(0, len(args) - len(kinds))
    needed = sum(1 for kind in kinds if not kind.endswith("?"))
    if not needed <= len(args) <= len(kinds):
        return None
    out: list[Typed] = []
    for arg, kind in zip(args, kinds, strict=False):
        letter = kind[0]
        if arg.type != UNKNOWN and not _KIND_TESTS[letter](arg.type):
            return None
        out.append(_convert(call.casts, arg, letter))
    return out


def _convert(casts: Casts, arg: Typed, letter: str) -> Typed:
    if letter == "t" and arg.type.base == "date":
        return casts.implicit(arg, timestamp(3))
    if letter == "i" and arg.type.base in INTEGERS:
        return arg
    target = _TARGETS.get(letter)
    return (
        casts.implicit(arg, target)
        if (target is not None and letter in "dv") or (arg.type == UNKNOWN and target)
        else arg
    )


def choose(overloads: Sequence[Overload], call: Call) -> tuple[Overload, Call]:
    """The first signature that fits. Raises TrinoFailure (FUNCTION_NOT_FOUND)."""
    for overload in overloads:
        args = match(overload, call)
        if args is not None:
            return overload, Call(call.name, args, call.nodes, call.place, call.compiler, call.extra)
    expected = ", ".join(
        f"{call.name}({', '.join(KIND_NAMES[kind[0]] for kind in one.kinds)})" for one in overloads
    )
    given = ", ".join(display(kind) for kind in call.types)
    fail(
        "FUNCTION_NOT_FOUND",
        f"Unexpected parameters ({given}) for function {call.name}. Expected: {expected}",
        call.place,
    )


def returned(overload: Overload, call: Call) -> TrinoType:
    return overload.returns if isinstance(overload.returns, TrinoType) else overload.returns(call)


def said(overload: Overload, call: Call, **extra: str) -> str:
    """The DuckDB SQL of a call."""
    if callable(overload.sql):
        return overload.sql(call)
    return overload.sql.format(
        *(arg.sql for arg in call.args), all=", ".join(arg.sql for arg in call.args), **extra
    )


def first(call: Call) -> TrinoType:
    """Returns what its first argument is."""
    return call.args[0].type


def second(call: Call) -> TrinoType:
    return call.args[1].type
