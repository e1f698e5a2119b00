"""The functions that can be called, by name."""

from __future__ import annotations

from sqlglot.parser import Parser

from gateway.engines.duckdb.aggregates import AGGREGATES, WINDOWS
from gateway.engines.duckdb.scalars import HANDLERS, SCALARS

SPECIAL = frozenset({"try", "grouping", "decimal_literal", "char_literal"})
"""Functions that the translation of expressions handles itself."""

FUNCTIONS = frozenset(SCALARS) | frozenset(HANDLERS) | frozenset(AGGREGATES) | frozenset(WINDOWS) | SPECIAL

# Names that are syntax of their own in the parser, with arguments that are not a plain list.
_SYNTAX = frozenset({"trim", "substring"})

CALLABLE = FUNCTIONS - _SYNTAX
"""Names whose calls keep name and arguments through the parser (`syntax.py`)."""

_PARSED = frozenset({
    "array", "map", "row", "struct", "cast", "try_cast", "extract", "position", "json_object", "json_array", "var_map",
    "list", "object", "nullable", "variadic", "columns", "matches", "match",
})  # fmt: skip
UNKNOWN_TO_TRINO = frozenset(name.lower() for name in Parser.FUNCTIONS) - FUNCTIONS - _SYNTAX - _PARSED
"""Functions of the parser that we do not have: kept as calls too, so that they are refused in their place."""
