"""Trino's rules for types that meet: common types, implicit and explicit casts, arithmetic."""

from __future__ import annotations

from collections.abc import Callable

from gateway.core.statement import Position
from gateway.engines.duckdb.failures import fail
from gateway.engines.duckdb.representation import HELPERS, duck_type, field_name, varchar_sql
from gateway.engines.duckdb.scope import Typed, quote, text
from gateway.wire.trino.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTERVAL_DAY,
    JSON,
    REAL,
    UNKNOWN,
    VARCHAR,
    TrinoType,
    array,
    decimal,
    display,
    map_of,
    row,
    timestamp,
    timestamp_tz,
    varchar,
)

INTEGERS = ("tinyint", "smallint", "integer", "bigint")
_INTEGER_DIGITS = {"tinyint": 3, "smallint": 5, "integer": 10, "bigint": 19}
_INTEGER_NAMES = {"tinyint": "TINYINT", "smallint": "SMALLINT", "integer": "INT", "bigint": "BIGINT"}
NUMERIC = (*INTEGERS, "decimal", "real", "double")
DATETIME = ("date", "timestamp", "timestamp with time zone")
TEXT = ("varchar", "char")
INTERVALS = ("interval day to second", "interval year to month")


def as_decimal(of: TrinoType) -> TrinoType:
    """The decimal that holds every value of an integer type; decimals stay."""
    return decimal(_INTEGER_DIGITS[of.base], 0) if of.base in INTEGERS else of


def _common_decimal(a: TrinoType, b: TrinoType) -> TrinoType:
    a, b = as_decimal(a), as_decimal(b)
    scale = max(a.scale, b.scale)
    whole = max(a.precision - a.scale, b.precision - b.scale)
    return decimal(min(38, whole + scale), scale)


def common(a: TrinoType, b: TrinoType) -> TrinoType | None:
    """The type both convert to without a cast; None when there is none."""
    if a.same(b):
        return a if a.zone == b.zone else timestamp_tz(a.precision) if a.base.startswith("timestamp") else a
    if a == UNKNOWN or b == UNKNOWN:
        return b if a == UNKNOWN else a
    if a.base in NUMERIC and b.base in NUMERIC:
        return _common_number(a, b)
    if a.base in TEXT and b.base in TEXT:
        if a.base == b.base:
            return TrinoType(a.base, (max(a.precision, b.precision),))
        length = max(a.precision, b.precision)
        return TrinoType("char", (length,)) if length <= 65536 else varchar(length)
    if a.base in DATETIME and b.base in DATETIME:
        return _common_datetime(a, b)
    if a.base == b.base and a.base.startswith("time"):
        return TrinoType(a.base, (max(a.precision, b.precision),))
    return _common_nested(a, b)


def _common_number(a: TrinoType, b: TrinoType) -> TrinoType:
    bases = {a.base, b.base}
    if "double" in bases:
        return DOUBLE
    if "real" in bases:
        return REAL
    if "decimal" in bases:
        return _common_decimal(a, b)
    return TrinoType(INTEGERS[max(INTEGERS.index(a.base), INTEGERS.index(b.base))])


def _common_datetime(a: TrinoType, b: TrinoType) -> TrinoType:
    precision = max(a.precision, b.precision)
    if "timestamp with time zone" in (a.base, b.base):
        zone = a.zone if a.zone == b.zone else None
        return timestamp_tz(precision, zone)
    return timestamp(precision)


def _common_nested(a: TrinoType, b: TrinoType) -> TrinoType | None:
    if a.base != b.base or a.base not in ("array", "map", "row") or len(a.items) != len(b.items):
        return None
    items = [common(x, y) for x, y in zip(a.items, b.items, strict=True)]
    if any(item is None for item in items):
        return None
    kinds = tuple(item for item in items if item is not None)
    if a.base == "array":
        return array(kinds[0])
    if a.base == "map":
        return map_of(kinds[0], kinds[1])
    names = tuple(x if x == y else None for x, y in zip(a.names, b.names, strict=True))
    return row(kinds, names)


def converts(source: TrinoType, target: TrinoType) -> bool:
    """Whether a value becomes `target` without a cast being written."""
    found = common(source, target)
    return found is not None and (found.same(target) or (found.base == target.base == "char"))


