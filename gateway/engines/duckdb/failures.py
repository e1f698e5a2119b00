"""Failures in Trino's terms: raised by the translation, or made from what DuckDB raises.

Names, numbers and wording were taken from Trino 476 by running the same statements there.
"""

from __future__ import annotations

import re
from typing import NoReturn

import duckdb

from gateway.core.statement import Position
from gateway.wire.trino.errors import ErrorCode, ErrorType, Failure

# io.trino.spi.StandardErrorCode of Trino 476.
_USER = {
    "GENERIC_USER_ERROR": 0, "SYNTAX_ERROR": 1, "USER_CANCELED": 3, "PERMISSION_DENIED": 4, "NOT_FOUND": 5,
    "FUNCTION_NOT_FOUND": 6, "INVALID_FUNCTION_ARGUMENT": 7, "DIVISION_BY_ZERO": 8, "INVALID_CAST_ARGUMENT": 9,
    "ALREADY_EXISTS": 12, "NOT_SUPPORTED": 13, "INVALID_SESSION_PROPERTY": 14, "CONSTRAINT_VIOLATION": 16,
    "TRANSACTION_CONFLICT": 17, "NUMERIC_VALUE_OUT_OF_RANGE": 19, "UNKNOWN_TRANSACTION": 20, "NOT_IN_TRANSACTION": 21,
    "TRANSACTION_ALREADY_ABORTED": 22, "READ_ONLY_VIOLATION": 23, "INCOMPATIBLE_CLIENT": 27,
    "SUBQUERY_MULTIPLE_ROWS": 28, "PROCEDURE_NOT_FOUND": 29, "SCHEMA_NOT_EMPTY": 34, "ADMINISTRATIVELY_KILLED": 38,
    "TYPE_NOT_FOUND": 43, "CATALOG_NOT_FOUND": 44, "SCHEMA_NOT_FOUND": 45, "TABLE_NOT_FOUND": 46,
    "COLUMN_NOT_FOUND": 47, "ROLE_NOT_FOUND": 48, "SCHEMA_ALREADY_EXISTS": 49, "TABLE_ALREADY_EXISTS": 50,
    "COLUMN_ALREADY_EXISTS": 51, "DUPLICATE_NAMED_QUERY": 53, "DUPLICATE_COLUMN_NAME": 54, "MISSING_COLUMN_NAME": 55,
    "MISSING_CATALOG_NAME": 56, "MISSING_SCHEMA_NAME": 57, "TYPE_MISMATCH": 58, "INVALID_LITERAL": 59,
    "COLUMN_TYPE_UNKNOWN": 60, "MISMATCHED_COLUMN_ALIASES": 61, "AMBIGUOUS_NAME": 62, "INVALID_COLUMN_REFERENCE": 63,
    "MISSING_ORDER_BY": 65, "MISSING_OVER": 66, "NESTED_AGGREGATION": 67, "EXPRESSION_NOT_IN_DISTINCT": 69,
    "FUNCTION_NOT_AGGREGATE": 72, "EXPRESSION_NOT_AGGREGATE": 73, "EXPRESSION_NOT_SCALAR": 74,
    "EXPRESSION_NOT_CONSTANT": 75, "INVALID_ARGUMENTS": 76, "INVALID_PARAMETER_USAGE": 80,
    "MISSING_COLUMN_ALIASES": 88, "INVALID_ORDER_BY": 91, "INVALID_WINDOW_REFERENCE": 93, "STACK_OVERFLOW": 108,
}  # fmt: skip
_INTERNAL = {"GENERIC_INTERNAL_ERROR": 65536, "SERVER_SHUTTING_DOWN": 65545}
_RESOURCES = {
    "QUERY_QUEUE_FULL": 131074,
    "EXCEEDED_TIME_LIMIT": 131075,
    "EXCEEDED_LOCAL_MEMORY_LIMIT": 131079,
}
CODES = {
    name: ErrorCode(name, number, kind)
    for table, kind in (
        (_USER, ErrorType.USER_ERROR),
        (_INTERNAL, ErrorType.INTERNAL_ERROR),
        (_RESOURCES, ErrorType.INSUFFICIENT_RESOURCES),
    )
    for name, number in table.items()
}


