"""Trino's types as clients see them: names, signatures, and the JSON form of their values.

The JSON forms follow Trino 476 (`io.trino.server.protocol`), seen on the wire.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import UUID

VARCHAR_UNBOUNDED = 2_147_483_647
PARAMETRIC_DATETIME = "PARAMETRIC_DATETIME"

_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*", re.IGNORECASE)

_DATETIME = frozenset({"timestamp", "timestamp with time zone", "time", "time with time zone"})
_DEFAULTS: dict[str, tuple[int, ...]] = {
    "varchar": (VARCHAR_UNBOUNDED,),
    "char": (1,),
    "decimal": (38, 0),
    "timestamp": (3,),
    "timestamp with time zone": (3,),
    "time": (3,),
    "time with time zone": (3,),
}
_ALIASES = {"int": "integer", "dec": "decimal", "numeric": "decimal", "double precision": "double"}
_SIMPLE = frozenset({
    "boolean", "tinyint", "smallint", "integer", "bigint", "real", "double", "varbinary", "date", "uuid", "json",
    "unknown", "ipaddress", "hyperloglog", "qdigest", "tdigest", "color", "interval day to second",
    "interval year to month",
})  # fmt: skip


class UnknownType(ValueError):
    """The text is not a type that Trino has."""


@dataclass(frozen=True, slots=True)
class TrinoType:
    """A type: `base` without parameters, its parameters, and for `row` the names of its fields.

    `zone` is no part of the type: it is the zone that all values of an expression of a `… with time zone`
    type are known to be in, where an engine keeps only the instant.
    """

    base: str
    args: tuple[int | TrinoType, ...] = ()
    names: tuple[str | None, ...] = ()
    zone: str | None = None

    def __str__(self) -> str:
        return display(self)

    @property
    def precision(self) -> int:
        """The first number in brackets: length, digits or fraction digits; 0 where there is none."""
        return self.args[0] if self.args and isinstance(self.args[0], int) else 0

    @property
    def scale(self) -> int:
        """Digits after the point of a decimal."""
        return self.args[1] if len(self.args) > 1 and isinstance(self.args[1], int) else 0

    @property
    def items(self) -> tuple[TrinoType, ...]:
        """Types of elements, of key and value, or of fields."""
        return tuple(arg for arg in self.args if isinstance(arg, TrinoType))

    def same(self, other: TrinoType) -> bool:
        """The same type, whatever the zone of its values."""
        return display(self) == display(other)


def simple(base: str) -> TrinoType:
    """A type without parameters, or with its default ones."""
    return TrinoType(base, _DEFAULTS.get(base, ()))


BOOLEAN, TINYINT, SMALLINT = simple("boolean"), simple("tinyint"), simple("smallint")
INTEGER, BIGINT, REAL, DOUBLE = simple("integer"), simple("bigint"), simple("real"), simple("double")
VARCHAR, VARBINARY, DATE, JSON = simple("varchar"), simple("varbinary"), simple("date"), simple("json")
UUID_TYPE, UNKNOWN = simple("uuid"), simple("unknown")
INTERVAL_DAY, INTERVAL_YEAR = simple("interval day to second"), simple("interval year to month")


def varchar(length: int) -> TrinoType:
    return TrinoType("varchar", (max(0, min(length, VARCHAR_UNBOUNDED)),))


def decimal(precision: int, scale: int) -> TrinoType:
    return TrinoType("decimal", (precision, scale))


def timestamp(precision: int) -> TrinoType:
    return TrinoType("timestamp", (precision,))


def timestamp_tz(precision: int, zone: str | None = None) -> TrinoType:
    return TrinoType("timestamp with time zone", (precision,), zone=zone)


def array(element: TrinoType) -> TrinoType:
    return TrinoType("array", (element,))


def map_of(key: TrinoType, value: TrinoType) -> TrinoType:
    return TrinoType("map", (key, value))


def row(types: tuple[TrinoType, ...], names: tuple[str | None, ...] = ()) -> TrinoType:
    return TrinoType("row", types, names or (None,) * len(types))


# -- names and signatures


def display(of: TrinoType) -> str:
    """The name that `typeof` and `information_schema` show: `decimal(10,2)`, `varchar`, `row(a integer)`."""
    return _display(of, ",", parametric=True, client=False)


def client_name(of: TrinoType, *, parametric: bool = True) -> str:
    """The name in `columns[].type`: `decimal(10, 2)`, `row(a integer)`, `INTERVAL DAY TO SECOND`.

    Without `parametric` (a client that lacks PARAMETRIC_DATETIME) date-time types show no precision.
    """
    return _display(of, ", ", parametric=parametric, client=True)


def _display(of: TrinoType, comma: str, *, parametric: bool, client: bool) -> str:
    if of.base == "varchar" and of.precision == VARCHAR_UNBOUNDED:
        return "varchar"
    if of.base in _DATETIME:
        return _display_datetime(of, parametric)
    if client and of.base.startswith("interval"):
        return of.base.upper()
    if not of.args:
        return of.base
    parts = [
        _display(arg, comma, parametric=parametric, client=client) if isinstance(arg, TrinoType) else str(arg)
        for arg in of.args
    ]
    if of.base == "row":
        parts = [
            part if name is None else f"{_field(name, client)} {part}"
            for name, part in zip(of.names, parts, strict=True)
        ]
    return f"{of.base}({(', ' if of.base in ('map', 'row') else comma).join(parts)})"


def _display_datetime(of: TrinoType, parametric: bool) -> str:
    if not parametric:
        return of.base
    head, _, tail = of.base.partition(" ")
    return f"{head}({of.precision}){' ' + tail if tail else ''}"


def _field(name: str, client: bool) -> str:
    if not client or _PLAIN_NAME.fullmatch(name):
        return name
    return '"' + name.replace('"', '""') + '"'


def signature(of: TrinoType, *, parametric: bool = True) -> dict[str, Any]:
    """The `typeSignature` of a column: {rawType, arguments: [{kind, value}]}."""
    if of.base in _DATETIME and not parametric:
        return {"rawType": of.base, "arguments": []}
    arguments: list[dict[str, Any]] = []
    for index, arg in enumerate(of.args):
        if isinstance(arg, int):
            arguments.append({"kind": "LONG", "value": arg})
        elif of.base == "row":
            name = of.names[index]
            field: dict[str, Any] = {"typeSignature": signature(arg, parametric=parametric)}
            if name is not None:
                field = {"fieldName": {"name": name}, **field}
            arguments.append({"kind": "NAMED_TYPE", "value": field})
        else:
            arguments.append({"kind": "TYPE", "value": signature(arg, parametric=parametric)})
    return {"rawType": of.base, "arguments": arguments}


# -- reading a type's name


def parse_type(text: str) -> TrinoType:
    """Read a type as Trino prints or accepts it. Raises UnknownType."""
    reader = _TypeReader(text)
    found = reader.type()
    reader.end()
    return found


class _TypeReader:
    _LIMIT = 10_000

    def __init__(self, text: str) -> None:
        if len(text) > self._LIMIT:
            raise UnknownType(f"a type of {len(text)} characters is too long")
        self._text = text
        self._at = 0
        self._depth = 0

    def fail(self) -> UnknownType:
        return UnknownType(f"Unknown type: {self._text}")

    def end(self) -> None:
        if self._peek():
            raise self.fail()

    def _peek(self) -> str:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _take(self, char: str) -> bool:
        if self._peek() != char:
            return False
        self._at += 1
        return True

    def _need(self, char: str) -> None:
        if not self._take(char):
            raise self.fail()

    def _word(self) -> str:
        self._peek()
        start = self._at
        while self._at < len(self._text) and (self._text[self._at].isalnum() or self._text[self._at] == "_"):
            self._at += 1
        return self._text[start : self._at]

    def _phrase(self, *words: str) -> bool:
        """Take the words if all of them follow."""
        back = self._at
        for word in words:
            if self._word().lower() != word:
                self._at = back
                return False
        return True

    def type(self) -> TrinoType:
        self._depth += 1
        if self._depth > 50:
            raise self.fail()
        word = self._word().lower()
        found = self._named(_ALIASES.get(word, word))
        self._depth -= 1
        return found

    def _named(self, word: str) -> TrinoType:
        if word == "row":
            return self._row()
        if word in ("array", "map"):
            return self._nested(word)
        if word in ("timestamp", "time"):
            return self._datetime(word)
        if word == "interval":
            return self._interval()
        if word == "double":
            self._phrase("precision")
            return DOUBLE
        if word in _DEFAULTS:
            return self._numbers(word)
        if word in _SIMPLE:
            return TrinoType(word)
        raise self.fail()

    def _nested(self, word: str) -> TrinoType:
        closing = ")" if self._take("(") else ">"
        if closing == ">":
            self._need("<")
        items = [self.type()]
        while self._take(","):
            items.append(self.type())
        self._need(closing)
        if len(items) != (1 if word == "array" else 2):
            raise self.fail()
        return TrinoType(word, tuple(items))

    def _numbers(self, word: str) -> TrinoType:
        default = _DEFAULTS[word]
        given: list[int] = []
        if self._take("("):
            while True:
                digits = self._word()
                if not digits.isdigit():
                    raise self.fail()
                given.append(int(digits))
                if not self._take(","):
                    break
            self._need(")")
        if len(given) > len(default):
            raise self.fail()
        return TrinoType(word, (*given, *default[len(given) :]))

    def _datetime(self, word: str) -> TrinoType:
        precision = self._numbers(word).precision
        if precision > 12:
            raise self.fail()
        if self._phrase("with", "time", "zone"):
            return TrinoType(f"{word} with time zone", (precision,))
        self._phrase("without", "time", "zone")
        return TrinoType(word, (precision,))

    def _interval(self) -> TrinoType:
        if self._phrase("day", "to", "second"):
            return INTERVAL_DAY
        if self._phrase("year", "to", "month"):
            return INTERVAL_YEAR
        raise self.fail()

    def _row(self) -> TrinoType:
        self._need("(")
        names: list[str | None] = []
        items: list[TrinoType] = []
        while True:
            names.append(self._field_name())
            items.append(self.type())
            if not self._take(","):
                break
        self._need(")")
        return TrinoType("row", tuple(items), tuple(names))

    def _field_name(self) -> str | None:
        if self._take('"'):
            return self._quoted()
        back = self._at
        word = self._word()
        follows = self._peek()
        if word and (follows.isalpha() or follows == '"') and not self._is_phrase(word, back):
            return word
        self._at = back
        return None

    def _is_phrase(self, word: str, back: int) -> bool:
        """Whether `word` begins a type of several words, rather than being a field's name."""
        here = self._at
        lowered = word.lower()
        found = (
            (lowered == "double" and self._phrase("precision"))
            or (lowered == "interval" and (self._phrase("day", "to") or self._phrase("year", "to")))
            or (
                lowered in ("time", "timestamp") and (self._phrase("with", "time") or self._phrase("without"))
            )
        )
        self._at = here
        return found

    def _quoted(self) -> str:
        out = []
        while self._at < len(self._text):
            char = self._text[self._at]
            self._at += 1
            if char != '"':
                out.append(char)
            elif self._text[self._at : self._at + 1] == '"':
                out.append('"')
                self._at += 1
            else:
                return "".join(out)
        raise self.fail()


