"""Lexical facts of both dialects, as compiled patterns that match in linear time.

Sources: Trino's SqlBase.g4 (STRING, UNICODE_STRING, BINARY_LITERAL, QUOTED_IDENTIFIER, SIMPLE_COMMENT,
BRACKETED_COMMENT) and ClickHouse's Lexer.cpp (quotes with backslashes, `# ` and `#!` comments, nested
bracket comments, here-documents), both checked against the engines' own parsers in tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from gateway.core.statement import Position, Wire


class TokenKind(StrEnum):
    """What a stretch of text is. `BROKEN` is a literal, quoted name or comment without its end."""

    WORD = "word"
    NUMBER = "number"
    STRING = "string"
    NAME = "name"
    SYMBOL = "symbol"
    COMMENT = "comment"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Token:
    """A stretch of text: `start` and `end` are character offsets, `text` is as written."""

    kind: TokenKind
    text: str
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        """Whether this is one of the given keywords (upper case), unquoted."""
        return self.kind is TokenKind.WORD and self.text.upper() in words

    def is_symbol(self, symbol: str) -> bool:
        """Whether this is the given punctuation."""
        return self.kind is TokenKind.SYMBOL and self.text == symbol


# Possessive quantifiers (`++`, `*+`) never give back, so no input makes these patterns backtrack.
STRINGS = {
    Wire.TRINO: r"'(?:[^']++|'')*+'",
    Wire.CLICKHOUSE: r"'(?:[^'\\]++|\\.|'')*+'|\$(?P<tag>\w{0,64})\$(?:[^$]++|\$(?!(?P=tag)\$))*+\$(?P=tag)\$",
}
NAMES = {
    Wire.TRINO: r'"(?:[^"]++|"")*+"|`(?:[^`]++|``)*+`',
    Wire.CLICKHOUSE: r'"(?:[^"\\]++|\\.|"")*+"|`(?:[^`\\]++|\\.|``)*+`',
}
# ClickHouse nests bracket comments in some versions and not in others, so a nested one counts as broken.
COMMENTS = {
    Wire.TRINO: r"--[^\r\n\0]*+|/\*(?:[^*]++|\*(?!/))*+\*/",
    Wire.CLICKHOUSE: r"--[^\n\0]*+|\#[ !][^\n\0]*+|/\*(?:[^*/]++|\*(?!/)|/(?!\*))*+\*/",
}
BROKEN = {
    Wire.TRINO: r"['\"`].*+|/\*.*+",
    Wire.CLICKHOUSE: r"['\"`].*+|/\*.*+|\$\w{0,64}\$.*+",
}
_NUMBER = r"0[xX][0-9a-fA-F_]++|(?:\d\w*+(?:\.(?:\d\w*+)?)?|\.\d\w*+)(?:(?<=[eE])[+-]\d++)?"
_WORD = r"[A-Za-z_]\w*+"
_SYMBOL = r"->|=>|<=|>=|<>|!=|==|\|\||::|\S"

_FLAGS = re.DOTALL | re.ASCII

TOKENS = {
    wire: re.compile(
        f"(?P<word>{_WORD})|(?P<comment>{COMMENTS[wire]})|(?P<string>{STRINGS[wire]})"
        f"|(?P<name>{NAMES[wire]})|(?P<broken>{BROKEN[wire]})|(?P<number>{_NUMBER})|(?P<symbol>{_SYMBOL})",
        _FLAGS,
    )
    for wire in Wire
}
"""One token at a time; the group that matched is the kind."""

END = "\0"
"""Appended to a text before `OPAQUE` runs: it is still there afterwards unless something had no end."""

OPAQUE = {
    wire: re.compile(f"{COMMENTS[wire]}|{STRINGS[wire]}|{NAMES[wire]}|{BROKEN[wire]}", _FLAGS)
    for wire in Wire
}
"""Stretches whose content is not syntax: strings, quoted names and comments, with or without their end."""

_KINDS = {kind.value: kind for kind in TokenKind}


def tokens(text: str, dialect: Wire, start: int = 0, *, comments: bool = False) -> Iterator[Token]:
    """The tokens of `text` from `start` on, lazily, without comments unless asked for."""
    for match in TOKENS[dialect].finditer(text, start):
        kind = _KINDS[match.lastgroup or ""]
        if kind is not TokenKind.COMMENT or comments:
            yield Token(kind, match.group(), match.start(), match.end())


def position_at(text: str, offset: int) -> Position:
    """The line and column, both from 1 and in characters, of a character offset."""
    before = text.rfind("\n", 0, offset)
    return Position(text.count("\n", 0, offset) + 1, offset - before)


def offset_at(text: str, place: Position) -> int:
    """The character offset of a line and column; the nearest inside the text where there is none."""
    offset = 0
    for _ in range(place.line - 1):
        newline = text.find("\n", offset)
        if newline < 0:
            break
        offset = newline + 1
    return min(offset + place.column - 1, len(text))


_ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "0": "\0",
    "b": "\b",
    "f": "\f",
    "a": "\a",
    "v": "\v",
    "e": "\x1b",
}
_ESCAPED = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)


def unquote(token: Token, dialect: Wire) -> str:
    """The value of a STRING or NAME token. ClickHouse keeps the backslash of an escape it does not know."""
    text = token.text
    if text[0] == "$":
        tag = text.index("$", 1) + 1
        return text[tag:-tag]
    quote = text[0]
    body = text[1:-1]
    if dialect is Wire.TRINO:
        return body.replace(quote * 2, quote)
    return _unescape(body, quote)


def _unescape(body: str, quote: str) -> str:
    if "\\" not in body:
        return body.replace(quote * 2, quote)
    out: list[str] = []
    at = 0
    for match in _ESCAPED.finditer(body):
        out.append(body[at : match.start()].replace(quote * 2, quote))
        at = match.end()
        code, char = match.groups()
        if code is not None:
            out.append(chr(int(code, 16)))
        elif char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif char == "N":
            continue
        elif char in "\\'\"`/=":
            out.append(char)
        else:
            out.append("\\" + char)
    out.append(body[at:].replace(quote * 2, quote))
    return "".join(out)


def quote_string(value: str, dialect: Wire) -> str:
    """`value` as a string literal of the dialect."""
    if dialect is Wire.CLICKHOUSE:
        value = value.replace("\\", "\\\\")
    return "'" + value.replace("'", "''") + "'"


def quote_name(value: str, dialect: Wire) -> str:
    """`value` as a quoted identifier of the dialect."""
    if dialect is Wire.CLICKHOUSE:
        return '"' + value.replace("\\", "\\\\").replace('"', '""') + '"'
    return '"' + value.replace('"', '""') + '"'
