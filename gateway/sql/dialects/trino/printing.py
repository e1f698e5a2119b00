"""Where Trino's printed form must differ from sqlglot's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp


def _at_time_zone(generator: Any, node: exp.Expr) -> str:
    """`AT_TIMEZONE(x, zone)` takes fewer types than `x AT TIME ZONE zone`."""
    return f"{generator.sql(node, 'this')} AT TIME ZONE {generator.sql(node, 'zone')}"


def _with(generator: Any, node: exp.Expr) -> str:
    """Without sqlglot's column aliases for recursive queries: `SELECT *` would become a column `"*"`."""
    return str(generator.with_sql(node))


def _not(generator: Any, node: exp.Expr) -> str:
    inner = node.this
    if isinstance(inner, exp.In):
        left = generator.sql(inner, "this")
        return f"{left} NOT{generator.sql(inner)[len(left) :]}"
    if isinstance(inner, exp.Is):
        return f"{generator.sql(inner, 'this')} IS NOT {generator.sql(inner, 'expression')}"
    if isinstance(inner, exp.Between):
        left = generator.sql(inner, "this")
        return f"{left} NOT{generator.sql(inner)[len(left) :]}"
    return str(generator.not_sql(node))


PRINTERS: dict[type[exp.Expr], Callable[..., str]] = {
    exp.AtTimeZone: _at_time_zone,
    exp.With: _with,
    exp.Not: _not,
}
