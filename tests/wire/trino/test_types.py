"""Trino's types: names, signatures, reading, and the JSON of values."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from gateway.wire.trino.types import UnknownType, client_name, display, encoder, parse_type, signature


@pytest.mark.parametrize(
    ("written", "shown", "to_client"),
    [
        ("varchar", "varchar", "varchar"),
        ("VARCHAR(10)", "varchar(10)", "varchar(10)"),
        ("decimal(10, 2)", "decimal(10,2)", "decimal(10, 2)"),
        ("decimal", "decimal(38,0)", "decimal(38, 0)"),
        ("int", "integer", "integer"),
        ("double precision", "double", "double"),
        ("timestamp", "timestamp(3)", "timestamp(3)"),
        ("timestamp(6) with time zone", "timestamp(6) with time zone", "timestamp(6) with time zone"),
        ("time(0)", "time(0)", "time(0)"),
        ("interval day to second", "interval day to second", "INTERVAL DAY TO SECOND"),
        ("array(array(bigint))", "array(array(bigint))", "array(array(bigint))"),
        ("map(varchar(3),decimal(3,1))", "map(varchar(3), decimal(3,1))", "map(varchar(3), decimal(3, 1))"),
        ('row(a integer, "B c" varchar)', "row(a integer, B c varchar)", 'row(a integer, "B c" varchar)'),
        ("row(integer, double precision)", "row(integer, double)", "row(integer, double)"),
        ("row(time time, x timestamp with time zone)", "row(time time(3), x timestamp(3) with time zone)",
         "row(time time(3), x timestamp(3) with time zone)"),
    ],
)  # fmt: skip
def test_names(written: str, shown: str, to_client: str) -> None:
    of = parse_type(written)
    assert (display(of), client_name(of)) == (shown, to_client)
    assert parse_type(client_name(of)) == of


_DEEP = "array(" * 60 + "integer" + ")" * 60


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nope",
        "varchar(",
        "varchar(x)",
        "decimal(1,2,3)",
        "array(integer",
        "row()",
        "timestamp(13)",
        "int int",
        _DEEP,
    ],
)
def test_what_is_no_type(text: str) -> None:
    with pytest.raises(UnknownType):
        parse_type(text)


def test_signatures_have_every_argument() -> None:
    assert signature(parse_type("bigint")) == {"rawType": "bigint", "arguments": []}
    assert signature(parse_type("varchar"))["arguments"] == [{"kind": "LONG", "value": 2147483647}]
    assert signature(parse_type("map(varchar(3), array(integer))")) == {
        "rawType": "map",
        "arguments": [
            {"kind": "TYPE", "value": {"rawType": "varchar", "arguments": [{"kind": "LONG", "value": 3}]}},
            {
                "kind": "TYPE",
                "value": {
                    "rawType": "array",
                    "arguments": [{"kind": "TYPE", "value": {"rawType": "integer", "arguments": []}}],
                },
            },
        ],
    }
    named, anonymous = signature(parse_type("row(a integer, boolean)"))["arguments"]
    assert named == {
        "kind": "NAMED_TYPE",
        "value": {"fieldName": {"name": "a"}, "typeSignature": {"rawType": "integer", "arguments": []}},
    }
    assert "fieldName" not in anonymous["value"]


def test_without_parametric_datetime_there_is_no_precision() -> None:
    of = parse_type("array(timestamp(6) with time zone)")
    assert client_name(of, parametric=False) == "array(timestamp with time zone)"
    assert signature(of, parametric=False)["arguments"][0]["value"] == {
        "rawType": "timestamp with time zone",
        "arguments": [],
    }
    assert encoder(parse_type("timestamp(6)"), parametric=False)(datetime(2020, 1, 1, 1, 2, 3, 123789)) == (
        "2020-01-01 01:02:03.123"
    )


@pytest.mark.parametrize(
    ("of", "value", "expected"),
    [
        ("bigint", 2**62, 2**62),
        ("boolean", True, True),
        ("double", 1.5, 1.5),
        ("double", float("nan"), "NaN"),
        ("double", float("-inf"), "-Infinity"),
        ("real", float("inf"), "Infinity"),
        ("decimal(10,2)", Decimal("1.5"), "1.50"),
        ("decimal(38,0)", Decimal("1E+3"), "1000"),
        ("char(3)", "a", "a  "),
        ("varbinary", b"\x00\xff", "AP8="),
        ("date", date(2020, 2, 29), "2020-02-29"),
        ("time(3)", time(1, 2, 3, 4567), "01:02:03.004"),
        ("time(0)", time(1, 2, 3, 4567), "01:02:03"),
        ("time(3) with time zone", time(1, 2, 3, tzinfo=timezone(timedelta(hours=-5))), "01:02:03.000-05:00"),
        ("timestamp(3)", datetime(2020, 1, 1), "2020-01-01 00:00:00.000"),
        ("timestamp(0)", datetime(2020, 1, 1), "2020-01-01 00:00:00"),
        ("timestamp(6) with time zone", datetime(2020, 1, 1, tzinfo=UTC), "2020-01-01 00:00:00.000000 UTC"),
        ("timestamp(3) with time zone", datetime(2020, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo")),
         "2020-01-01 00:00:00.000 Asia/Tokyo"),
        ("timestamp(3) with time zone", datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=2))),
         "2020-01-01 00:00:00.000 +02:00"),
        ("interval day to second", timedelta(days=-1, hours=-2, milliseconds=-3), "-1 02:00:00.003"),
        ("interval year to month", -14, "-1-2"),
        ("uuid", UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ("json", '{"a":1}', '{"a":1}'),
        ("array(decimal(3,1))", [Decimal(1), None], ["1.0", None]),
        ("map(integer, boolean)", {1: True, 2: None}, {"1": True, "2": None}),
        ("map(boolean, integer)", {True: 1}, {"true": 1}),
        ("row(a integer, b date)", {"a": 1, "b": date(2020, 1, 1)}, [1, "2020-01-01"]),
        ("row(integer, varchar)", (1, "x"), [1, "x"]),
        ("timestamp(3)", "2020-01-01 00:00:00.000", "2020-01-01 00:00:00.000"),
    ],
)  # fmt: skip
def test_values(of: str, value: object, expected: object) -> None:
    encode = encoder(parse_type(of))
    assert encode(value) == expected
    assert encode(None) is None
