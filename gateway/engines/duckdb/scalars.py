"""Trino's scalar functions in DuckDB. Types and values were checked against Trino 476 (tests hold the cases)."""

from __future__ import annotations

from collections.abc import Callable

from gateway.engines.duckdb.coercion import INTEGERS, TEXT, as_decimal, common
from gateway.engines.duckdb.failures import fail
from gateway.engines.duckdb.overloads import Call, Handler, Overload, Returns, Template, first
from gateway.engines.duckdb.representation import HELPERS, duck_type, field_name
from gateway.engines.duckdb.scope import Typed, quote, text
from gateway.engines.duckdb.temporal import TEMPORAL
from gateway.wire.trino.types import (
    BIGINT,
    BOOLEAN,
    DOUBLE,
    INTEGER,
    JSON,
    UNKNOWN,
    UUID_TYPE,
    VARBINARY,
    VARCHAR,
    VARCHAR_UNBOUNDED,
    TrinoType,
    array,
    decimal,
    display,
    map_of,
    row,
    varchar,
)

SCALARS: dict[str, list[Overload]] = {}
HANDLERS: dict[str, Handler] = {}


def _fn(names: str, kinds: str, returns: Returns, sql: Template) -> None:
    """Register a signature under each name; kinds are separated by spaces."""
    for name in names.split():
        SCALARS.setdefault(name, []).append(Overload(tuple(kinds.split()), returns, sql))