class Casts:
    """Casts as SQL. `zone` is the session's time zone; `null_on_error` is how TRY and TRY_CAST want it."""

    def __init__(self, zone: str) -> None:
        self.zone = zone
        self.null_on_error = False

    def error(self, code: str, message: str) -> str:
        """SQL that fails the query; `message` is SQL of a text."""
        return "NULL" if self.null_on_error else f"error('[[{code}]] ' || {message})"

    def implicit(self, value: Typed, target: TrinoType) -> Typed:
        """The value as `target`, where Trino converts on its own."""
        source = value.type
        if source.base == "varchar" and target.base == "char":
            return Typed(f"rtrim({value.sql}, ' ')", target)
        if source.same(target) or (source.base == target.base and source.base in ("varchar", "char")):
            return Typed(value.sql, target if target.zone or not source.zone else source, value.literal)
        if source == UNKNOWN:
            return Typed(f"CAST(NULL AS {duck_type(target)})", target)
        return Typed(self.cast_sql(value, target), target)

    def cast(self, value: Typed, target: TrinoType, place: Position | None = None) -> Typed:
        """An explicit cast. Raises TrinoFailure (TYPE_MISMATCH) for a pair of types that Trino cannot cast."""
        source = value.type
        if not castable(source, target):
            fail("TYPE_MISMATCH", f"Cannot cast {display(source)} to {display(target)}", place)
        kept = target
        if target.base == "timestamp with time zone":
            kept = timestamp_tz(target.precision, source.zone or (None if source.base in TEXT else self.zone))
            if source.base in TEXT and isinstance(value.literal, str):
                kept = timestamp_tz(target.precision, zone_in_text(value.literal) or self.zone)
        return Typed(self.cast_sql(value, kept), kept)

    def cast_sql(self, value: Typed, target: TrinoType) -> str:
        source, sql = value.type, value.sql
        kind = duck_type(target)
        if source == UNKNOWN:
            return f"CAST(NULL AS {kind})"
        if source.same(target) and source.base not in ("timestamp with time zone",):
            return sql
        special = (
            _CASTS.get((source.base, target.base))
            or _CASTS.get(("*", target.base))
            or _CASTS.get((source.base, "*"))
        )
        if special is not None:
            return special(self, value, target)
        return self.plain(sql, kind)

    def plain(self, sql: str, kind: str) -> str:
        return f"{'TRY_CAST' if self.null_on_error else 'CAST'}({sql} AS {kind})"

    def local(self, value: Typed) -> str:
        """The wall-clock time of a value with a zone, as TIMESTAMP; others as they are."""
        if value.type.base == "timestamp with time zone":
            return f"timezone({text(value.type.zone or self.zone)}, {value.sql})"
        return value.sql


def zone_in_text(literal: str) -> str | None:
    """The zone at the end of a timestamp's text: `2020-01-01 00:00:00 Europe/Paris`."""
    tail = literal.strip()[10:]
    if " " not in tail.strip():
        sign = max(tail.rfind("+"), tail.rfind("-"))
        return tail[sign:] if sign > 0 else None
    zone = tail.strip().rsplit(" ", 1)[1]
    return None if zone[:1].isdigit() else zone


def castable(source: TrinoType, target: TrinoType) -> bool:
    """Whether Trino has a cast for this pair."""
    if source == UNKNOWN or source.same(target) or converts(source, target):
        return True
    a, b = source.base, target.base
    if a == "row" == b:
        return len(source.items) == len(target.items) and all(map(castable, source.items, target.items))
    if a == b and a in ("array", "map"):
        return all(map(castable, source.items, target.items))
    if a in NUMERIC or a == "boolean":
        return b in NUMERIC or b in (*TEXT, "boolean", "json")
    if a in TEXT:
        return b not in ("array", "map", "row", *INTERVALS)
    if a == "json":
        return b in NUMERIC or b in ("boolean", "varchar", "array", "map", "row", "date", "timestamp")
    if b in ("varchar", "char"):
        return a not in ("varbinary", "array", "map", "row")
    if b == "json":
        return a in ("array", "map", "row", "date", "timestamp")
    times = ("date", "timestamp", "timestamp with time zone", "time", "time with time zone")
    return a in times and b in times and {a, b} != {"date", "time"}


# -- the casts that DuckDB does otherwise


