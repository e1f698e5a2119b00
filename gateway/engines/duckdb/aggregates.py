"""Trino's aggregate and window functions in DuckDB."""

from __future__ import annotations

from gateway.engines.duckdb.overloads import Call, Overload, Returns, Template, first, second
from gateway.engines.duckdb.representation import HELPERS, duck_type
from gateway.wire.trino.types import (
    BIGINT,
    BOOLEAN,
    DOUBLE,
    REAL,
    VARCHAR,
    TrinoType,
    array,
    decimal,
    map_of,
)

AGGREGATES: dict[str, list[Overload]] = {}
WINDOWS: dict[str, list[Overload]] = {}


def _agg(names: str, kinds: str, returns: Returns, sql: Template, wrap: str = "{}") -> None:
    """Register. `{D}` stands for DISTINCT, `{O}` for an ORDER BY inside of the call; `wrap` goes around all of it,
    FILTER and OVER included, and knows `{T}`, the DuckDB type of the result."""
    for name in names.split():
        AGGREGATES.setdefault(name, []).append(Overload(tuple(kinds.split()), returns, sql, wrap))


def _win(names: str, kinds: str, returns: Returns, sql: Template, wrap: str = "{}") -> None:
    for name in names.split():
        WINDOWS.setdefault(name, []).append(Overload(tuple(kinds.split()), returns, sql, wrap))


_agg("count", "", BIGINT, "count(*)")
_agg("count", "x", BIGINT, "count({D}{0})")
_agg("count_if", "z", BIGINT, "count(CASE WHEN {0} THEN 1 END)")
_agg("sum", "i", BIGINT, "sum({D}{0})", "CAST({} AS BIGINT)")
_agg("sum", "c", lambda c: decimal(38, first(c).scale), "sum({D}{0})", "CAST({} AS {T})")
_agg("sum", "n", lambda c: REAL if first(c).base == "real" else DOUBLE, "sum({D}{0})", "CAST({} AS {T})")
_agg("sum", "I", first, "sum({D}{0})")
_agg("avg", "c", first, "avg({D}{0})", "CAST({} AS {T})")
_agg("avg", "n", lambda c: REAL if first(c).base == "real" else DOUBLE, "avg({D}{0})", "CAST({} AS {T})")
_agg("avg", "I", first, "avg({D}{0})")
_agg("min max", "x", first, lambda c: f"{c.name}({{D}}{c.args[0].sql})".replace("{D}", c.extra.get("D", "")))
_agg("min max", "x i", lambda c: array(first(c)), lambda c: f"{c.name}({c.args[0].sql}, {c.args[1].sql})")
_agg("max_by", "x x", first, "arg_max_null({0}, {1})")
_agg("min_by", "x x", first, "arg_min_null({0}, {1})")
_agg("max_by", "x x i", lambda c: array(first(c)), "arg_max({0}, {1}, {2})")
_agg("min_by", "x x i", lambda c: array(first(c)), "arg_min({0}, {1}, {2})")
_agg("arbitrary any_value", "x", first, "any_value({0})")
_agg("bool_and every", "z", BOOLEAN, "bool_and({0})")
_agg("bool_or", "z", BOOLEAN, "bool_or({0})")
_agg("array_agg", "x", lambda c: array(first(c)), "list({D}{0}{O})")
_agg(
    "listagg",
    "v v?",
    VARCHAR,
    lambda c: (
        f"string_agg({c.extra.get('D', '')}{c.args[0].sql}, "
        f"{c.args[1].sql if len(c.args) > 1 else chr(39) * 2}{c.extra.get('O', '')})"
    ),
)
_agg(
    "map_agg",
    "x x",
    lambda c: map_of(first(c), second(c)),
    "list({{'k': {0}, 'v': {1}}})",
    HELPERS + ".entries_to_map({})",
)
_agg(
    "multimap_agg",
    "x x",
    lambda c: map_of(first(c), array(second(c))),
    "list({{'k': {0}, 'v': {1}}})",
    HELPERS + ".entries_to_multimap({})",
)
_agg("histogram", "x", lambda c: map_of(first(c), BIGINT), "histogram({0})", "CAST({} AS {T})")
_agg("approx_distinct", "x d?", BIGINT, "approx_count_distinct({0})", "CAST({} AS BIGINT)")
_agg("approx_percentile", "i d", BIGINT, "quantile_disc({0}, {1})", "CAST({} AS BIGINT)")
_agg(
    "approx_percentile",
    "n d",
    lambda c: REAL if first(c).base == "real" else DOUBLE,
    "approx_quantile(CAST({0} AS DOUBLE), CAST({1} AS FLOAT))",
    "CAST({} AS {T})",
)
_agg(
    "approx_percentile",
    "i a",
    array(BIGINT),
    lambda c: f"quantile_disc({c.args[0].sql}, {_fractions(c)})",
    "CAST({} AS BIGINT[])",
)
_agg(
    "approx_percentile",
    "n a",
    array(DOUBLE),
    lambda c: f"approx_quantile(CAST({c.args[0].sql} AS DOUBLE), CAST({c.args[1].sql} AS FLOAT[]))",
    "CAST({} AS DOUBLE[])",
)
for _name, _duck in (
    ("stddev", "stddev_samp"), ("stddev_samp", "stddev_samp"), ("stddev_pop", "stddev_pop"), ("variance", "var_samp"),
    ("var_samp", "var_samp"), ("var_pop", "var_pop"), ("skewness", "skewness"), ("kurtosis", "kurtosis"),
    ("geometric_mean", "geomean"),
):  # fmt: skip
    _agg(_name, "d", DOUBLE, f"{_duck}({{D}}{{0}})")
for _name in ("corr", "covar_pop", "covar_samp", "regr_slope", "regr_intercept"):
    _agg(_name, "d d", DOUBLE, f"{_name}({{0}}, {{1}})")
_agg("bitwise_and_agg", "i", BIGINT, "bit_and(CAST({0} AS BIGINT))")
_agg("bitwise_or_agg", "i", BIGINT, "bit_or(CAST({0} AS BIGINT))")
_agg("bitwise_xor_agg", "i", BIGINT, "bit_xor(CAST({0} AS BIGINT))")


def _fractions(call: Call) -> str:
    return f"CAST({call.args[1].sql} AS DOUBLE[])"


def _default(call: Call) -> str:
    offset = f", {call.args[1].sql}" if len(call.args) > 1 else ""
    value = f", CAST({call.args[2].sql} AS {duck_type(call.args[0].type)})" if len(call.args) > 2 else ""
    return f"{call.name}({call.args[0].sql}{offset}{value}{call.extra.get('N', '')})"


def _nulls(name: str) -> Template:
    return lambda call: f"{name}({', '.join(arg.sql for arg in call.args)}{call.extra.get('N', '')})"


for _name in ("row_number", "rank", "dense_rank"):
    _win(_name, "", BIGINT, f"{_name}()")
for _name in ("percent_rank", "cume_dist"):
    _win(_name, "", DOUBLE, f"{_name}()")
_win("ntile", "i", BIGINT, "ntile({0})")
_win("lag lead", "x i? x?", first, _default)
_win("first_value", "x", first, _nulls("first_value"))
_win("last_value", "x", first, _nulls("last_value"))
_win("nth_value", "x i", first, _nulls("nth_value"))

NO_DISTINCT_EFFECT = frozenset({"min", "max", "bool_and", "bool_or", "every", "arbitrary", "any_value"})


def result_type_name(of: TrinoType) -> str:
    """What `{T}` stands for."""
    return duck_type(of)
