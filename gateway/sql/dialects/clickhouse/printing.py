"""Where ClickHouse's printed form must differ from sqlglot's: result columns are named after the text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp


def _not(generator: Any, node: exp.Expr) -> str:
    """`x NOT IN y` is not `NOT (x IN y)` to the name of the result column."""
    inner = node.this
    if isinstance(inner, exp.In):
        left = generator.sql(inner, "this")
        right = generator.sql(inner)[len(left) :]
        if inner.args.get("is_global"):
            return f"{left}{right}" if right.startswith(" GLOBAL NOT") else f"{left} GLOBAL NOT{right[7:]}"
        return f"{left} NOT{right}"
    if isinstance(inner, exp.Is):
        return f"{generator.sql(inner, 'this')} IS NOT {generator.sql(inner, 'expression')}"
    if isinstance(inner, exp.Between):
        left = generator.sql(inner, "this")
        return f"{left} NOT{generator.sql(inner)[len(left) :]}"
    return str(generator.not_sql(node))


def _final(generator: Any, node: exp.Expr) -> str:
    """`t FINAL SAMPLE 0.1`: the sample comes last."""
    table = node.this
    sample = table.args.get("sample") if isinstance(table, exp.Table) else None
    if sample is None:
        return f"{generator.sql(table)} FINAL"
    table.set("sample", None)
    return f"{generator.sql(table)} FINAL{generator.sql(sample)}"


def _type(generator: Any, node: exp.Expr) -> str:
    text = str(generator.datatype_sql(node))
    return text.replace("DATE", "Date") if node.this is exp.DType.DATE else text


PRINTERS: dict[type[exp.Expr], Callable[..., str]] = {
    exp.Not: _not,
    exp.Final: _final,
    exp.DataType: _type,
}