class TrinoFailure(Exception):
    """A statement that cannot be run, told as Trino tells it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def fail(name: str, message: str, position: Position | None = None) -> NoReturn:
    """Raise TrinoFailure; a known position is put before the message, as Trino does."""
    text = f"{position}: {message}" if position is not None else message
    raise TrinoFailure(Failure(CODES[name], text, position))


# `error()` in generated SQL carries a code in front: "[[DIVISION_BY_ZERO]] Division by zero".
_MARKED = re.compile(r"\[\[([A-Z_]+)\]\] (.*)", re.DOTALL)
_QUOTED = re.compile(r"Could not convert string '(?P<text>.*?)' to (?P<type>\w+)", re.DOTALL)

# What DuckDB says (pattern) -> error name, and a message in which {0} is the first group.
_SAYINGS: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), name, message)
    for pattern, name, message in (
        (r"division by zero", "DIVISION_BY_ZERO", "Division by zero"),
        (r"more than one row returned by a subquery", "SUBQUERY_MULTIPLE_ROWS",
         "Scalar sub-query has returned multiple rows"),
        (r"(?:date|time|timestamp) field value out of range: \"(.*?)\"", "INVALID_CAST_ARGUMENT",
         "Value cannot be cast to timestamp: {0}"),
        (r"invalid date field format: \"(.*?)\"", "INVALID_CAST_ARGUMENT", "Value cannot be cast to date: {0}"),
        (r"invalid timestamp field format: \"(.*?)\"", "INVALID_CAST_ARGUMENT",
         "Value cannot be cast to timestamp: {0}"),
        (r"invalid time field format: \"(.*?)\"", "INVALID_CAST_ARGUMENT", "Value cannot be cast to time: {0}"),
        (r"Type \w+ with value (\S+) can't be cast .* destination type (INT\d+)", "NUMERIC_VALUE_OUT_OF_RANGE",
         "Out of range for {1}: {0}"),
        (r"overflow in (addition|subtraction|multiplication|negation) of (\w+) \((.*)\)",
         "NUMERIC_VALUE_OUT_OF_RANGE", "{1} {0} overflow: {2}"),
        (r"Could not parse string \"(.*?)\"", "INVALID_FUNCTION_ARGUMENT", 'Invalid format: "{0}"'),
        (r"malformed json", "INVALID_FUNCTION_ARGUMENT", "Cannot convert value to JSON"),
        (r"NOT NULL constraint failed: (\S+)", "CONSTRAINT_VIOLATION",
         "NULL value not allowed for NOT NULL column: {0}"),
        (r"out of memory", "EXCEEDED_LOCAL_MEMORY_LIMIT", "Query exceeded the memory limit of the embedded engine"),
        (r"write-write conflict|TransactionContext Error.*conflict", "TRANSACTION_CONFLICT",
         "Another transaction changed the same data; run the statement again"),
        (r"current transaction is aborted", "TRANSACTION_ALREADY_ABORTED",
         "Current transaction is aborted; run ROLLBACK before other statements"),
    )
)  # fmt: skip
_DUCK_INTEGERS = {"INT8": "tinyint", "INT16": "smallint", "INT32": "integer", "INT64": "bigint"}
_CAST_NAMES = {
    "INT8": "TINYINT", "INT16": "SMALLINT", "INT32": "INT", "INT64": "BIGINT", "BOOL": "BOOLEAN", "FLOAT": "REAL",
}  # fmt: skip


def failure_of(error: duckdb.Error) -> Failure:
    """What DuckDB raised while running a statement, in Trino's terms. Positions in generated text are cut."""
    text = str(error).split("\n\nLINE ")[0].split("\n\nCandidate")[0].strip()
    if marked := _MARKED.search(text):
        return Failure(CODES.get(marked[1], CODES["GENERIC_USER_ERROR"]), marked[2])
    if isinstance(error, duckdb.InterruptException):
        return Failure(CODES["USER_CANCELED"], "Query was canceled")
    if quoted := _QUOTED.search(text):
        name = _CAST_NAMES.get(quoted["type"], quoted["type"])
        return Failure(CODES["INVALID_CAST_ARGUMENT"], f"Cannot cast '{quoted['text']}' to {name}")
    for pattern, name, message in _SAYINGS:
        if found := pattern.search(text):
            groups = [_DUCK_INTEGERS.get(group, group) for group in found.groups()]
            return Failure(CODES[name], message.format(*groups))
    return Failure(CODES[_by_class(error)], text)


def _by_class(error: duckdb.Error) -> str:
    if isinstance(error, duckdb.OutOfRangeException):
        return "NUMERIC_VALUE_OUT_OF_RANGE"
    if isinstance(error, duckdb.ConversionException):
        return "INVALID_CAST_ARGUMENT"
    if isinstance(error, duckdb.InvalidInputException):
        return "INVALID_FUNCTION_ARGUMENT"
    if isinstance(error, duckdb.ConstraintException):
        return "CONSTRAINT_VIOLATION"
    if isinstance(error, duckdb.NotImplementedException | duckdb.BinderException | duckdb.ParserException):
        return "NOT_SUPPORTED"
    return "GENERIC_INTERNAL_ERROR"
