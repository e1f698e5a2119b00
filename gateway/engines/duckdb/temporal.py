"""Trino's date and time functions in DuckDB.

DuckDB keeps only the instant of a TIMESTAMPTZ. The zone that Trino would keep with each value is known from the
expression (`Typed.type.zone`), so what depends on it is computed on the wall-clock time in that zone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from gateway.core.statement import Position
from gateway.engines.duckdb.failures import fail
from gateway.engines.duckdb.overloads import Call, Overload, Returns, Template, first
from gateway.engines.duckdb.scope import Typed, text
from gateway.wire.trino.types import (
    BIGINT,
    DATE,
    DOUBLE,
    VARCHAR,
    TrinoType,
    array,
    timestamp,
    timestamp_tz,
    varchar,
)

TEMPORAL: dict[str, list[Overload]] = {}


def _fn(names: str, kinds: str, returns: Returns, sql: Template) -> None:
    for name in names.split():
        TEMPORAL.setdefault(name, []).append(Overload(tuple(kinds.split()), returns, sql))


def _local(call: Call, index: int) -> str:
    return call.casts.local(call.args[index])


# -- parts

# Trino's name -> DuckDB's field. Weeks and days of the week are ISO's in Trino.
FIELDS: Mapping[str, str] = {
    "year": "year", "quarter": "quarter", "month": "month", "week": "week", "day": "day", "day_of_month": "day",
    "day_of_week": "isodow", "dow": "isodow", "day_of_year": "doy", "doy": "doy", "year_of_week": "isoyear",
    "yow": "isoyear", "hour": "hour", "minute": "minute", "second": "second", "millisecond": "millisecond",
    "week_of_year": "week",
}  # fmt: skip
_TIME_FIELDS = ("hour", "minute", "second", "millisecond")


def part(call_local: str, field: str) -> str:
    """SQL of one field of a wall-clock time, as bigint."""
    inner = f"date_part('{FIELDS[field]}', {call_local})"
    return f"CAST({inner} % 1000 AS BIGINT)" if field == "millisecond" else f"CAST({inner} AS BIGINT)"


def _part(field: str) -> Callable[[Call], str]:
    return lambda call: part(_local(call, 0), field)


for _name in FIELDS:
    for _kind in ("D", "t", "T") if _name not in _TIME_FIELDS else ("t", "T", "w"):
        _fn(_name, _kind, BIGINT, _part(_name))
_fn(
    "timezone_hour",
    "T",
    BIGINT,
    lambda c: f"CAST((epoch({_local(c, 0)}) - epoch({c.args[0].sql})) // 3600 AS BIGINT)",
)
_fn(
    "timezone_minute",
    "T",
    BIGINT,
    lambda c: f"CAST(((epoch({_local(c, 0)}) - epoch({c.args[0].sql})) % 3600) // 60 AS BIGINT)",
)

# -- units

_UNITS = ("millisecond", "second", "minute", "hour", "day", "week", "month", "quarter", "year")
_STEPS = {
    "millisecond": "to_milliseconds({0})", "second": "to_seconds({0})", "minute": "to_minutes({0})",
    "hour": "to_hours({0})", "day": "to_days(CAST({0} AS INTEGER))", "week": "to_days(CAST({0} * 7 AS INTEGER))",
    "month": "to_months(CAST({0} AS INTEGER))", "quarter": "to_months(CAST({0} * 3 AS INTEGER))",
    "year": "to_years(CAST({0} AS INTEGER))",
}  # fmt: skip


def _unit(call: Call, allowed: tuple[str, ...] = _UNITS) -> str:
    literal = call.args[0].literal
    if not isinstance(literal, str):
        fail("NOT_SUPPORTED", f"{call.name} needs its unit as a literal in the embedded engine", call.place)
    unit = literal.lower()
    if unit not in allowed:
        fail("INVALID_FUNCTION_ARGUMENT", f"'{literal}' is not a valid DATE field", call.place)
    return unit


def _zoned(call: Call, index: int, local: str) -> str:
    """A wall-clock time back in the zone of an argument."""
    value = call.args[index]
    return f"timezone({text(value.type.zone or call.casts.zone)}, {local})"


_fn(
    "date_trunc",
    "v D",
    DATE,
    lambda c: f"CAST(date_trunc('{_unit(c, _UNITS[4:])}', {c.args[1].sql}) AS DATE)",
)
_fn("date_trunc", "v t", lambda c: c.args[1].type, lambda c: f"date_trunc('{_unit(c)}', {c.args[1].sql})")
_fn(
    "date_trunc",
    "v T",
    lambda c: c.args[1].type,
    lambda c: _zoned(c, 1, f"date_trunc('{_unit(c)}', {_local(c, 1)})"),
)
_fn(
    "date_trunc",
    "v w",
    lambda c: c.args[1].type,
    lambda c: f"CAST(date_trunc('{_unit(c, _UNITS[:4])}', DATE '1970-01-01' + {c.args[1].sql}) AS TIME)",
)


def _step(call: Call) -> str:
    return _STEPS[_unit(call)].format(call.args[1].sql)


def _add_zoned(call: Call) -> str:
    if _unit(call) in _UNITS[:4]:
        return f"({call.args[2].sql} + {_step(call)})"
    return _zoned(call, 2, f"{_local(call, 2)} + {_step(call)}")


def _shifted(call: Call) -> TrinoType:
    kind = call.args[2].type
    digits = max(3, kind.precision) if _unit(call) == "millisecond" else kind.precision
    return TrinoType(kind.base, (digits,), zone=kind.zone)


_fn("date_add", "v i D", DATE, lambda c: f"CAST(({c.args[2].sql} + {_step(c)}) AS DATE)")
_fn("date_add", "v i t", _shifted, lambda c: f"({c.args[2].sql} + {_step(c)})")
_fn("date_add", "v i T", _shifted, _add_zoned)
_fn("date_add", "v i w", _shifted, lambda c: f"({c.args[2].sql} + {_step(c)})")


def _difference(call: Call) -> str:
    first_value, second_value = (call.casts.local(arg) for arg in call.args[1:3])
    return f"datesub('{_unit(call)}', {first_value}, {second_value})"


for _kinds in ("v D D", "v t t", "v T T"):
    _fn("date_diff", _kinds, BIGINT, _difference)

# -- formats

_MYSQL = {
    "Y": "%Y", "y": "%y", "m": "%m", "c": "%-m", "d": "%d", "e": "%-d", "H": "%H", "k": "%-H", "h": "%I", "I": "%I",
    "l": "%-I", "i": "%M", "s": "%S", "S": "%S", "f": "%f", "p": "%p", "W": "%A", "a": "%a", "M": "%B", "b": "%b",
    "j": "%j", "T": "%H:%M:%S", "r": "%I:%M:%S %p", "v": "%V", "x": "%G", "%": "%%",
}  # fmt: skip
_JODA = {
    "yyyy": "%Y", "y": "%Y", "yy": "%y", "YYYY": "%Y", "MMMM": "%B", "MMM": "%b", "MM": "%m", "M": "%-m", "dd": "%d",
    "d": "%-d", "HH": "%H", "H": "%-H", "hh": "%I", "h": "%-I", "mm": "%M", "m": "%-M", "ss": "%S", "s": "%-S",
    "SSS": "%g", "SSSSSS": "%f", "EEEE": "%A", "EEE": "%a", "E": "%a", "a": "%p", "D": "%-j", "DDD": "%j", "e": "%u",
    "x": "%G", "xxxx": "%G", "w": "%V", "ww": "%V",
}  # fmt: skip
_JODA_TOKEN = re.compile(r"'((?:[^']|'')*)'|([a-zA-Z])\2*|[^a-zA-Z']+")


def mysql_format(pattern: str, place: Position | None) -> str:
    """A MySQL pattern (`%Y-%m-%d %H:%i`) as strftime's."""
    out, index = [], 0
    while index < len(pattern):
        char = pattern[index]
        if char == "%" and index + 1 < len(pattern):
            code = pattern[index + 1]
            if code not in _MYSQL:
                if code in "DUuVwX":
                    fail("INVALID_FUNCTION_ARGUMENT", f"%{code} not supported in date format string", place)
                out.append(code)
            else:
                out.append(_MYSQL[code])
            index += 2
        else:
            out.append("%%" if char == "%" else char)
            index += 1
    return "".join(out)


