"""How Trino's types are kept in DuckDB, and how DuckDB writes their values as Trino's JSON.

Values are turned to JSON inside DuckDB (vectorised, outside the interpreter lock): one text per row.
"""

from __future__ import annotations

import re

from gateway.engines.duckdb.scope import quote, text
from gateway.wire.trino.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    INTERVAL_DAY,
    JSON,
    REAL,
    SMALLINT,
    TINYINT,
    UNKNOWN,
    UUID_TYPE,
    VARBINARY,
    VARCHAR,
    TrinoType,
    array,
    decimal,
    map_of,
    row,
    timestamp,
    timestamp_tz,
)

HELPERS = "trino.main"
"""Where the macros of `macros.py` live: a database in memory that every query sees."""

_SIMPLE = {
    "boolean": "BOOLEAN",
    "tinyint": "TINYINT",
    "smallint": "SMALLINT",
    "integer": "INTEGER",
    "bigint": "BIGINT",
    "real": "FLOAT",
    "double": "DOUBLE",
    "varchar": "VARCHAR",
    "char": "VARCHAR",
    "varbinary": "BLOB",
    "date": "DATE",
    "time": "TIME",
    "time with time zone": "VARCHAR",
    "timestamp with time zone": "TIMESTAMPTZ",
    "uuid": "UUID",
    "json": "JSON",
    "interval day to second": "INTERVAL",
    "interval year to month": "INTERVAL",
    "unknown": "INTEGER",
}


def field_name(of: TrinoType, index: int) -> str:
    """The name of a row's field in DuckDB, where every field needs one."""
    name = of.names[index]
    return f"field{index}" if name is None else name


def duck_type(of: TrinoType) -> str:
    """The DuckDB type that holds values of a Trino type."""
    if of.base == "decimal":
        return f"DECIMAL({of.precision},{of.scale})"
    if of.base == "timestamp":
        return "TIMESTAMP" if of.precision <= 6 else "TIMESTAMP_NS"
    if of.base == "array":
        return f"{duck_type(of.items[0])}[]"
    if of.base == "map":
        return f"MAP({duck_type(of.items[0])}, {duck_type(of.items[1])})"
    if of.base == "row":
        fields = (f"{quote(field_name(of, i))} {duck_type(item)}" for i, item in enumerate(of.items))
        return f"STRUCT({', '.join(fields)})"
    return _SIMPLE.get(of.base, "VARCHAR")


# -- from DuckDB's types, for tables that were not made through Trino's SQL

_FROM_DUCK = {
    "BOOLEAN": BOOLEAN,
    "TINYINT": TINYINT,
    "UTINYINT": SMALLINT,
    "SMALLINT": SMALLINT,
    "USMALLINT": INTEGER,
    "INTEGER": INTEGER,
    "UINTEGER": BIGINT,
    "BIGINT": BIGINT,
    "UBIGINT": decimal(20, 0),
    "HUGEINT": decimal(38, 0),
    "FLOAT": REAL,
    "DOUBLE": DOUBLE,
    "VARCHAR": VARCHAR,
    "BLOB": VARBINARY,
    "DATE": DATE,
    "TIME": TrinoType("time", (6,)),
    "TIMESTAMP": timestamp(6),
    "TIMESTAMP_S": timestamp(0),
    "TIMESTAMP_MS": timestamp(3),
    "TIMESTAMP_NS": timestamp(9),
    "TIMESTAMP WITH TIME ZONE": timestamp_tz(6, "UTC"),
    "UUID": UUID_TYPE,
    "JSON": JSON,
    "INTERVAL": INTERVAL_DAY,
    '"NULL"': UNKNOWN,
}
_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")


def trino_type(duck: str) -> TrinoType:
    """The Trino type of a DuckDB type's name; varchar for those that Trino does not have."""
    duck = duck.strip()
    if duck in _FROM_DUCK:
        return _FROM_DUCK[duck]
    if duck.endswith("[]"):
        return array(trino_type(duck[:-2]))
    if found := _DECIMAL.fullmatch(duck):
        return decimal(int(found[1]), int(found[2]))
    if duck.startswith("MAP(") and duck.endswith(")"):
        key, value = _split(duck[4:-1])
        return map_of(trino_type(key), trino_type(value))
    if duck.startswith("STRUCT(") and duck.endswith(")"):
        fields = [_struct_field(part) for part in _split(duck[7:-1])]
        return row(tuple(kind for _, kind in fields), tuple(name for name, _ in fields))
    return VARCHAR


def _struct_field(part: str) -> tuple[str, TrinoType]:
    if part.startswith('"'):
        end = part.index('"', 1)
        while part[end + 1 : end + 2] == '"':
            end = part.index('"', end + 2)
        return part[1:end].replace('""', '"'), trino_type(part[end + 1 :])
    name, _, kind = part.partition(" ")
    return name, trino_type(kind)


