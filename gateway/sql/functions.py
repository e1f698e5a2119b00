"""Every function that a statement calls, by the name it was written with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlglot import exp

from gateway.core.statement import Position, Wire
from gateway.sql.parse import Parsed

_SYNTAX = (
    exp.Connector,
    exp.Case,
    exp.Cast,
    exp.Extract,
    exp.Exists,
    exp.Any,
    exp.All,
    exp.Binary,
    exp.Unary,
)
"""Functions to sqlglot, plain syntax to the engines."""

_NAMED = (
    exp.Anonymous,
    exp.AnonymousAggFunc,
    exp.CombinedAggFunc,
    exp.ParameterizedAgg,
    exp.CombinedParameterizedAgg,
    exp.UserDefinedFunction,
)


@dataclass(frozen=True, slots=True, eq=False)
class FunctionUse:
    """One call. Trino's names are folded to lower case; ClickHouse's are as written.

    `qualified` is true for `catalog.schema.f(…)`: a routine that somebody defined.
    """

    name: str
    node: exp.Expr
    position: Position | None
    qualified: bool = False


def functions(parsed: Parsed) -> tuple[FunctionUse, ...]:
    """All calls of the statement and of those inside it, table functions included."""
    return tuple(use for part in parsed.every() for tree in part.trees() for use in _of_tree(tree, part))


def _of_tree(tree: exp.Expr, parsed: Parsed) -> Iterator[FunctionUse]:
    for node in tree.find_all(exp.Func):
        if isinstance(node, _SYNTAX) and not isinstance(node, _NAMED):
            continue
        if isinstance(node, exp.If) and isinstance(node.parent, exp.Case):
            continue
        name, qualified = _name(node)
        if parsed.dialect is Wire.TRINO:
            name = name.lower()
        yield FunctionUse(name, node, parsed.place_of(node), qualified)


def _name(node: exp.Func) -> tuple[str, bool]:
    own = node.name if isinstance(node, _NAMED) else _printed(node)
    parent = node.parent
    if isinstance(parent, exp.Dot) and parent.expression is node:
        return f"{parent.this.sql()}.{own}", True
    return own, False


def _printed(node: exp.Func) -> str:
    """Nodes of sqlglot's own that are left: the few calls with a syntax of their own."""
    return str(node.meta.get("clickhouse_name") or node.sql_name())