def joda_format(pattern: str, place: Position | None) -> str:
    """A Joda pattern (`yyyy-MM-dd HH:mm`) as strftime's."""
    out = []
    for found in _JODA_TOKEN.finditer(pattern):
        token = found[0]
        if token.startswith("'"):
            out.append((found[1].replace("''", "'") or "'").replace("%", "%%"))
        elif token[0].isalpha():
            if token not in _JODA:
                fail("NOT_SUPPORTED", f"The embedded engine has no '{token}' in date formats", place)
            out.append(_JODA[token])
        else:
            out.append(token.replace("%", "%%"))
    return "".join(out)


def _pattern(call: Call, convert: Callable[[str, Position | None], str]) -> str:
    literal = call.args[1].literal
    if not isinstance(literal, str):
        fail("NOT_SUPPORTED", f"{call.name} needs its format as a literal in the embedded engine", call.place)
    return text(convert(literal, call.place))


for _kind in ("t", "T"):
    _fn(
        "date_format",
        f"{_kind} v",
        VARCHAR,
        lambda c: f"strftime({_local(c, 0)}, {_pattern(c, mysql_format)})",
    )
    _fn(
        "format_datetime",
        f"{_kind} v",
        VARCHAR,
        lambda c: f"strftime({_local(c, 0)}, {_pattern(c, joda_format)})",
    )