def _split(inner: str) -> list[str]:
    """Cut at the commas outside of brackets and quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for index, char in enumerate(inner):
        if char == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif char in "([":
            depth += 1
        elif char in ")]":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(inner[start:index].strip())
            start = index + 1
    return [*parts, inner[start:].strip()]


# -- values to JSON

_AS_IS = frozenset({"boolean", "tinyint", "smallint", "integer", "bigint", "varchar"})


def row_json(columns: list[tuple[str, TrinoType]], *, zone: str, parametric: bool) -> str:
    """SQL of a row's JSON array, of (expression, type) pairs. `zone` is the session's time zone."""
    parts = ", ".join(value_json(sql, of, zone=zone, parametric=parametric) for sql, of in columns)
    return f"CAST(json_array({parts}) AS VARCHAR)"


def value_json(sql: str, of: TrinoType, *, zone: str, parametric: bool, depth: int = 0) -> str:
    """SQL of something that `json_array` writes as Trino writes this value."""
    base = of.base
    if base in _AS_IS:
        return sql
    if base == "double":
        return f"{HELPERS}.json_double({sql})"
    if base == "real":
        return f"{HELPERS}.json_real({sql})"
    if base == "varbinary":
        return f"base64({sql})"
    if base == "unknown":
        return f"CAST({sql} AS INTEGER)"
    if base == "interval day to second":
        return f"{HELPERS}.interval_day_text({sql})"
    if base == "interval year to month":
        return f"{HELPERS}.interval_year_text({sql})"
    if base in ("array", "map", "row"):
        return _nested_json(sql, of, zone, parametric, depth)
    return varchar_sql(sql, of, zone=zone, digits=None if parametric else 3)


def _nested_json(sql: str, of: TrinoType, zone: str, parametric: bool, depth: int) -> str:
    def inner(expression: str, item: TrinoType) -> str:
        return value_json(expression, item, zone=zone, parametric=parametric, depth=depth + 1)

    name = f"v{depth}"
    if of.base == "array":
        element = inner(name, of.items[0])
        return sql if element == name else f"list_transform({sql}, lambda {name}: {element})"
    if of.base == "row":
        parts = (inner(f"({sql})[{text(field_name(of, i))}]", item) for i, item in enumerate(of.items))
        return f"CASE WHEN ({sql}) IS NULL THEN NULL ELSE json_array({', '.join(parts)}) END"
    key, value = of.items
    if key.base == "unknown" or value.base == "unknown":
        return f"CASE WHEN ({sql}) IS NULL THEN NULL ELSE json_object() END"
    keys = f"list_transform(map_keys({sql}), lambda {name}: {_key_text(name, key, zone, parametric)})"
    values = f"list_transform(map_values({sql}), lambda {name}: to_json({inner(name, value)}))"
    return f"CASE WHEN ({sql}) IS NULL THEN NULL ELSE to_json(map({keys}, {values})) END"


def _key_text(sql: str, of: TrinoType, zone: str, parametric: bool) -> str:
    if of.base in ("double", "real"):
        return f"CAST({sql} AS VARCHAR)"
    if of.base in ("array", "map", "row"):
        return f"CAST(to_json({value_json(sql, of, zone=zone, parametric=parametric, depth=9)}) AS VARCHAR)"
    return varchar_sql(sql, of, zone=zone, digits=None if parametric else 3)


def varchar_sql(sql: str, of: TrinoType, *, zone: str, digits: int | None = None) -> str:
    """A value as Trino's text of it (for JSON, and for CAST to varchar). `digits` caps fractions of seconds."""
    if of.base in ("varchar", "time with time zone"):
        return sql
    if of.base == "char":
        return f"rpad({sql}, {of.precision}, ' ')"
    if of.base in ("timestamp", "timestamp with time zone", "time"):
        shown = of.precision if digits is None else min(of.precision, digits)
        if shown < of.precision:
            sql = f"{HELPERS}.round_time({sql}, {10 ** (6 - shown)})" if of.base != "time" else sql
        return _temporal(sql, of, zone, shown)
    if of.base == "decimal" and of.precision == of.scale and of.precision < 38:
        return f"CAST(CAST({sql} AS DECIMAL({of.precision + 1},{of.scale})) AS VARCHAR)"  # DuckDB: '.5', Trino: '0.5'
    if of.base == "double":
        return f"{HELPERS}.double_text({sql})"
    if of.base == "real":
        return f"{HELPERS}.real_text({sql})"
    if of.base == "interval day to second":
        return f"{HELPERS}.interval_day_text({sql})"
    if of.base == "interval year to month":
        return f"{HELPERS}.interval_year_text({sql})"
    return f"CAST({sql} AS VARCHAR)"


def _temporal(sql: str, of: TrinoType, zone: str, digits: int) -> str:
    pattern = "%H:%M:%S" if of.base == "time" else "%Y-%m-%d %H:%M:%S"
    if of.base == "time":
        sql = f"(DATE '1970-01-01' + {sql})"
    suffix = ""
    if of.base == "timestamp with time zone":
        shown = of.zone or zone
        sql, suffix = f"timezone({text(shown)}, {sql})", f" || {text(' ' + shown)}"
    if digits == 0:
        return f"strftime({sql}, '{pattern}'){suffix}"
    if digits == 3:
        return f"strftime({sql}, '{pattern}.%g'){suffix}"
    if digits == 6:
        return f"strftime({sql}, '{pattern}.%f'){suffix}"
    fine = "%f" if digits < 6 else "%n"
    cut = f"strftime({sql}, '{pattern}.{fine}')"
    kept = (6 if digits < 6 else 9) - digits
    shaped = f"left({cut}, length({cut}) - {kept})" if kept > 0 else f"{cut} || '{'0' * -kept}'"
    return f"({shaped}){suffix}"