def _handler(*names: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        for name in names:
            HANDLERS[name] = handler
        return handler

    return register


def _same_text(call: Call) -> TrinoType:
    return (
        call.extra.get("raw", call.types)[0] if call.extra.get("raw", call.types)[0] != UNKNOWN else VARCHAR
    )


def _text_of(index: int) -> Callable[[Call], TrinoType]:
    def kind(call: Call) -> TrinoType:
        found: TrinoType = call.extra["raw"][index]
        return found if found.base == "varchar" else VARCHAR

    return kind


def _length_after_replace(call: Call) -> TrinoType:
    source, _, *rest = call.extra["raw"]
    new = rest[0].precision if rest else 0
    return varchar(_growth(source, new)) if source.precision != VARCHAR_UNBOUNDED else VARCHAR


def _growth(source: TrinoType, new: int) -> int:
    if new == VARCHAR_UNBOUNDED:
        return VARCHAR_UNBOUNDED
    return max(source.precision, source.precision + new * (source.precision + 1)) if new else source.precision


# -- numbers

_fn("abs", "n", first, "abs({0})")
_fn("sign", "i", first, lambda c: f"CAST(sign({c.args[0].sql}) AS {duck_type(c.args[0].type)})")
_fn("sign", "c", decimal(1, 0), "CAST(sign({0}) AS DECIMAL(1,0))")
_fn("sign", "d", DOUBLE, "CAST(sign({0}) AS DOUBLE)")


def _whole(function: str) -> Callable[[Call], str]:
    return lambda call: f"CAST({function}({call.args[0].sql}) AS {duck_type(_whole_type(call))})"


def _whole_type(call: Call) -> TrinoType:
    kind = call.args[0].type
    return decimal(min(38, kind.precision - kind.scale + min(kind.scale, 1)), 0)


for _name, _duck in (("floor", "floor"), ("ceil", "ceil"), ("ceiling", "ceil"), ("round", "round")):
    _fn(_name, "i", first, "{0}")
    _fn(_name, "c", _whole_type, _whole(_duck))
    _fn(_name, "d", DOUBLE, f"{_duck}({{0}})")
_fn(
    "round", "i i", first, lambda c: f"CAST(round({c.args[0].sql}, {c.args[1].sql}) AS {duck_type(first(c))})"
)
_fn(
    "round",
    "c i",
    lambda c: decimal(min(38, first(c).precision + 1), first(c).scale),
    lambda c: (
        f"CAST(round({c.args[0].sql}, {c.args[1].sql}) AS "
        f"DECIMAL({min(38, first(c).precision + 1)},{first(c).scale}))"
    ),
)
_fn("round", "d i", DOUBLE, "round({0}, {1})")
_fn(
    "truncate",
    "c",
    lambda c: decimal(max(1, first(c).precision - first(c).scale), 0),
    lambda c: f"CAST(trunc({c.args[0].sql}) AS DECIMAL({max(1, first(c).precision - first(c).scale)},0))",
)
_fn("truncate", "i", first, "{0}")
_fn("truncate", "d", DOUBLE, "trunc({0})")
_fn(
    "truncate",
    "c i",
    first,
    lambda c: f"CAST(trunc({c.args[0].sql}, {c.args[1].sql}) AS {duck_type(first(c))})",
)
for _name, _duck in (
    ("sqrt", "sqrt({0})"), ("cbrt", "cbrt({0})"), ("exp", "exp({0})"), ("log2", "log2({0})"),
    ("log10", "log10({0})"), ("ln", "ln({0})"), ("sin", "sin({0})"), ("cos", "cos({0})"), ("tan", "tan({0})"),
    ("asin", "asin({0})"), ("acos", "acos({0})"), ("atan", "atan({0})"), ("sinh", "sinh({0})"),
    ("cosh", "cosh({0})"), ("tanh", "tanh({0})"), ("degrees", "degrees({0})"), ("radians", "radians({0})"),
):  # fmt: skip
    _fn(_name, "d", DOUBLE, _duck)
_fn("power pow", "d d", DOUBLE, "power({0}, {1})")
_fn("log", "d d", DOUBLE, "log({0}, {1})")
_fn("atan2", "d d", DOUBLE, "atan2({0}, {1})")
_fn("pi", "", DOUBLE, "pi()")
_fn("e", "", DOUBLE, "exp(CAST(1 AS DOUBLE))")
_fn("nan", "", DOUBLE, "CAST('nan' AS DOUBLE)")
_fn("infinity", "", DOUBLE, "CAST('inf' AS DOUBLE)")
_fn("is_nan", "d", BOOLEAN, "isnan({0})")
_fn("is_finite", "d", BOOLEAN, "isfinite({0})")
_fn("is_infinite", "d", BOOLEAN, "isinf({0})")
_fn("random rand", "", DOUBLE, "random()")
_fn("random rand", "i", first, lambda c: f"CAST(floor(random() * {c.args[0].sql}) AS {duck_type(first(c))})")
_fn(
    "random rand",
    "i i",
    first,
    lambda c: (
        f"CAST({c.args[0].sql} + floor(random() * ({c.args[1].sql} - {c.args[0].sql})) AS {duck_type(first(c))})"
    ),
)
for _name, _duck in (("bitwise_and", "&"), ("bitwise_or", "|")):
    _fn(_name, "i i", BIGINT, f"(CAST({{0}} AS BIGINT) {_duck} CAST({{1}} AS BIGINT))")
_fn("bitwise_xor", "i i", BIGINT, "xor(CAST({0} AS BIGINT), CAST({1} AS BIGINT))")
_fn("bitwise_not", "i", BIGINT, "(~CAST({0} AS BIGINT))")
_fn(
    "bitwise_left_shift",
    "i i",
    first,
    lambda c: f"CAST(({c.args[0].sql} << {c.args[1].sql}) AS {duck_type(first(c))})",
)
_fn("bitwise_right_shift", "i i", first, "({0} >> {1})")
_fn("bit_count", "i i", BIGINT, "CAST(bit_count(CAST({0} AS BIGINT)) AS BIGINT)")
_fn(
    "width_bucket",
    "d d d i",
    BIGINT,
    "CAST(CASE WHEN {0} < {1} THEN 0 WHEN {0} >= {2} THEN {3} + 1 "
    "ELSE floor(({0} - {1}) / (({2} - {1}) / {3})) + 1 END AS BIGINT)",
)
_fn("to_base", "i i", varchar(64), "lower(to_base({0}, CAST({1} AS INTEGER)))")


@_handler("mod")
def _mod(call: Call) -> Typed:
    if len(call.args) != 2:
        fail("FUNCTION_NOT_FOUND", f"Function mod takes two arguments, {len(call.args)} given", call.place)
    return call.compiler.arithmetic("mod", call.args[0], call.args[1], call.place)


# -- text

_fn("length", "v", BIGINT, "CAST(length({0}) AS BIGINT)")
_fn("length", "y", BIGINT, "CAST(octet_length({0}) AS BIGINT)")
for _name in ("upper", "lower", "reverse", "trim", "ltrim", "rtrim"):
    _fn(_name, "v", _same_text, f"{_name}({{0}})")
_fn("trim ltrim rtrim", "v v", _same_text, lambda c: f"{c.name}({c.args[0].sql}, {c.args[1].sql})")
_fn("reverse", "a", first, "list_reverse({0})")
_fn("substr substring", "v i", _same_text, HELPERS + ".substr_from({0}, {1})")
_fn("substr substring", "v i i", _same_text, "left(" + HELPERS + ".substr_from({0}, {1}), greatest({2}, 0))")
_fn(
    "replace",
    "v v v?",
    _length_after_replace,
    lambda c: f"replace({c.args[0].sql}, {c.args[1].sql}, {c.args[2].sql if len(c.args) > 2 else text('')})",
)
_fn("strpos", "v v", BIGINT, "CAST(instr({0}, {1}) AS BIGINT)")
_fn(
    "split_part",
    "v v i",
    _same_text,
    "nullif(split_part({0}, {1}, {2}), CASE WHEN {2} > len(string_split({0}, {1})) THEN '' END)",
)
_fn("split", "v v", lambda c: array(_same_text(c)), "string_split({0}, {1})")
_fn("split", "v v i", lambda c: array(_same_text(c)), HELPERS + ".split_limit({0}, {1}, {2})")
_fn(
    "lpad rpad",
    "v i v",
    VARCHAR,
    lambda c: f"{c.name}({c.args[0].sql}, CAST({c.args[1].sql} AS INTEGER), {c.args[2].sql})",
)
_fn("chr", "i", varchar(1), "chr(CAST({0} AS INTEGER))")
_fn("codepoint", "v", INTEGER, "CAST(unicode({0}) AS INTEGER)")
_fn("concat_ws", "v v*", VARCHAR, "concat_ws({all})")
_fn("concat_ws", "v a", VARCHAR, "array_to_string({1}, {0})")
_fn("starts_with", "v v", BOOLEAN, "starts_with({0}, {1})")
_fn("levenshtein_distance", "v v", BIGINT, "CAST(levenshtein({0}, {1}) AS BIGINT)")
_fn("hamming_distance", "v v", BIGINT, "CAST(hamming({0}, {1}) AS BIGINT)")
_fn("translate", "v v v", VARCHAR, "translate({0}, {1}, {2})")
_fn("normalize", "v", VARCHAR, "nfc_normalize({0})")
_fn("to_utf8", "v", VARBINARY, "encode({0})")
_fn("from_utf8", "y", VARCHAR, "decode({0})")
_fn("to_hex", "y", VARCHAR, "hex({0})")
_fn("from_hex", "v", VARBINARY, "unhex({0})")
_fn("to_base64", "y", VARCHAR, "base64({0})")
_fn("from_base64", "v", VARBINARY, "from_base64({0})")
_fn("md5", "y", VARBINARY, "unhex(md5({0}))")
_fn("sha1", "y", VARBINARY, "unhex(sha1({0}))")
_fn("sha256", "y", VARBINARY, "unhex(sha256({0}))")
_fn("uuid", "", UUID_TYPE, "uuid()")
_fn(
    "url_extract_host",
    "v",
    _text_of(0),
    "nullif(regexp_extract({0}, '^[a-zA-Z][a-zA-Z0-9+.-]*://([^/:?#]*)', 1), '')",
)
_fn(
    "url_extract_protocol",
    "v",
    _text_of(0),
    "nullif(regexp_extract({0}, '^([a-zA-Z][a-zA-Z0-9+.-]*):', 1), '')",
)
_fn(
    "url_extract_path",
    "v",
    _text_of(0),
    "regexp_extract({0}, '^[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*([^?#]*)', 1)",
)
_fn("url_extract_query", "v", _text_of(0), "nullif(regexp_extract({0}, '\\?([^#]*)', 1), '')")
_fn("url_encode", "v", VARCHAR, "url_encode({0})")
_fn("url_decode", "v", VARCHAR, "url_decode({0})")
_fn("regexp_like", "v v", BOOLEAN, "regexp_matches({0}, {1})")
_fn(
    "regexp_extract",
    "v v",
    _same_text,
    "CASE WHEN regexp_matches({0}, {1}) THEN regexp_extract({0}, {1}) END",
)
_fn(
    "regexp_extract",
    "v v i",
    _same_text,
    "CASE WHEN regexp_matches({0}, {1}) THEN regexp_extract({0}, {1}, CAST({2} AS INTEGER)) END",
)
_fn("regexp_extract_all", "v v", lambda c: array(_same_text(c)), "regexp_extract_all({0}, {1})")
_fn(
    "regexp_extract_all",
    "v v i",
    lambda c: array(_same_text(c)),
    "regexp_extract_all({0}, {1}, CAST({2} AS INTEGER))",
)
_fn("regexp_count", "v v", BIGINT, "CAST(len(regexp_extract_all({0}, {1})) AS BIGINT)")
_fn("regexp_split", "v v", lambda c: array(_same_text(c)), "regexp_split_to_array({0}, {1})")


@_handler("regexp_replace")
def _regexp_replace(call: Call) -> Typed:
    if len(call.args) not in (2, 3) or any(arg.type.base not in (*TEXT, "unknown") for arg in call.args):
        fail("NOT_SUPPORTED", "regexp_replace takes two or three texts in the embedded engine", call.place)
    subject, pattern = call.args[:2]
    new = call.args[2] if len(call.args) == 3 else Typed("''", varchar(0), "")
    # Trino's $1 and ${1} are DuckDB's \1.
    target = f"regexp_replace(replace({new.sql}, '\\', '\\\\'), '\\$\\{{?(\\d+)\\}}?', '\\\\\\1', 'g')"
    if isinstance(new.literal, str) and "$" not in new.literal and "\\" not in new.literal:
        target = new.sql
    length = _growth(subject.type, new.type.precision if new.type.base == "varchar" else VARCHAR_UNBOUNDED)
    kind = varchar(length) if subject.type.precision != VARCHAR_UNBOUNDED else VARCHAR
    return Typed(f"regexp_replace({subject.sql}, {pattern.sql}, {target}, 'g')", kind)


@_handler("concat")
def concat(call: Call) -> Typed:
    """Texts, arrays or binaries put together; NULL when any is NULL."""
    if len(call.args) < 2:
        fail("FUNCTION_NOT_FOUND", "There must be two or more concatenation arguments", call.place)
    kinds = {arg.type.base for arg in call.args if arg.type != UNKNOWN}
    if "array" in kinds:
        return _concat_arrays(call)
    if kinds and kinds <= {"varbinary"}:
        return Typed("(" + " || ".join(arg.sql for arg in call.args) + ")", VARBINARY)
    if not kinds <= set(TEXT):
        given = ", ".join(display(kind) for kind in call.types)
        fail(
            "FUNCTION_NOT_FOUND",
            f"Unexpected parameters ({given}) for function concat. Expected: concat(varchar...), concat(array(E)...)",
            call.place,
        )
    parts = [call.casts.implicit(arg, VARCHAR).sql for arg in call.args]
    return Typed("(" + " || ".join(parts) + ")", VARCHAR)


def _concat_arrays(call: Call) -> Typed:
    element: TrinoType = UNKNOWN
    for arg in call.args:
        kind = arg.type.items[0] if arg.type.base == "array" else arg.type
        merged = common(element, kind)
        if merged is None:
            fail(
                "TYPE_MISMATCH",
                f"Cannot concatenate {display(call.args[0].type)} and {display(arg.type)}",
                call.place,
            )
        element = merged
    parts = []
    for arg in call.args:
        if arg.type.base == "array" or arg.type == UNKNOWN:
            parts.append(call.casts.implicit(arg, array(element)).sql)
        else:
            parts.append(f"[{call.casts.implicit(arg, element).sql}]")
    return Typed(
        "list_concat(" + ", ".join(parts) + ")" if len(parts) == 2 else f"flatten([{', '.join(parts)}])",
        array(element),
    )


@_handler("format")
def _format(call: Call) -> Typed:
    pattern = call.args[0].literal if call.args else None
    if not isinstance(pattern, str):
        fail("NOT_SUPPORTED", "format needs a literal pattern in the embedded engine", call.place)
    parts = [
        call.casts.implicit(arg, DOUBLE).sql if arg.type.base == "decimal" else arg.sql
        for arg in call.args[1:]
    ]
    return Typed(f"printf({', '.join([text(pattern.replace('%n', chr(10))), *parts])})", VARCHAR)


# -- conditions


def unify(call: Call, values: list[Typed], what: str) -> list[Typed]:
    """The values in their common type. Raises TrinoFailure (TYPE_MISMATCH)."""
    kind: TrinoType = UNKNOWN
    for value in values:
        merged = common(kind, value.type)
        if merged is None:
            fail(
                "TYPE_MISMATCH",
                f"All {what} must be the same type or coercible to a common type. Cannot find common type between "
                f"{display(kind)} and {display(value.type)}",
                call.place,
            )
        kind = merged
    return [call.casts.implicit(value, kind) for value in values]


@_handler("coalesce")
def _coalesce(call: Call) -> Typed:
    if len(call.args) < 2:
        fail("INVALID_ARGUMENTS", "The 'coalesce' function must have at least two arguments", call.place)
    values = unify(call, call.args, "COALESCE operands")
    return Typed(f"coalesce({', '.join(value.sql for value in values)})", values[-1].type)


@_handler("if")
def _if(call: Call) -> Typed:
    if len(call.args) not in (2, 3):
        fail("INVALID_ARGUMENTS", "Invalid number of arguments for 'if' function", call.place)
    condition = call.args[0]
    if condition.type.base not in ("boolean", "unknown"):
        fail(
            "TYPE_MISMATCH", f"IF condition must evaluate to a boolean: {display(condition.type)}", call.place
        )
    values = unify(call, call.args[1:], "result types for IF")
    otherwise = values[1].sql if len(values) > 1 else "NULL"
    return Typed(f"CASE WHEN {condition.sql} THEN {values[0].sql} ELSE {otherwise} END", values[0].type)


@_handler("nullif")
def _nullif(call: Call) -> Typed:
    if len(call.args) != 2:
        fail("INVALID_ARGUMENTS", "Invalid number of arguments for 'nullif' function", call.place)
    values = unify(call, call.args, "NULLIF operands")
    return Typed(
        f"CASE WHEN {values[0].sql} = {values[1].sql} THEN NULL ELSE {call.args[0].sql} END",
        call.args[0].type,
    )


@_handler("greatest", "least")
def _extreme(call: Call) -> Typed:
    if not call.args:
        fail("FUNCTION_NOT_FOUND", f"There must be one or more arguments for {call.name}", call.place)
    values = unify(call, call.args, f"{call.name} arguments")
    parts = ", ".join(value.sql for value in values)
    nulls = " OR ".join(f"{value.sql} IS NULL" for value in values if value.literal is None)
    best = f"{call.name}({parts})"
    return Typed(f"CASE WHEN {nulls} THEN NULL ELSE {best} END" if nulls else best, values[0].type)


@_handler("typeof")
def _typeof(call: Call) -> Typed:
    return Typed(text(display(call.args[0].type)), VARCHAR)


# -- arrays


def _element(call: Call) -> TrinoType:
    return call.args[0].type.items[0]


def _elements(call: Call) -> TrinoType:
    kinds = [arg.type.items[0] for arg in call.args if arg.type.base == "array"]
    kind: TrinoType = UNKNOWN
    for one in kinds:
        kind = common(kind, one) or kind
    return array(kind)


_fn("cardinality", "a", BIGINT, "CAST(len({0}) AS BIGINT)")
_fn("cardinality", "m", BIGINT, "CAST(cardinality({0}) AS BIGINT)")
_fn(
    "element_at",
    "a i",
    _element,
    lambda c: (
        f"{HELPERS}.element({c.args[0].sql}, {c.args[1].sql})"
        if not c.casts.null_on_error
        else f"({c.args[0].sql})[{c.args[1].sql}]"
    ),
)
_fn("element_at", "m x", lambda c: first(c).items[1], lambda c: f"({c.args[0].sql})[{_key(c)}]")


def _key(call: Call) -> str:
    return call.casts.implicit(call.args[1], call.args[0].type.items[0]).sql


_fn("contains", "a x", BOOLEAN, lambda c: f"{HELPERS}.contains_it({c.args[0].sql}, {c.args[1].sql})")
_fn("array_distinct", "a", first, HELPERS + ".distinct_in_order({0})")
_fn("array_sort", "a", first, "list_sort({0}, 'ASC', 'NULLS LAST')")
_fn("array_max", "a", _element, "CASE WHEN len({0}) = list_count({0}) THEN list_max({0}) END")
_fn("array_min", "a", _element, "CASE WHEN len({0}) = list_count({0}) THEN list_min({0}) END")
_fn("array_position", "a x", BIGINT, "CAST(" + HELPERS + ".position_of({0}, {1}) AS BIGINT)")
_fn("array_remove", "a x", first, "list_filter({0}, lambda e: e <> {1})")
_fn("array_union", "a a", _elements, HELPERS + ".distinct_in_order(list_concat({0}, {1}))")
_fn(
    "array_intersect",
    "a a",
    _elements,
    HELPERS + ".distinct_in_order(list_filter({0}, lambda e: list_contains({1}, e)))",
)
_fn(
    "array_except",
    "a a",
    _elements,
    HELPERS + ".distinct_in_order(list_filter({0}, lambda e: NOT list_contains({1}, e)))",
)
_fn("arrays_overlap", "a a", BOOLEAN, "list_has_any({0}, {1})")
_fn("flatten", "a", _element, "flatten({0})")
_fn(
    "slice",
    "a i i",
    first,
    "CASE WHEN {1} > 0 THEN list_slice({0}, {1}, {1} + {2} - 1) ELSE list_slice({0}, "
    "len({0}) + {1} + 1, len({0}) + {1} + {2}) END",
)
_fn("shuffle", "a", first, "list_sort({0}, 'ASC')")
_fn("trim_array", "a i", first, "list_slice({0}, 1, len({0}) - {1})")
_fn("repeat", "x i", lambda c: array(first(c)), "list_transform(range({1}), lambda e: {0})")
_fn("array_join", "a v", VARCHAR, lambda c: f"array_to_string({_texts(c)}, {c.args[1].sql})")
_fn(
    "array_join",
    "a v v",
    VARCHAR,
    lambda c: (
        f"array_to_string(list_transform({_texts(c)}, lambda e: coalesce(e, {c.args[2].sql})), {c.args[1].sql})"
    ),
)
_fn("sequence", "i i i?", array(BIGINT), lambda c: _sequence(c))
_fn("array_first", "a", _element, "({0})[1]")
_fn("array_last", "a", _element, "({0})[-1]")
_fn(
    "ngrams",
    "a i",
    lambda c: array(first(c)),
    "list_transform(range(1, greatest(len({0}) - {1} + 2, 2)), lambda e: list_slice({0}, e, e + {1} - 1))",
)


def _texts(call: Call) -> str:
    return call.casts.cast_sql(call.args[0], array(VARCHAR))


def _sequence(call: Call) -> str:
    start, stop, *step = (arg.sql for arg in call.args)
    if step:
        return f"generate_series({start}, {stop}, {step[0]})"
    return f"generate_series({start}, {stop}, CASE WHEN {start} <= {stop} THEN 1 ELSE -1 END)"


@_handler("zip")
def _zip(call: Call) -> Typed:
    kinds = [arg.type.items[0] for arg in call.args if arg.type.base == "array"]
    if len(kinds) != len(call.args) or len(kinds) < 2:
        fail("FUNCTION_NOT_FOUND", "zip takes two or more arrays", call.place)
    parts = ", ".join(f"field{i} := ({arg.sql})[e]" for i, arg in enumerate(call.args))
    longest = ", ".join(f"len({arg.sql})" for arg in call.args)
    sql = f"list_transform(generate_series(1, greatest({longest})), lambda e: struct_pack({parts}))"
    return Typed(sql, array(row(tuple(kinds))))


def _lambda_over_array(name: str, sql: str, returns: Callable[[TrinoType, TrinoType], TrinoType]) -> None:
    @_handler(name)
    def handle(call: Call) -> Typed:
        source = call.args[0]
        if source.type.base != "array":
            fail("FUNCTION_NOT_FOUND", f"Function {name} takes an array and a lambda", call.place)
        names, body = call.compiler.lambda_body(call.nodes[1], [source.type.items[0]], call.place)
        return Typed(
            sql.format(source.sql, f"lambda {names[0]}: {body.sql}"), returns(source.type, body.type)
        )


_lambda_over_array("transform", "list_transform({0}, {1})", lambda _, body: array(body))
_lambda_over_array("filter", "list_filter({0}, {1})", lambda source, _: source)
_lambda_over_array("any_match", HELPERS + ".any_true(list_transform({0}, {1}))", lambda *_: BOOLEAN)
_lambda_over_array(
    "all_match",
    "NOT " + HELPERS + ".any_true(list_transform(list_transform({0}, {1}), lambda q: NOT q))",
    lambda *_: BOOLEAN,
)
_lambda_over_array("none_match", "NOT " + HELPERS + ".any_true(list_transform({0}, {1}))", lambda *_: BOOLEAN)


@_handler("reduce")
def _reduce(call: Call) -> Typed:
    source, start = call.args[0], call.args[1]
    if source.type.base != "array" or len(call.nodes) != 4:
        fail("FUNCTION_NOT_FOUND", "reduce takes an array, a start, and two lambdas", call.place)
    element = source.type.items[0]
    names, step = call.compiler.lambda_body(call.nodes[2], [start.type, element], call.place)
    state = common(start.type, step.type) or step.type
    if not state.same(start.type):
        names, step = call.compiler.lambda_body(call.nodes[2], [state, element], call.place)
    begin = call.casts.implicit(start, state)
    body = call.casts.implicit(step, state).sql
    folded = f"list_reduce({source.sql}, lambda {names[0]}, {names[1]}: {body}, {begin.sql})"
    ends, result = call.compiler.lambda_body(call.nodes[3], [state], call.place)
    if result.sql == ends[0]:
        return Typed(folded, state)
    return Typed(f"list_transform([{folded}], lambda {ends[0]}: {result.sql})[1]", result.type)


@_handler("zip_with")
def _zip_with(call: Call) -> Typed:
    left, right = call.args[0], call.args[1]
    kinds = [left.type.items[0], right.type.items[0]]
    names, body = call.compiler.lambda_body(
        call.nodes[2], kinds, call.place, [f"({left.sql})[e]", f"({right.sql})[e]"]
    )
    del names
    longest = f"greatest(len({left.sql}), len({right.sql}))"
    return Typed(f"list_transform(generate_series(1, {longest}), lambda e: {body.sql})", array(body.type))


# -- maps

_fn("map_keys", "m", lambda c: array(first(c).items[0]), "map_keys({0})")
_fn("map_values", "m", lambda c: array(first(c).items[1]), "map_values({0})")
_fn("map_concat", "m m*", first, "map_concat({all})")
_fn(
    "map_entries",
    "m",
    lambda c: array(row(first(c).items)),
    "list_transform(map_entries({0}), lambda e: struct_pack(field0 := e.key, field1 := e.value))",
)
_fn(
    "split_to_map",
    "v v v",
    map_of(VARCHAR, VARCHAR),
    "map_from_entries(list_transform(string_split({0}, {1}), "
    "lambda e: {{'k': split_part(e, {2}, 1), 'v': split_part(e, {2}, 2)}}))",
)


@_handler("map_from_entries")
def _map_from_entries(call: Call) -> Typed:
    kind = call.args[0].type.items[0] if call.args[0].type.base == "array" else UNKNOWN
    if kind.base != "row" or len(kind.items) != 2:
        fail("FUNCTION_NOT_FOUND", "map_from_entries takes an array of rows of two fields", call.place)
    key, value = (text(field_name(kind, i)) for i in range(2))
    sql = (
        f"map_from_entries(list_transform({call.args[0].sql}, lambda e: {{'k': e[{key}], 'v': e[{value}]}}))"
    )
    return Typed(sql, map_of(*kind.items))


def _lambda_over_map(name: str, sql: str, returns: Callable[[TrinoType, TrinoType], TrinoType]) -> None:
    @_handler(name)
    def handle(call: Call) -> Typed:
        source = call.args[0]
        if source.type.base != "map":
            fail("FUNCTION_NOT_FOUND", f"Function {name} takes a map and a lambda", call.place)
        _, body = call.compiler.lambda_body(
            call.nodes[1], list(source.type.items), call.place, ["(e).key", "(e).value"]
        )
        return Typed(sql.format(source.sql, body.sql), returns(source.type, body.type))


_lambda_over_map(
    "map_filter", "map_from_entries(list_filter(map_entries({0}), lambda e: {1}))", lambda source, _: source
)
_lambda_over_map(
    "transform_values",
    "map_from_entries(list_transform(map_entries({0}), lambda e: {{'k': e.key, 'v': {1}}}))",
    lambda source, body: map_of(source.items[0], body),
)
_lambda_over_map(
    "transform_keys",
    "map_from_entries(list_transform(map_entries({0}), lambda e: {{'k': {1}, 'v': e.value}}))",
    lambda source, body: map_of(body, source.items[1]),
)


# -- JSON


def _json_value(value: Typed) -> str:
    return value.sql if value.type.base == "json" else f"{HELPERS}.parse_json({value.sql})"


@_handler("json_extract", "json_extract_scalar", "json_size", "json_value", "json_query", "json_exists")
def _json_path(call: Call) -> Typed:
    if len(call.args) != 2 or call.args[0].type.base not in ("json", *TEXT, "unknown"):
        fail("FUNCTION_NOT_FOUND", f"Function {call.name} takes json or varchar, and a path", call.place)
    source = call.args[0]
    document = (
        source.sql
        if source.type.base == "json"
        else f"CASE WHEN json_valid({source.sql}) THEN {source.sql} END"
    )
    found = f"json_extract({document}, {_duck_path(call.args[1])})"
    if call.name == "json_extract":
        return Typed(f"CAST({found} AS JSON)", JSON)
    if call.name == "json_size":
        size = f"CASE json_type({found}) WHEN 'OBJECT' THEN len(json_keys({found})) WHEN 'ARRAY' " \
               f"THEN json_array_length({found}) ELSE 0 END"  # fmt: skip
        return Typed(f"CASE WHEN {found} IS NOT NULL THEN CAST({size} AS BIGINT) END", BIGINT)
    if call.name == "json_exists":
        return Typed(f"({found} IS NOT NULL)", BOOLEAN)
    if call.name == "json_query":
        return Typed(
            f"CASE WHEN json_type({found}) IN ('OBJECT', 'ARRAY') THEN CAST({found} AS VARCHAR) END", VARCHAR
        )
    kind = source.type if source.type.base == "varchar" and call.name == "json_extract_scalar" else VARCHAR
    return Typed(f"{HELPERS}.scalar_json({found})", kind)


def _duck_path(path: Typed) -> str:
    """`$["a b"]` is `$."a b"` in DuckDB; the mode of an SQL path (`lax`) is what DuckDB does anyhow."""
    if isinstance(path.literal, str):
        written = path.literal.removeprefix("lax ").removeprefix("strict ")
        return text(written.replace('["', '."').replace('"]', '"'))
    return path.sql


_fn(
    "json_parse",
    "v",
    JSON,
    lambda c: (
        f"{HELPERS}.parse_json({c.args[0].sql})"
        if not c.casts.null_on_error
        else f"CASE WHEN json_valid({c.args[0].sql}) THEN json({c.args[0].sql}) END"
    ),
)
_fn("json_format", "j", VARCHAR, "CAST({0} AS VARCHAR)")
_fn(
    "json_array_length",
    "x",
    BIGINT,
    lambda c: (
        f"CASE WHEN json_type({_json_value(c.args[0])}) = 'ARRAY' THEN "
        f"CAST(json_array_length({_json_value(c.args[0])}) AS BIGINT) END"
    ),
)
_fn(
    "json_array_contains",
    "x x",
    BOOLEAN,
    lambda c: (
        f"list_contains(CAST({_json_value(c.args[0])} AS JSON[]), CAST(to_json({c.args[1].sql}) AS JSON))"
    ),
)
_fn(
    "json_array_get",
    "x i",
    JSON,
    lambda c: f"CAST(json_extract({_json_value(c.args[0])}, '$[' || {c.args[1].sql} || ']') AS JSON)",
)
_fn(
    "is_json_scalar",
    "x",
    BOOLEAN,
    lambda c: f"(json_type({_json_value(c.args[0])}) NOT IN ('OBJECT', 'ARRAY'))",
)


# -- session


@_handler("version")
def _version(call: Call) -> Typed:
    return Typed(text(call.compiler.session.version), VARCHAR)


@_handler("current_timezone")
def _current_timezone(call: Call) -> Typed:
    return Typed(text(call.casts.zone), VARCHAR)


@_handler("decimal_literal")
def _decimal_literal(call: Call) -> Typed:
    digits = str(call.args[0].literal).strip()
    return call.compiler.decimal_literal(digits, call.place)


@_handler("char_literal")
def _char_literal(call: Call) -> Typed:
    value = str(call.args[0].literal)
    return Typed(text(value.rstrip(" ")), TrinoType("char", (len(value),)))


for _name, _overloads in TEMPORAL.items():
    SCALARS.setdefault(_name, []).extend(_overloads)
__all__ = ["HANDLERS", "INTEGERS", "SCALARS", "as_decimal", "concat", "quote", "unify"]