_fn("date_parse", "v v", timestamp(3), lambda c: f"strptime({c.args[0].sql}, {_pattern(c, mysql_format)})")
_fn(
    "parse_datetime",
    "v v",
    lambda c: timestamp_tz(3, c.casts.zone),
    lambda c: f"timezone({text(c.casts.zone)}, strptime({c.args[0].sql}, {_pattern(c, joda_format)}))",
)
_fn("to_iso8601", "D", varchar(16), "CAST({0} AS VARCHAR)")
_fn("to_iso8601", "t", varchar(26), lambda c: f"strftime({c.args[0].sql}, '%Y-%m-%dT%H:%M:%S.%g')")
_fn(
    "to_iso8601",
    "T",
    varchar(32),
    lambda c: f"strftime({_local(c, 0)}, '%Y-%m-%dT%H:%M:%S.%g') || {_offset_text(c)}",
)
_fn("from_iso8601_date", "v", DATE, "CAST({0} AS DATE)")
_fn("from_iso8601_timestamp", "v", lambda c: timestamp_tz(3, _literal_zone(c)), "CAST({0} AS TIMESTAMPTZ)")


def _offset_text(call: Call) -> str:
    minutes = f"CAST((epoch({_local(call, 0)}) - epoch({call.args[0].sql})) // 60 AS INTEGER)"
    sign = f"CASE WHEN {minutes} < 0 THEN '-' ELSE '+' END"
    shown = f"printf('%s%02d:%02d', {sign}, abs({minutes}) // 60, abs({minutes}) % 60)"
    return f"CASE WHEN {minutes} = 0 THEN 'Z' ELSE {shown} END"


def _literal_zone(call: Call) -> str:
    literal = call.args[0].literal
    if isinstance(literal, str) and literal.endswith("Z"):
        return "UTC"
    if isinstance(literal, str) and (found := re.search(r"[+-]\d\d:\d\d$", literal)):
        return found[0]
    return call.casts.zone


# -- instants and zones


def _zone_argument(call: Call, index: int) -> str:
    literal = call.args[index].literal
    if not isinstance(literal, str):
        fail(
            "NOT_SUPPORTED",
            f"{call.name} needs its time zone as a literal in the embedded engine",
            call.place,
        )
    return literal


def in_zone(value: Typed, zone: str) -> Typed:
    """The same instant, shown in another zone."""
    return Typed(value.sql, timestamp_tz(value.type.precision, zone))


_fn("now", "", lambda c: timestamp_tz(3, c.casts.zone), lambda c: c.compiler.now_sql(3))
_fn("to_unixtime", "t", DOUBLE, lambda c: f"epoch(timezone({text(c.casts.zone)}, {c.args[0].sql}))")
_fn("to_unixtime", "T", DOUBLE, "epoch({0})")
_fn("from_unixtime", "d", lambda c: timestamp_tz(3, c.casts.zone), "to_timestamp({0})")
_fn("from_unixtime", "d v", lambda c: timestamp_tz(3, _zone_argument(c, 1)), "to_timestamp({0})")
_fn("at_timezone", "T v", lambda c: timestamp_tz(first(c).precision, _zone_argument(c, 1)), "{0}")
_fn(
    "with_timezone",
    "t v",
    lambda c: timestamp_tz(first(c).precision, _zone_argument(c, 1)),
    lambda c: f"timezone({text(_zone_argument(c, 1))}, {c.args[0].sql})",
)
_fn("date", "v", DATE, "CAST({0} AS DATE)")
for _kind in ("D", "t", "T"):
    _fn("date", _kind, DATE, lambda c: f"CAST({_local(c, 0)} AS DATE)")
    _fn("last_day_of_month", _kind, DATE, lambda c: f"last_day(CAST({_local(c, 0)} AS DATE))")
_fn("to_milliseconds", "I", BIGINT, "epoch_ms({0})")
_fn(
    "sequence",
    "D D I?",
    array(DATE),
    lambda c: (
        f"list_transform(generate_series(CAST({c.args[0].sql} AS TIMESTAMP), CAST({c.args[1].sql} AS TIMESTAMP), "
        f"{c.args[2].sql if len(c.args) > 2 else 'INTERVAL 1 DAY'}), lambda e: CAST(e AS DATE))"
    ),
)
_fn(
    "sequence",
    "D D Y",
    array(DATE),
    "list_transform(generate_series(CAST({0} AS TIMESTAMP), CAST({1} AS TIMESTAMP), "
    "{2}), lambda e: CAST(e AS DATE))",
)
for _step_kind in ("I", "Y"):
    _fn("sequence", f"t t {_step_kind}", lambda c: array(first(c)), "generate_series({0}, {1}, {2})")