# -- values

Encode = Callable[[Any], Any]


def encoder(of: TrinoType, *, parametric: bool = True) -> Encode:
    """A function from a Python value to what orjson writes as Trino would. None stays None.

    Decimals, dates and times become text; text is taken to be in Trino's form already.
    """
    inner = _encoder(of, parametric)
    return lambda value: None if value is None else inner(value)


def _encoder(of: TrinoType, parametric: bool) -> Encode:
    base = of.base
    if base in _PLAIN:
        return _PLAIN[base]
    if base == "decimal":
        return lambda value: decimal_text(value, of.scale)
    if base == "char":
        return lambda value: str(value).ljust(of.precision)
    if base in _DATETIME:
        digits = of.precision if parametric else min(of.precision, 3)
        return lambda value: _datetime_text(value, digits, base)
    if base == "array":
        item = encoder(of.items[0], parametric=parametric)
        return lambda value: [item(one) for one in value]
    if base == "map":
        return _map_encoder(of, parametric)
    if base == "row":
        fields = [encoder(one, parametric=parametric) for one in of.items]
        return lambda value: [
            field(one)
            for field, one in zip(fields, value.values() if isinstance(value, dict) else value, strict=True)
        ]
    return str


def _map_encoder(of: TrinoType, parametric: bool) -> Encode:
    key_type, value_type = of.items
    key, item = encoder(key_type, parametric=parametric), encoder(value_type, parametric=parametric)

    def encode(value: Mapping[Any, Any]) -> dict[str, Any]:
        return {_key_text(key(one)): item(other) for one, other in value.items()}

    return encode


