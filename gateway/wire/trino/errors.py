"""Refusals and faults in Trino's own words: error names, numbers and types that clients act upon.

Names, numbers and types are those of `io.trino.spi.StandardErrorCode` (checked against Trino 476).
Clients choose their exception by `errorType`, and some act on `errorName` (`USER_CANCELED` in Go).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from gateway.core.decision import PositionMap, Refusal, RefusalCode
from gateway.core.statement import Position


class ErrorType(StrEnum):
    """Who can do something about it."""

    USER_ERROR = "USER_ERROR"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    INSUFFICIENT_RESOURCES = "INSUFFICIENT_RESOURCES"
    EXTERNAL = "EXTERNAL"


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One of Trino's standard error codes."""

    name: str
    number: int
    type: ErrorType


def _user(name: str, number: int) -> ErrorCode:
    return ErrorCode(name, number, ErrorType.USER_ERROR)


def _internal(name: str, number: int) -> ErrorCode:
    return ErrorCode(name, number, ErrorType.INTERNAL_ERROR)


def _resources(name: str, number: int) -> ErrorCode:
    return ErrorCode(name, number, ErrorType.INSUFFICIENT_RESOURCES)


GENERIC_USER_ERROR = _user("GENERIC_USER_ERROR", 0)
SYNTAX_ERROR = _user("SYNTAX_ERROR", 1)
USER_CANCELED = _user("USER_CANCELED", 3)
PERMISSION_DENIED = _user("PERMISSION_DENIED", 4)
NOT_FOUND = _user("NOT_FOUND", 5)
NOT_SUPPORTED = _user("NOT_SUPPORTED", 13)
INVALID_SESSION_PROPERTY = _user("INVALID_SESSION_PROPERTY", 14)
UNKNOWN_TRANSACTION = _user("UNKNOWN_TRANSACTION", 20)
QUERY_REJECTED = _user("QUERY_REJECTED", 31)
QUERY_TEXT_TOO_LARGE = _user("QUERY_TEXT_TOO_LARGE", 35)
TABLE_NOT_FOUND = _user("TABLE_NOT_FOUND", 46)
GENERIC_INTERNAL_ERROR = _internal("GENERIC_INTERNAL_ERROR", 65536)
PAGE_TRANSPORT_TIMEOUT = _internal("PAGE_TRANSPORT_TIMEOUT", 65540)
NO_NODES_AVAILABLE = _internal("NO_NODES_AVAILABLE", 65541)
SERVER_SHUTTING_DOWN = _internal("SERVER_SHUTTING_DOWN", 65545)
REMOTE_HOST_GONE = _internal("REMOTE_HOST_GONE", 65558)
QUERY_QUEUE_FULL = _resources("QUERY_QUEUE_FULL", 131074)
EXCEEDED_TIME_LIMIT = _resources("EXCEEDED_TIME_LIMIT", 131075)
EXCEEDED_SCAN_LIMIT = _resources("EXCEEDED_SCAN_LIMIT", 131081)

BY_REFUSAL: Mapping[RefusalCode, ErrorCode] = MappingProxyType(
    {
        RefusalCode.SYNTAX: SYNTAX_ERROR,
        RefusalCode.NOT_SUPPORTED: NOT_SUPPORTED,
        RefusalCode.TOO_LARGE: QUERY_TEXT_TOO_LARGE,
        RefusalCode.TOO_COMPLEX: QUERY_REJECTED,
        RefusalCode.NOT_FOUND: TABLE_NOT_FOUND,
        RefusalCode.DENIED: PERMISSION_DENIED,
        RefusalCode.BAD_SETTING: INVALID_SESSION_PROPERTY,
        RefusalCode.BUDGET: EXCEEDED_SCAN_LIMIT,
        RefusalCode.QUEUE_FULL: QUERY_QUEUE_FULL,
        RefusalCode.TIMEOUT: EXCEEDED_TIME_LIMIT,
        RefusalCode.NO_BACKEND: NO_NODES_AVAILABLE,
        RefusalCode.UNAVAILABLE: SERVER_SHUTTING_DOWN,
        RefusalCode.CANCELLED: USER_CANCELED,
        RefusalCode.INTERNAL: GENERIC_INTERNAL_ERROR,
    }
)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error to be told to a client, before it is bound to a query id."""

    code: ErrorCode
    message: str
    position: Position | None = None


def failure_of(refusal: Refusal) -> Failure:
    """A refusal with its way out, as a failure in Trino's terms."""
    return Failure(BY_REFUSAL[refusal.code], refusal.sentence(), refusal.position)


def query_error(failure: Failure) -> dict[str, Any]:
    """The `error` member of a document. JDBC builds its cause from `failureInfo`, so it is always there."""
    info: dict[str, Any] = {
        "type": "io.trino.spi.TrinoException",
        "message": failure.message,
        "suppressed": [],
        "stack": [],
        "errorInfo": {
            "code": failure.code.number,
            "name": failure.code.name,
            "type": failure.code.type.value,
        },
    }
    error: dict[str, Any] = {
        "message": failure.message,
        "errorCode": failure.code.number,
        "errorName": failure.code.name,
        "errorType": failure.code.type.value,
        "failureInfo": info,
    }
    if failure.position is not None:
        place = {"lineNumber": failure.position.line, "columnNumber": failure.position.column}
        error["errorLocation"] = place
        info["errorLocation"] = place
    return error


def map_error_back(error: dict[str, Any], positions: PositionMap) -> None:
    """Turn places of the emitted text into places of the client's text, in the error and its causes.

    A place that nothing of the client's text is near is removed. Trino repeats the place at the start of
    the message ("line 1:15: …"), which is mapped too.
    """
    if positions.identity:
        return
    place = _mapped(error.get("errorLocation"), positions)
    old = error.pop("errorLocation", None)
    if place is not None:
        error["errorLocation"] = place
    error["message"] = _retold(error.get("message"), old, place)
    info = error.get("failureInfo")
    for _ in range(_MAX_CAUSES):
        if not isinstance(info, dict):
            return
        old = info.pop("errorLocation", None)
        place = _mapped(old, positions)
        if place is not None:
            info["errorLocation"] = place
        info["message"] = _retold(info.get("message"), old, place)
        info = info.get("cause")


_MAX_CAUSES = 32


def _mapped(place: Any, positions: PositionMap) -> dict[str, int] | None:
    match place:
        case {"lineNumber": int(line), "columnNumber": int(column)}:
            original = positions.to_original(Position(line, column))
            if original is not None:
                return {"lineNumber": original.line, "columnNumber": original.column}
    return None


def _retold(message: Any, old: Any, new: dict[str, int] | None) -> Any:
    if not isinstance(message, str) or not isinstance(old, dict):
        return message
    prefix = f"line {old.get('lineNumber')}:{old.get('columnNumber')}: "
    if not message.startswith(prefix):
        return message
    rest = message.removeprefix(prefix)
    return f"line {new['lineNumber']}:{new['columnNumber']}: {rest}" if new else rest
