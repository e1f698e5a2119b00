"""A statement without its literals: the same for all statements that differ only in values and spelling.

Works on tokens, without a parser, so it also serves statements that cannot be parsed. No literal survives:
strings, numbers, here-documents and the data of an INSERT become `?`; lists of them become `?+`.
"""

from __future__ import annotations

import hashlib
import re

from gateway.core.statement import StatementKind, Wire
from gateway.sql.insert import insert_data_start
from gateway.sql.kinds import classify
from gateway.sql.lexer import BROKEN, OPAQUE, STRINGS

_FLAGS = re.DOTALL | re.ASCII
_STRINGS = {wire: re.compile(f"{STRINGS[wire]}|{BROKEN[wire]}", _FLAGS) for wire in Wire}
_NEEDS_CARE = re.compile(r"--|/\*|[#$\"`]")
_NUMBERS = re.compile(
    r"(?<![A-Za-z_0-9])(?:0[xX][0-9a-fA-F_]++|\.?\d[\w.]*+(?:(?<=[eE])[+-]\d++)?)", re.ASCII
)
_HOLE = "\x02"
"""Stands for a quoted name while the text around it is normalised."""
_PUNCTUATION = "(),.=<>+-*/%;[]{}:|!&~^@"
_FOREIGN = re.compile(r"[^\x20-\x7e\s]++")
_LISTS = re.compile(r"(?<=\( )(?:[-+] )?\?(?: , (?:[-+] )?\?)++(?= \))")
_SINGLES = re.compile(r"in \( (?:[-+] )?\? \)")
_TUPLES = re.compile(r"(?P<one>\( \?\+? \))(?: , \( \?\+? \))++")
_NESTED = re.compile(r"\( \( \?\+ \)\+? \)|\[ (?:[-+] )?\?(?: , (?:[-+] )?\?)*+ \]")

_KEYWORDS = frozenset(
    """all alter and anti any array as asc asof between by case
    cast create cross cube current delete desc describe distinct drop else end
    escape except exists explain false fetch filter final first following for format
    from full global group grouping having if ilike in inner insert intersect
    interval into is join last lateral left like limit merge natural not
    null nulls offset on or order outer over partition preceding prewhere range
    recursive right rollup row rows sample select semi set sets settings show
    table then to totals true unbounded union update use using values view
    when where window with within""".split()  # noqa: SIM905
)


def fingerprint(text: str, dialect: Wire) -> str:
    """32 hexadecimal digits, stable across processes and versions of Python."""
    return hashlib.blake2b(normalised(text, dialect).encode("utf-8", "replace"), digest_size=16).hexdigest()


def redact(text: str, dialect: Wire) -> str:
    """The statement as it may be shown and logged: comments gone, every literal `?`, blanks single."""
    return normalised(text, dialect)


def normalised(text: str, dialect: Wire) -> str:
    """The text that the fingerprint is taken of."""
    if dialect is Wire.CLICKHOUSE:
        text = _without_data(text)
    if _NEEDS_CARE.search(text):
        joined = _careful(text, dialect)
    else:
        joined = _plain(_STRINGS[dialect].sub(" ? ", text), dialect)
    joined = joined.rstrip("; ")
    if "?" in joined:
        joined = _SINGLES.sub("in ( ?+ )", _LISTS.sub("?+", joined))
        joined = _NESTED.sub("( ?+ )", _TUPLES.sub(r"\g<one>+", joined))
    return joined


def _careful(text: str, dialect: Wire) -> str:
    """Quoted names stay as they are, comments vanish, the rest is plain."""
    text = text.replace(_HOLE, " ")
    pieces: list[str] = []
    names: list[str] = []
    at = 0
    # A pattern without groups lets the search skip; the first character tells what was found.
    for match in OPAQUE[dialect].finditer(text):
        pieces.append(text[at : match.start()])
        at = match.end()
        found = match.group()
        first = found[0]
        if first in '"`' and len(found) > 1 and found[-1] == first:
            names.append(found)
            pieces.append(_HOLE)
        elif first in "'$\"`" or (first == "/" and not found.endswith("*/")):
            pieces.append("?")
    pieces.append(text[at:])
    plain = _plain(" ".join(pieces), dialect)
    if not names:
        return plain
    around = plain.split(_HOLE)
    return "".join(piece for pair in zip(around, [*names, ""], strict=True) for piece in pair)


def _plain(text: str, dialect: Wire) -> str:
    """Text without quotes and comments: numbers away, one blank between words and symbols, case folded."""
    text = _NUMBERS.sub(" ? ", text)
    for symbol in _PUNCTUATION:
        if symbol in text:
            text = text.replace(symbol, f" {symbol} ")
    if not text.isascii():
        text = _FOREIGN.sub(" ? ", text)
    if dialect is Wire.TRINO:
        return " ".join(text.lower().split())
    return " ".join([low if (low := word.lower()) in _KEYWORDS else word for word in text.split()])


def _without_data(text: str) -> str:
    """Drop what follows the statement part of an INSERT: it is data."""
    if classify(text, Wire.CLICKHOUSE).kind is not StatementKind.INSERT:
        return text
    start = insert_data_start(text)
    return text if start is None else text[:start]
