"""Bounds and spelling rules that a statement must meet before any parser sees it.

Linear in the size of the text, at most a handful of compiled scans. What is refused here either costs a
parser too much or is read differently by sqlglot and by the engine (research: lookalike quotes, U+2212,
`{# #}`, nested comments), so that a policy could be evaded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.core.decision import Refusal, RefusalCode
from gateway.core.statement import Wire
from gateway.sql.lexer import END, OPAQUE, TOKENS, TokenKind, position_at, tokens
from gateway.sql.limits import DEFAULT_LIMITS, SqlLimits

RULE = "sql-guard"

_CASES = re.compile(r"\b(?:case|end)\b|[()\[\]{}]", re.IGNORECASE | re.ASCII)
_OPENERS = {"(": ")", "[": "]", "{": "}"}
_CONTROL = re.compile(r"[^\t\n\r\x20-\x7e]")
_SPACES = b"\t\n\r "
_WORDS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
_PRINTABLE = bytes(range(0x20, 0x7F)) + _SPACES
_ALLOWED = {
    Wire.TRINO: bytes(set(_PRINTABLE) - set(b"'\"`")),
    Wire.CLICKHOUSE: bytes(set(_PRINTABLE) - set(b"'\"`$#")),
}
_NOT_BRACKETS = bytes(set(range(256)) - set(b"()[]{}"))
_AS_ROUND = bytes.maketrans(b"[]{}", b"()()")
_WORDS_ONLY = bytes(i if i in _WORDS else 0x20 for i in range(256))
_CHAIN = re.compile(r"(?:(?:\bnot\b|[-+~!])\s*+){8,}+", re.IGNORECASE | re.ASCII)
_LINK = re.compile(r"\w++|\S", re.ASCII)
_LOOKALIKES = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4\uff07", "a typographic quote; write ' instead"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\uff02", 'a typographic quote; write " instead'),
    **dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\u2014\ufe63\uff0d", "a lookalike dash; write - instead"),
    **dict.fromkeys("\u00a0\u2007\u202f\u3000\ufeff\u200b", "an invisible or special space; use a plain one"),
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the guard measured of an accepted statement."""

    bytes: int
    tokens: int
    depth: int


def is_inline(bounds: Bounds, limits: SqlLimits = DEFAULT_LIMITS) -> bool:
    """Whether the statement is small enough to be decided in the event loop's own process."""
    return bounds.bytes <= limits.inline_bytes and bounds.tokens <= limits.inline_tokens


def guard(text: str, dialect: Wire, limits: SqlLimits = DEFAULT_LIMITS) -> Bounds | Refusal:
    """Measure `text`, or refuse it with TOO_LARGE, TOO_COMPLEX or SYNTAX and a position."""
    size = _size(text)
    if size is None:
        return _refuse(RefusalCode.SYNTAX, "The statement is not valid Unicode text.", text, 0)
    if size > limits.max_bytes:
        message = f"The statement has {size} bytes; at most {limits.max_bytes} are accepted."
        return Refusal(RefusalCode.TOO_LARGE, message, rule=RULE)
    if (nul := text.find("\0")) >= 0:
        return _refuse(RefusalCode.SYNTAX, "The statement contains a NUL character.", text, nul)
    plain = OPAQUE[dialect].sub(" ? ", text + END)
    if not plain.isascii() or plain[-1] != END:
        return _misspelt(text, dialect)
    skeleton = plain[:-1].encode("ascii")
    if skeleton.translate(None, _ALLOWED[dialect]) or b"{#" in skeleton:
        return _misspelt(text, dialect)
    if dialect is Wire.CLICKHOUSE and "{#" in text and (template := _template(text)) is not None:
        return _refuse(RefusalCode.SYNTAX, _TEMPLATE, text, template)
    count = len(skeleton.translate(_WORDS_ONLY).split()) + len(skeleton.translate(None, _WORDS + _SPACES))
    if count > limits.max_tokens:
        message = f"The statement has {count} tokens; at most {limits.max_tokens} are accepted."
        return Refusal(RefusalCode.TOO_COMPLEX, message, rule=RULE)
    depth = _depth(skeleton, limits.max_depth)
    if depth is None:
        return _unbalanced(text, dialect)
    if depth > limits.max_depth:
        return _too_deep(text, dialect, limits.max_depth)
    return _chains(skeleton, limits.max_chain) or Bounds(size, count, depth)


_TEMPLATE = "{# is not SQL; a template was sent unrendered."


def _template(text: str) -> int | None:
    """Where a `{` meets a `#` comment: sqlglot takes `{# … #}` for a comment of its own."""
    previous = ""
    for match in TOKENS[Wire.CLICKHOUSE].finditer(text):
        if previous == "{" and match.group().startswith("#"):
            return match.start() - 1
        previous = match.group()
    return None


def _size(text: str) -> int | None:
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return None


def _depth(skeleton: bytes, most: int) -> int | None:
    """The deepest nesting of brackets and CASE, at most `most` + 1; None where brackets do not match."""
    brackets = skeleton.translate(None, _NOT_BRACKETS)
    left = brackets.translate(_AS_ROUND)
    depth = 0
    while left and depth <= most:
        inner = left.replace(b"()", b"")
        if len(inner) == len(left):
            return None
        left, depth = inner, depth + 1
    if depth > most:
        return depth
    if len(brackets.translate(None, b"[]{}")) != len(brackets) and not _matches(brackets):
        return None
    return max(depth, _case_depth(skeleton, most))


