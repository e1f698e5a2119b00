"""The functions that can be called, by name."""

from __future__ import annotations

from gateway.engines.duckdb.aggregates import AGGREGATES, WINDOWS
from gateway.engines.duckdb.scalars import HANDLERS, SCALARS

SPECIAL = frozenset({"try", "grouping", "decimal_literal", "char_literal"})
"""Functions that the translation of expressions handles itself."""

FUNCTIONS = frozenset(SCALARS) | frozenset(HANDLERS) | frozenset(AGGREGATES) | frozenset(WINDOWS) | SPECIAL

# Names that are syntax of their own in the parser, with arguments that are not a plain list.
_SYNTAX = frozenset({"trim", "substring"})

CALLABLE = FUNCTIONS - _SYNTAX
"""Names whose calls keep name and arguments through the parser (`syntax.py`)."""
