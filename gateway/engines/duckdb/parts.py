"""Which parts of a parsed node the translation understands.

sqlglot adds parts to its nodes from release to release (`Like.negate`); one that is passed over would change the
meaning in silence. A node with a part that is not listed here is refused.
"""

from __future__ import annotations

from sqlglot import exp

_TAIL = "order limit offset"
_PARTS: dict[type[exp.Expr], str] = {
    exp.Select: f"expressions distinct from_ joins where group having windows with_ {_TAIL}",
    exp.Union: f"this expression distinct with_ {_TAIL}",
    exp.Except: f"this expression distinct with_ {_TAIL}",
    exp.Intersect: f"this expression distinct with_ {_TAIL}",
    exp.Subquery: f"this alias joins sample with_ {_TAIL}",
    exp.Values: f"expressions alias {_TAIL}",
    exp.Table: "this db catalog alias joins sample",
    exp.Join: "this on using side kind",
    exp.Unnest: "expressions alias offset",
    exp.Lateral: "this alias view outer",
    exp.TableAlias: "this columns",
    exp.TableSample: "method percent",
    exp.With: "expressions recursive",
    exp.CTE: "this alias",
    exp.Group: "expressions rollup cube grouping_sets",
    exp.Ordered: "this desc nulls_first",
    exp.Limit: "expression",
    exp.Offset: "expression",
    exp.Fetch: "direction count limit_options",
    exp.LimitOptions: "rows with_ties",
    exp.Distinct: "expressions",
    exp.Window: "this partition_by order spec alias over",
    exp.WindowSpec: "kind start start_side end end_side",
    exp.In: "this expressions query",
    exp.Between: "this low high symmetric",
    exp.Like: "this expression negate",
    exp.Is: "this expression negate",
    exp.Escape: "this expression",
    exp.Cast: "this to",
    exp.TryCast: "this to safe",
    exp.Case: "this ifs default",
    exp.If: "this true false",
    exp.Trim: "this expression position",
    exp.Extract: "this expression",
    exp.Bracket: "this expressions",
    exp.Anonymous: "this expressions",
    exp.Column: "this table db catalog",
    exp.Exists: "this",
    exp.AtTimeZone: "this zone",
    exp.Interval: "this unit",
}  # fmt: skip
_UNDERSTOOD = {kind: frozenset(names.split()) for kind, names in _PARTS.items()}


def unknown_part(tree: exp.Expr) -> tuple[exp.Expr, str] | None:
    """The first node with a part that the translation does not know, and that part's name."""
    for node in tree.walk():
        known = _UNDERSTOOD.get(type(node))
        if known is None:
            continue
        for name, value in node.args.items():
            if value and name not in known:
                return node, name
    return None