def _matches(brackets: bytes) -> bool:
    while True:
        inner = brackets.replace(b"()", b"").replace(b"[]", b"").replace(b"{}", b"")
        if len(inner) == len(brackets):
            return not inner
        brackets = inner


def _case_depth(skeleton: bytes, most: int) -> int:
    """The deepest nesting counted with CASE … END; a CASE without END counts up to its closing bracket."""
    if skeleton.upper().count(b"CASE") <= min(most, 8):
        return 0
    deepest = 0
    open_marks: list[str] = []
    for mark in _CASES.findall(skeleton.decode("ascii")):
        if mark in _OPENERS:
            open_marks.append(_OPENERS[mark])
        elif mark in ")]}":
            while open_marks and open_marks.pop() != mark:
                continue
        elif mark[0] in "cC":
            open_marks.append("end")
        elif open_marks and open_marks[-1] == "end":
            open_marks.pop()
        deepest = max(deepest, len(open_marks))
    return deepest


def _chains(skeleton: bytes, most: int) -> Refusal | None:
    """Runs of prefix operators make parsers recurse, runs of subscripts cost them quadratic time."""
    subscripts = skeleton.translate(None, _SPACES).count(b"][")
    if subscripts > most:
        message = f"{subscripts} subscripts in a row; at most {most} are accepted."
        return Refusal(RefusalCode.TOO_COMPLEX, message, rule=RULE)
    signs = sum(map(skeleton.count, (b"-", b"+", b"~", b"!")))
    if signs + skeleton.upper().count(b"NOT") <= most:
        return None
    for chain in _CHAIN.finditer(skeleton.decode("ascii")):
        length = len(_LINK.findall(chain.group()))
        if length > most:
            message = f"{length} prefix operators in a row; at most {most} are accepted."
            return Refusal(RefusalCode.TOO_COMPLEX, message, rule=RULE)
    return None


def _misspelt(text: str, dialect: Wire) -> Refusal:
    """Find the first stretch that must not be there and say what it is."""
    for match in TOKENS[dialect].finditer(text):
        if match.lastgroup == "broken":
            return _refuse(RefusalCode.SYNTAX, _broken(match.group()), text, match.start())
        if match.lastgroup == "symbol" and (why := _forbidden(match.group(), text, match.end(), dialect)):
            return _refuse(RefusalCode.SYNTAX, why, text, match.start())
    control = _CONTROL.search(text)
    offset = control.start() if control else 0
    return _refuse(RefusalCode.SYNTAX, "A control character stands outside a literal.", text, offset)


def _broken(text: str) -> str:
    if text.startswith("/*"):
        nested = "/*" in text[2:] and "*/" in text
        if nested:
            return "A comment inside a comment is not accepted: engines read it differently. Remove one."
        return "This comment has no end: */ is missing."
    what = "string" if text[0] in "'$" else "quoted name"
    return f"This {what} has no end: the closing {text[0]} is missing."


def _forbidden(symbol: str, text: str, end: int, dialect: Wire) -> str | None:
    if symbol == "{" and text[end : end + 1] == "#":
        return _TEMPLATE
    if dialect is Wire.CLICKHOUSE and symbol == "$":
        return "A name that contains $ must be quoted."
    if dialect is Wire.CLICKHOUSE and symbol == "#":
        return "# starts a comment only when a space or ! follows."
    if symbol.isascii() and symbol.isprintable():
        return None
    if symbol.isascii():
        return f"A control character (U+{ord(symbol):04X}) stands outside a literal."
    what = _LOOKALIKES.get(symbol, "not ASCII; outside literals, quote the name that contains it")
    return f"The character U+{ord(symbol[0]):04X} is {what}."


def _unbalanced(text: str, dialect: Wire) -> Refusal:
    stack: list[tuple[str, int]] = []
    for token in tokens(text, dialect):
        if token.kind is not TokenKind.SYMBOL:
            continue
        if token.text in _OPENERS:
            stack.append((_OPENERS[token.text], token.start))
        elif token.text in ")]}":
            if not stack or stack[-1][0] != token.text:
                message = f"{token.text} closes nothing that is open here."
                return _refuse(RefusalCode.SYNTAX, message, text, token.start)
            stack.pop()
    closer, offset = stack[-1] if stack else (")", 0)
    return _refuse(RefusalCode.SYNTAX, f"This bracket is never closed: {closer} is missing.", text, offset)


def _too_deep(text: str, dialect: Wire, most: int) -> Refusal:
    depth = 0
    for token in tokens(text, dialect):
        if token.text in _OPENERS or token.is_word("CASE"):
            depth += 1
        elif token.text in (")", "]", "}") or token.is_word("END"):
            depth -= 1
        if depth > most:
            message = f"Brackets and CASE are nested deeper than {most} levels here."
            return _refuse(RefusalCode.TOO_COMPLEX, message, text, token.start)
    return Refusal(RefusalCode.TOO_COMPLEX, f"Nesting is deeper than {most} levels.", rule=RULE)


def _refuse(code: RefusalCode, message: str, text: str, offset: int) -> Refusal:
    return Refusal(code, message, position_at(text, offset), RULE)
