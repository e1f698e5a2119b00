"""Documents of the client protocol."""

from __future__ import annotations

import json

from gateway.core.statement import Position
from gateway.wire.trino.documents import (
    QueryResults,
    ResultColumn,
    Stats,
    Warning,
    column_documents,
    encode_rows,
)
from gateway.wire.trino.errors import TABLE_NOT_FOUND, Failure
from gateway.wire.trino.types import parse_type

COLUMNS = [ResultColumn("a", parse_type("bigint")), ResultColumn("b", parse_type("double"))]


def test_ids_come_first_and_statistics_after_the_rows() -> None:
    document = QueryResults(
        id="20200101_000000_00000_abcde",
        info_uri="http://h/ui/query.html?20200101_000000_00000_abcde",
        stats=Stats("RUNNING", scheduled=True, fraction=0.25),
        next_uri="http://h/next",
        partial_cancel_uri="http://h/partial",
        columns=column_documents(COLUMNS),
        data=encode_rows(COLUMNS, [(1, 1.5), (None, float("nan"))]),
        warnings=[Warning(7, "SLOW", "it is slow")],
        update_type="INSERT",
        update_count=3,
    ).encode()
    found = json.loads(document)
    assert list(found) == [
        "id", "infoUri", "partialCancelUri", "nextUri", "columns", "data", "stats", "warnings", "updateType",
        "updateCount",
    ]  # fmt: skip
    assert found["data"] == [[1, 1.5], [None, "NaN"]]
    assert found["columns"][0] == {
        "name": "a",
        "type": "bigint",
        "typeSignature": {"rawType": "bigint", "arguments": []},
    }
    assert found["warnings"] == [{"warningCode": {"code": 7, "name": "SLOW"}, "message": "it is slow"}]
    assert found["stats"]["progressPercentage"] == 25.0
    assert found["stats"]["rootStage"]["state"] == "RUNNING"


def test_absent_fields_are_left_out() -> None:
    found = json.loads(QueryResults(id="x", info_uri="u", stats=Stats("QUEUED", queued=True)).encode())
    assert list(found) == ["id", "infoUri", "stats", "warnings"]
    assert "rootStage" not in found["stats"]
    assert found["stats"]["queued"] is True


def test_an_error_tells_its_place_twice() -> None:
    failure = Failure(TABLE_NOT_FOUND, "line 3:7: Table 'x' does not exist", Position(3, 7))
    error = json.loads(QueryResults(id="x", info_uri="u", stats=Stats("FAILED"), failure=failure).encode())[
        "error"
    ]
    assert (error["errorName"], error["errorCode"], error["errorType"]) == (
        "TABLE_NOT_FOUND",
        46,
        "USER_ERROR",
    )
    assert error["errorLocation"] == {"lineNumber": 3, "columnNumber": 7}
    assert error["failureInfo"]["errorLocation"] == error["errorLocation"]