def _key_text(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def _double(value: Any) -> Any:
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else ("Infinity" if number > 0 else "-Infinity")


def _varbinary(value: Any) -> str:
    return value if isinstance(value, str) else base64.b64encode(bytes(value)).decode("ascii")


def decimal_text(value: Any, scale: int) -> str:
    """A decimal with exactly `scale` digits after the point, never in exponent form."""
    number = value if isinstance(value, Decimal) else Decimal(str(value))
    return f"{number.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP):f}"


def _date(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def _fraction(text: str, digits: int) -> str:
    """`HH:MM:SS[.f…]` with exactly `digits` fraction digits, cut, never rounded into the next second."""
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction[:digits].ljust(digits, '0')}" if digits else whole


def _datetime_text(value: Any, digits: int, base: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, time):
        text = _fraction(value.replace(tzinfo=None).isoformat("microseconds"), digits)
        return text + _offset(value.utcoffset()) if base.endswith("zone") else text
    if isinstance(value, datetime):
        text = _fraction(value.replace(tzinfo=None).isoformat(" ", "microseconds"), digits)
        return f"{text} {_zone_name(value)}" if base.endswith("zone") else text
    return str(value)


def _offset(delta: timedelta | None) -> str:
    minutes = int((delta or timedelta()).total_seconds()) // 60
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def _zone_name(value: datetime) -> str:
    zone: tzinfo | None = value.tzinfo
    name = getattr(zone, "key", None)
    if isinstance(name, str):
        return name
    offset = _offset(value.utcoffset())
    return "UTC" if offset == "+00:00" else offset


def interval_day_text(value: timedelta | str) -> str:
    """`D HH:MM:SS.mmm` with one sign in front."""
    if isinstance(value, str):
        return value
    micros = value // timedelta(microseconds=1)
    sign, millis = ("-" if micros < 0 else ""), abs(micros) // 1000
    seconds, millis = divmod(millis, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{sign}{days} {hours:02}:{minutes:02}:{seconds:02}.{millis:03}"


def interval_year_text(value: int | str) -> str:
    """`Y-M` of a number of months."""
    if isinstance(value, str):
        return value
    years, months = divmod(abs(value), 12)
    return f"{'-' if value < 0 else ''}{years}-{months}"


def _uuid(value: Any) -> str:
    return str(value if isinstance(value, UUID) else UUID(str(value)))


_PLAIN: dict[str, Encode] = {
    "boolean": bool,
    "tinyint": int,
    "smallint": int,
    "integer": int,
    "bigint": int,
    "real": _double,
    "double": _double,
    "varchar": str,
    "json": str,
    "varbinary": _varbinary,
    "date": _date,
    "uuid": _uuid,
    "interval day to second": interval_day_text,
    "interval year to month": interval_year_text,
    "unknown": lambda _: None,
}


def without_zone(of: TrinoType) -> TrinoType:
    """The same type, nothing known about the zone of its values."""
    return replace(of, zone=None) if of.zone else of
