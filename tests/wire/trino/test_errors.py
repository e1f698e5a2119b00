"""Refusals in Trino's terms, and places mapped back to what the client wrote."""

import pytest

from gateway.core.decision import Fix, PositionMap, Refusal, RefusalCode
from gateway.core.statement import Position
from gateway.wire.trino import errors
from gateway.wire.trino.errors import BY_REFUSAL, Failure, failure_of, map_error_back, query_error


@pytest.mark.parametrize("code", list(RefusalCode))
def test_every_refusal_has_a_code_of_trino(code: RefusalCode) -> None:
    error = query_error(failure_of(Refusal(code, "No.")))
    assert error["errorName"].isupper()
    assert error["errorCode"] == error["failureInfo"]["errorInfo"]["code"] == BY_REFUSAL[code].number


def test_numbers_and_types_agree() -> None:
    """The ranges of `StandardErrorCode`: 0 user, 0x10000 internal, 0x20000 resources."""
    bases = {
        errors.ErrorType.USER_ERROR: 0,
        errors.ErrorType.INTERNAL_ERROR: 1,
        errors.ErrorType.INSUFFICIENT_RESOURCES: 2,
    }
    for code in vars(errors).values():
        if isinstance(code, errors.ErrorCode):
            assert code.number >> 16 == bases[code.type], code


def test_a_refusal_tells_where_and_what_to_do() -> None:
    refusal = Refusal(
        RefusalCode.BUDGET, "It would read 9 TB.", Position(3, 7), fixes=(Fix("filter by day"),)
    )
    error = query_error(failure_of(refusal))
    assert error["message"] == "It would read 9 TB. Fix: filter by day"
    assert error["errorName"] == "EXCEEDED_SCAN_LIMIT"
    assert error["errorLocation"] == {"lineNumber": 3, "columnNumber": 7}
    assert error["failureInfo"]["errorLocation"] == error["errorLocation"]
    assert error["failureInfo"]["message"] == error["message"]


POSITIONS = PositionMap(anchors=((1, 1, 1, 1), (1, 40, 2, 5)), identity=False)


def test_places_and_messages_are_mapped_back() -> None:
    error = query_error(
        Failure(errors.TABLE_NOT_FOUND, "line 1:44: Column 'x' cannot be resolved", Position(1, 44))
    )
    error["failureInfo"]["cause"] = {
        "message": "line 1:44: inner",
        "errorLocation": {"lineNumber": 1, "columnNumber": 44},
    }
    map_error_back(error, POSITIONS)
    place = {"lineNumber": 2, "columnNumber": 5}
    assert error["errorLocation"] == place
    assert error["message"] == "line 2:5: Column 'x' cannot be resolved"
    assert error["failureInfo"]["errorLocation"] == place
    assert error["failureInfo"]["message"] == error["message"]
    assert error["failureInfo"]["cause"] == {"message": "line 2:5: inner", "errorLocation": place}


def test_a_place_that_nothing_of_the_client_is_near_is_not_told() -> None:
    error = query_error(Failure(errors.TABLE_NOT_FOUND, "line 1:2: policy text", Position(1, 2)))
    map_error_back(error, PositionMap(anchors=((5, 1, 1, 1),), identity=False))
    assert "errorLocation" not in error
    assert error["message"] == "policy text"


def test_errors_of_unchanged_texts_stay_as_they_are() -> None:
    error = query_error(Failure(errors.SYNTAX_ERROR, "line 1:2: x", Position(1, 2)))
    map_error_back(error, PositionMap())
    assert error["errorLocation"] == {"lineNumber": 1, "columnNumber": 2}


@pytest.mark.parametrize(
    "error", [{}, {"message": None, "failureInfo": None}, {"errorLocation": "x", "failureInfo": {"cause": 3}}]
)
def test_strange_errors_do_not_break_the_mapping(error: dict[str, object]) -> None:
    map_error_back(error, POSITIONS)