def _to_varchar(casts: Casts, value: Typed, target: TrinoType) -> str:
    source = value.type
    if source.base == "json":
        return f"{HELPERS}.scalar_json({value.sql})"
    if source.base == "char":
        return (
            f"rtrim({value.sql})"
            if target.base == "char"
            else varchar_sql(value.sql, source, zone=casts.zone)
        )
    sql = varchar_sql(value.sql, source, zone=casts.zone)
    if target.precision < VARCHAR.precision and (
        source.base != "varchar" or source.precision > target.precision
    ):
        sql = f"left({sql}, {target.precision})"
    return f"rtrim({sql})" if target.base == "char" else sql


def _text_to_integer(casts: Casts, value: Typed, target: TrinoType) -> str:
    kind = duck_type(target)
    if casts.null_on_error:
        return f"TRY_CAST({HELPERS}.integer_or_null({value.sql}) AS {kind})"
    return f"CAST({HELPERS}.integer_text({value.sql}, '{_INTEGER_NAMES[target.base]}') AS {kind})"


def _float_to_integer(casts: Casts, value: Typed, target: TrinoType) -> str:
    return casts.plain(f"round({value.sql})", duck_type(target))


def _to_timestamp(casts: Casts, value: Typed, target: TrinoType) -> str:
    source = value.type
    sql = casts.local(value)
    if source.base in TEXT:
        return casts.plain(sql, duck_type(target))
    if source.base in ("timestamp", "timestamp with time zone") and target.precision < min(
        source.precision, 6
    ):
        return f"{HELPERS}.round_time({sql}, {10 ** (6 - target.precision)})"
    if source.base == "time":
        return f"(current_date + {sql})"
    return casts.plain(sql, duck_type(target))


def _to_timestamp_tz(casts: Casts, value: Typed, target: TrinoType) -> str:
    source = value.type
    if source.base == "timestamp with time zone":
        if target.precision < min(source.precision, 6):
            return f"to_timestamp(epoch({HELPERS}.round_time({value.sql}, {10 ** (6 - target.precision)})))"
        return value.sql
    if source.base in TEXT:
        return casts.plain(value.sql, "TIMESTAMPTZ")
    return f"timezone({text(casts.zone)}, CAST({value.sql} AS TIMESTAMP))"


def _zoned_to_part(casts: Casts, value: Typed, target: TrinoType) -> str:
    return casts.plain(casts.local(value), duck_type(target))


def _to_json(casts: Casts, value: Typed, target: TrinoType) -> str:
    source = value.type
    if source.base in (*NUMERIC, "boolean", "array", "map", "row"):
        return f"CAST(to_json({value.sql}) AS JSON)"
    return f"CAST(to_json({varchar_sql(value.sql, source, zone=casts.zone)}) AS JSON)"


def _from_json(casts: Casts, value: Typed, target: TrinoType) -> str:
    if target.base in ("varchar", "char"):
        return _to_varchar(casts, value, target)
    if target.base in ("array", "map", "row"):
        return casts.plain(value.sql, duck_type(target))
    scalar = Typed(f"{HELPERS}.scalar_json({value.sql})", VARCHAR)
    return casts.plain(scalar.sql, duck_type(target))


def _row_to_row(casts: Casts, value: Typed, target: TrinoType) -> str:
    parts = []
    for index, (source, wanted) in enumerate(zip(value.type.items, target.items, strict=True)):
        part = Typed(f"({value.sql})[{text(field_name(value.type, index))}]", source)
        parts.append(f"{quote(field_name(target, index))} := {casts.cast_sql(part, wanted)}")
    return f"CASE WHEN ({value.sql}) IS NULL THEN NULL ELSE struct_pack({', '.join(parts)}) END"


def _array_to_array(casts: Casts, value: Typed, target: TrinoType) -> str:
    if value.type.items[0] == UNKNOWN:
        return f"CAST({value.sql} AS {duck_type(target)})"
    inner = casts.cast_sql(Typed("e", value.type.items[0]), target.items[0])
    return f"list_transform({value.sql}, lambda e: {inner})"


