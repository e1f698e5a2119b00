"""The functions that can be called, by name."""

from __future__ import annotations

from sqlglot.parser import Parser

from gateway.engines.duckdb.aggregates import AGGREGATES, WINDOWS
from gateway.engines.duckdb.scalars import HANDLERS, SCALARS

SPECIAL = frozenset({"try", "grouping", "decimal_literal", "char_literal"})
"""Functions that the translation of expressions handles itself."""

FUNCTIONS = frozenset(SCALARS) | frozenset(HANDLERS) | frozenset(AGGREGATES) | frozenset(WINDOWS) | SPECIAL

# Names that are syntax of their own in the parser, with arguments that are not a plain list.
_SYNTAX = frozenset({
    "trim", "substring", "array", "map", "row", "struct", "cast", "try_cast", "extract", "position", "exists", "any",
    "all", "some", "unnest", "lateral", "table", "values", "in", "over", "json_object", "json_array", "interval",
    "var_map", "list", "date_time", "timestamp", "time", "char", "varchar", "decimal", "json", "object", "nullable",
    "variadic", "xml_table", "json_table", "localtime", "localtimestamp", "current_date", "current_time",
    "current_timestamp", "current_user", "columns", "matches", "match", "string", "double", "real", "int", "union",
})  # fmt: skip

CALLABLE = (FUNCTIONS | frozenset(name.lower() for name in Parser.FUNCTIONS)) - _SYNTAX
"""Names whose calls keep name and arguments through the parser (`syntax.py`). The parser's own functions are among
them, so that one that Trino does not have is told as such, in its place."""
