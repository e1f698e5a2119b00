"""DuckDB macros for what Trino does and DuckDB does not, or does otherwise. Created once per process."""

from __future__ import annotations

import duckdb

DATABASE = "trino"

# Digits and exponent of the shortest text of a number, put together as Java's Double.toString in Trino's casts.
_SCIENTIFIC = """
    CASE WHEN x IS NULL THEN NULL WHEN isnan(x) THEN 'NaN' WHEN isinf(x) THEN
      CASE WHEN x > 0 THEN 'Infinity' ELSE '-Infinity' END
    WHEN x = 0 THEN '0.0E0' ELSE trino.main.scientific(CAST(abs(x) AS VARCHAR), x < 0) END"""

_MACROS: tuple[str, ...] = (
    """json_double(x) AS CASE WHEN isfinite(x) THEN to_json(x) ELSE to_json(CASE WHEN isnan(x) THEN 'NaN'
       WHEN x > 0 THEN 'Infinity' WHEN x < 0 THEN '-Infinity' END) END""",
    """json_real(x) AS CASE WHEN isfinite(x) THEN CAST(CAST(x AS VARCHAR) AS JSON) ELSE to_json(CASE WHEN isnan(x)
       THEN 'NaN' WHEN x > 0 THEN 'Infinity' WHEN x < 0 THEN '-Infinity' END) END""",
    """digits_text(negative, digits, exponent) AS
       CASE WHEN negative THEN '-' ELSE '' END || left(digits, 1) || '.' ||
       CASE WHEN length(rtrim(substr(digits, 2), '0')) = 0 THEN '0' ELSE rtrim(substr(digits, 2), '0') END
       || 'E' || exponent""",
    """mantissa_text(negative, mantissa, exponent) AS trino.main.digits_text(negative,
       ltrim(replace(mantissa, '.', ''), '0'),
       length(split_part(mantissa, '.', 1)) - 1
       - (length(replace(mantissa, '.', '')) - length(ltrim(replace(mantissa, '.', ''), '0'))) + exponent)""",
    """scientific(s, negative) AS trino.main.mantissa_text(negative, split_part(s, 'e', 1),
       coalesce(TRY_CAST(split_part(s, 'e', 2) AS INTEGER), 0))""",
    f"double_text(x) AS {_SCIENTIFIC}",
    f"real_text(x) AS {_SCIENTIFIC}",
    """interval_day_text(x) AS CASE WHEN x IS NULL THEN NULL ELSE
       CASE WHEN epoch_ms(x) < 0 THEN '-' ELSE '' END || (abs(epoch_ms(x)) // 86400000) || ' ' ||
       strftime(epoch_ms(abs(epoch_ms(x)) % 86400000), '%H:%M:%S.%g') END""",
    """interval_months(x) AS date_part('year', x) * 12 + date_part('month', x)""",
    """interval_year_text(x) AS CASE WHEN x IS NULL THEN NULL ELSE
       CASE WHEN trino.main.interval_months(x) < 0 THEN '-' ELSE '' END ||
       (abs(trino.main.interval_months(x)) // 12) || '-' || (abs(trino.main.interval_months(x)) % 12) END""",
    # Half up, as Trino rounds when it drops digits of a fraction; `unit` in microseconds.
    """round_time(x, unit) AS make_timestamp(((epoch_us(x) + CAST(floor(unit / 2) AS BIGINT)) // CAST(unit AS BIGINT))
       * CAST(unit AS BIGINT))""",
    """integer_or_null(x) AS CASE WHEN regexp_full_match(x, '\\s*[+-]?[0-9]+\\s*') THEN trim(x) END""",
    """integer_text(x, name) AS CASE WHEN x IS NULL OR regexp_full_match(x, '\\s*[+-]?[0-9]+\\s*') THEN trim(x)
       ELSE error('[[INVALID_CAST_ARGUMENT]] Cannot cast ''' || x || ''' to ' || name) END""",
    # Division of decimals: both given as whole numbers, scaled so that the quotient has the wanted scale.
    """divide_whole(n, d) AS CASE WHEN (n < 0) <> (d < 0) THEN -((abs(n) * 2 + abs(d)) // (abs(d) * 2))
       ELSE (abs(n) * 2 + abs(d)) // (abs(d) * 2) END""",
    """substr_from(s, i) AS CASE WHEN i = 0 OR abs(i) > length(s) THEN '' WHEN i < 0
       THEN right(s, -CAST(i AS BIGINT)) ELSE substr(s, i) END""",
    """element(a, i) AS CASE WHEN i = 0 THEN error('[[INVALID_FUNCTION_ARGUMENT]] SQL array indices start at 1')
       WHEN abs(i) > len(a) THEN NULL ELSE a[i] END""",
    """subscript(a, i) AS CASE WHEN i = 0 THEN error('[[INVALID_FUNCTION_ARGUMENT]] SQL array indices start at 1')
       WHEN i < 0 THEN error('[[INVALID_FUNCTION_ARGUMENT]] Array subscript is negative: ' || i)
       WHEN i > len(a) THEN error('[[INVALID_FUNCTION_ARGUMENT]] Array subscript must be less than or equal to array '
       || 'length: ' || i || ' > ' || len(a)) ELSE a[i] END""",
    """map_subscript(m, k) AS CASE WHEN m IS NULL OR map_contains(m, k) THEN m[k]
       ELSE error('[[INVALID_FUNCTION_ARGUMENT]] Key not present in map: ' || k) END""",
    """entries_to_map(l) AS map_from_entries(list_filter(l, lambda e, i: e.k IS NOT NULL AND
       list_position(list_transform(l, lambda f: f.k), e.k) = i))""",
    """entries_to_multimap(l) AS map_from_entries(list_transform(
       list_distinct(list_transform(list_filter(l, lambda e: e.k IS NOT NULL), lambda e: e.k)),
       lambda k: {'k': k, 'v': list_transform(list_filter(l, lambda e: e.k = k), lambda e: e.v)}))""",
    """parse_json(x) AS CASE WHEN x IS NULL OR json_valid(x) THEN json(x)
       ELSE error('[[INVALID_FUNCTION_ARGUMENT]] Cannot convert value to JSON: ''' || x || '''') END""",
    """scalar_json(x) AS CASE WHEN json_type(x) IN ('OBJECT', 'ARRAY', 'NULL') THEN NULL ELSE x ->> '$' END""",
    """split_limit(s, d, n) AS CASE WHEN len(string_split(s, d)) <= n THEN string_split(s, d)
       ELSE list_append(string_split(s, d)[1:n - 1], array_to_string(string_split(s, d)[n:], d)) END""",
    """distinct_in_order(l) AS list_filter(l, lambda e, i: list_position(l, e) = i)""",
    """position_of(a, x) AS coalesce(list_position(a, x), CASE WHEN a IS NULL OR x IS NULL THEN NULL ELSE 0 END)""",
    """any_true(a) AS CASE WHEN list_contains(a, true) THEN true WHEN list_position(a, NULL) IS NOT NULL THEN NULL
       WHEN a IS NULL THEN NULL ELSE false END""",
    """contains_it(a, x) AS CASE WHEN a IS NULL OR x IS NULL THEN NULL WHEN list_contains(a, x) THEN true
       WHEN len(a) <> list_count(a) THEN NULL ELSE false END""",
)


def create(connection: duckdb.DuckDBPyConnection) -> None:
    """Attach the database of helpers and fill it."""
    connection.execute(f"ATTACH ':memory:' AS {DATABASE}")
    for macro in _MACROS:
        connection.execute(f"CREATE MACRO {DATABASE}.main.{macro}")