def _map_to_map(casts: Casts, value: Typed, target: TrinoType) -> str:
    if UNKNOWN in value.type.items:
        return f"CAST({value.sql} AS {duck_type(target)})"
    key = casts.cast_sql(Typed("e", value.type.items[0]), target.items[0])
    item = casts.cast_sql(Typed("e", value.type.items[1]), target.items[1])
    return (
        f"map(list_transform(map_keys({value.sql}), lambda e: {key}), "
        f"list_transform(map_values({value.sql}), lambda e: {item}))"
    )


_Cast = Callable[[Casts, Typed, TrinoType], str]


def _build_casts() -> dict[tuple[str, str], _Cast]:
    table: dict[tuple[str, str], _Cast] = {
        ("row", "row"): _row_to_row,
        ("array", "array"): _array_to_array,
        ("map", "map"): _map_to_map,
        ("timestamp with time zone", "date"): _zoned_to_part,
        ("timestamp with time zone", "time"): _zoned_to_part,
        ("*", "varchar"): _to_varchar,
        ("*", "char"): _to_varchar,
        ("*", "timestamp"): _to_timestamp,
        ("*", "timestamp with time zone"): _to_timestamp_tz,
        ("*", "json"): _to_json,
        ("json", "*"): _from_json,
    }
    for integer in INTEGERS:
        table |= {(kind, integer): _text_to_integer for kind in TEXT}
        table |= {(kind, integer): _float_to_integer for kind in ("double", "real")}
    return table


_CASTS = _build_casts()


# -- arithmetic

_SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "mod": "%"}


def arithmetic(casts: Casts, op: str, a: Typed, b: Typed, place: Position | None = None) -> Typed:
    """`a op b` for +, -, *, /, %. Raises TrinoFailure (TYPE_MISMATCH)."""
    symbol = _SYMBOLS[op]
    if a.type.base in NUMERIC and b.type.base in NUMERIC:
        return _number_arithmetic(casts, op, a, b)
    if UNKNOWN in (a.type, b.type) and {a.type.base, b.type.base} & set(NUMERIC):
        known = b.type if a.type == UNKNOWN else a.type
        return Typed(f"CAST(NULL AS {duck_type(known)})", known)
    temporal = _temporal_arithmetic(casts, op, a, b)
    if temporal is None:
        fail(
            "TYPE_MISMATCH",
            f"Cannot apply operator: {display(a.type)} {symbol} {display(b.type)}",
            place,
        )
    return temporal


def _number_arithmetic(casts: Casts, op: str, a: Typed, b: Typed) -> Typed:
    symbol = _SYMBOLS[op]
    kind = _common_number(a.type, b.type)
    if kind.base == "decimal":
        return _decimal_arithmetic(casts, op, a, b)
    left, right = casts.implicit(a, kind), casts.implicit(b, kind)
    if op == "div" and kind.base in INTEGERS:
        return Typed(f"CAST(({left.sql} // {right.sql}) AS {duck_type(kind)})", kind)
    if op == "mod" and kind.base in ("double", "real"):
        return Typed(f"fmod({left.sql}, {right.sql})", kind)
    return Typed(f"({left.sql} {symbol} {right.sql})", kind)


def _decimal_arithmetic(casts: Casts, op: str, a: Typed, b: Typed) -> Typed:
    x, y = as_decimal(a.type), as_decimal(b.type)
    left, right = casts.implicit(a, x), casts.implicit(b, y)
    whole, scale = max(x.precision - x.scale, y.precision - y.scale), max(x.scale, y.scale)
    if op in ("add", "sub"):
        kind = decimal(min(38, whole + scale + 1), scale)
    elif op == "mul":
        kind = decimal(min(38, x.precision + y.precision), x.scale + y.scale)
    elif op == "mod":
        kind = decimal(min(38, min(x.precision - x.scale, y.precision - y.scale) + scale), scale)
    else:
        kind = decimal(min(38, x.precision + y.scale + max(y.scale - x.scale, 0)), scale)
        return _divide(left, right, kind)
    return Typed(f"CAST(({left.sql} {_SYMBOLS[op]} {right.sql}) AS {duck_type(kind)})", kind)


def _divide(left: Typed, right: Typed, kind: TrinoType) -> Typed:
    """Exact while the numbers fit in 128 bits: whole numbers are divided, rounding half up."""
    x, y = left.type, right.type
    shift = kind.scale - x.scale + y.scale
    if x.precision + shift > 36 or y.precision > 36:
        quotient = f"(CAST({left.sql} AS DOUBLE) / CAST({right.sql} AS DOUBLE))"
        return Typed(f"CAST({quotient} AS {duck_type(kind)})", kind)
    numerator = f"(CAST({_unscaled(left)} AS HUGEINT) * CAST({10**shift} AS HUGEINT))"
    whole = f"{HELPERS}.divide_whole({numerator}, {_unscaled(right)})"
    unit = f"CAST(0.{1:0{kind.scale}d} AS DECIMAL({kind.scale + 1},{kind.scale}))"
    digits = min(38 - kind.scale - 1, kind.precision)
    if kind.scale == 0:
        return Typed(f"CAST({whole} AS {duck_type(kind)})", kind)
    return Typed(f"CAST((CAST({whole} AS DECIMAL({digits},0)) * {unit}) AS {duck_type(kind)})", kind)


def _unscaled(value: Typed) -> str:
    kind = value.type
    if kind.scale == 0:
        return f"CAST({value.sql} AS HUGEINT)"
    width = min(38, kind.precision + kind.scale + 1)
    factor = f"CAST({10**kind.scale} AS DECIMAL({kind.scale + 1},0))"
    return f"CAST(CAST(({value.sql} * {factor}) AS DECIMAL({width},{kind.scale})) AS HUGEINT)"


def _temporal_arithmetic(casts: Casts, op: str, a: Typed, b: Typed) -> Typed | None:
    x, y = a.type.base, b.type.base
    if op == "add" and x in INTERVALS and y not in INTERVALS:
        return _temporal_arithmetic(casts, op, b, a)
    symbol = _SYMBOLS[op]
    if op in ("add", "sub") and y in INTERVALS:
        if x == y:
            return Typed(f"({a.sql} {symbol} {b.sql})", a.type)
        return _shift(casts, symbol, a, b)
    if op == "sub" and x in DATETIME and y in DATETIME:
        if x == "date" == y:
            return Typed(f"to_days(CAST({a.sql} - {b.sql} AS INTEGER))", INTERVAL_DAY)
        kind = common(a.type, b.type)
        assert kind is not None
        left, right = casts.implicit(a, kind), casts.implicit(b, kind)
        return Typed(f"to_microseconds(epoch_us({left.sql}) - epoch_us({right.sql}))", INTERVAL_DAY)
    return _scale_interval(casts, op, a, b)


def _shift(casts: Casts, symbol: str, a: Typed, b: Typed) -> Typed | None:
    x, y = a.type.base, b.type.base
    if x == "date":
        return Typed(f"CAST(({a.sql} {symbol} {b.sql}) AS DATE)", DATE)
    if x == "time" and y == INTERVAL_DAY.base:
        return Typed(f"({a.sql} {symbol} {b.sql})", TrinoType("time", (max(3, a.type.precision),)))
    if x == "timestamp":
        return Typed(f"({a.sql} {symbol} {b.sql})", timestamp(max(3, a.type.precision)))
    if x == "timestamp with time zone":
        kind = timestamp_tz(max(3, a.type.precision), a.type.zone)
        zone = text(a.type.zone or casts.zone)
        return Typed(f"timezone({zone}, timezone({zone}, {a.sql}) {symbol} {b.sql})", kind)
    return None


def _scale_interval(casts: Casts, op: str, a: Typed, b: Typed) -> Typed | None:
    x, y = a.type.base, b.type.base
    if op == "mul" and y in INTERVALS and x in NUMERIC:
        return _scale_interval(casts, op, b, a)
    if x not in INTERVALS or y not in NUMERIC or op not in ("mul", "div"):
        return None
    factor = casts.implicit(b, DOUBLE).sql
    symbol = "*" if op == "mul" else "/"
    if x == INTERVAL_DAY.base:
        return Typed(f"to_milliseconds(CAST(epoch_ms({a.sql}) {symbol} {factor} AS BIGINT))", a.type)
    return Typed(f"to_months(CAST({HELPERS}.interval_months({a.sql}) {symbol} {factor} AS INTEGER))", a.type)


__all__ = [
    "BIGINT", "BOOLEAN", "DATETIME", "INTEGERS", "INTERVALS", "JSON", "NUMERIC", "TEXT", "Casts", "arithmetic",
    "as_decimal", "castable", "common", "converts", "zone_in_text",
]  # fmt: skip
