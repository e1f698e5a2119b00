"""Splits a ClickHouse INSERT into its statement and its data without reading the data.

The data of an INSERT may be gigabytes that follow the statement in the same body. Only a bounded prefix is
looked at: enough to hold `INSERT INTO … FORMAT name` or `… VALUES`.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.core.decision import Refusal, RefusalCode
from gateway.core.statement import Wire
from gateway.sql.dialects.clickhouse.statements import data_start
from gateway.sql.lexer import TOKENS

MAX_HEAD = 65_536
"""Bytes within which the statement part of an INSERT must end."""

_QUERY_WORDS = frozenset({"SELECT", "WITH", "FROM", "WATCH"})


@dataclass(frozen=True, slots=True)
class InsertHead:
    """The statement part is `text`; data begins at byte `data`. `format` is as written ("Values" if so)."""

    text: str
    data: int
    format: str


@dataclass(frozen=True, slots=True)
class NeedMore:
    """The prefix ends before the statement part does: call again with more of the body."""


@dataclass(frozen=True, slots=True)
class NotInsert:
    """No INSERT with data in the body: take the whole body as a statement."""


def split_insert(prefix: bytes, more: bool) -> InsertHead | NeedMore | NotInsert | Refusal:
    """Look at the beginning of a body; `more` says that bytes follow it.

    Bytes behind the statement part need not be UTF-8. A statement part that does not end within MAX_HEAD
    bytes is refused.
    """
    text = prefix[:MAX_HEAD].decode("utf-8", "surrogateescape")
    whole = not more and len(prefix) <= MAX_HEAD
    words = _leading(text)
    if words is None and more and len(text.strip()) < 2:
        # Half of what opens a comment.
        return NeedMore()
    if words is None or (words and words != "INSERT"[: len(words)] and words != "INSERT"):
        return NotInsert()
    if words != "INSERT":
        return NotInsert() if whole else NeedMore()
    found = _find(text, whole)
    if isinstance(found, InsertHead):
        return _checked(found)
    if isinstance(found, NeedMore) and len(prefix) >= MAX_HEAD:
        message = f"The statement part of an INSERT must end within {MAX_HEAD} bytes."
        return Refusal(RefusalCode.TOO_LARGE, message, rule="sql-insert")
    return found


def insert_data_start(text: str) -> int | None:
    """The character at which the data of an INSERT statement begins; None where it has none."""
    found = _find(text, whole=True)
    return None if not isinstance(found, InsertHead) else len(found.text)


def _leading(text: str) -> str | None:
    """The first word in upper case, "" if there is none yet; None if something else comes first."""
    for match in TOKENS[Wire.CLICKHOUSE].finditer(text[:4096]):
        if match.lastgroup == "comment" or match.group() in "(;":
            continue
        if match.lastgroup == "broken" and match.group().startswith("/*"):
            return ""
        return match.group().upper() if match.lastgroup == "word" else None
    return ""


def _find(text: str, whole: bool) -> InsertHead | NeedMore | NotInsert:
    depth = 0
    previous = ""
    for match in TOKENS[Wire.CLICKHOUSE].finditer(text):
        piece, group = match.group(), match.lastgroup
        at_end = match.end() == len(text)
        if group == "broken" or (at_end and not whole):
            return NotInsert() if whole else NeedMore()
        if group == "symbol":
            depth += (piece in "([{") - (piece in ")]}")
        elif group == "word" and depth == 0:
            upper = piece.upper()
            if previous == "FORMAT" and group == "word":
                return _after_format(text, match.end(), piece, whole)
            if upper == "VALUES" and previous not in ("", "INTO", "TABLE", "."):
                return _head(text, match.end(), "Values")
            if upper in _QUERY_WORDS and previous not in ("INTO", "TABLE", ".", "INSERT"):
                return NotInsert()
        if group != "comment":
            previous = piece.upper()
    return NotInsert() if whole else NeedMore()


def _after_format(text: str, end: int, name: str, whole: bool) -> InsertHead | NeedMore:
    """`FORMAT name` may be followed by SETTINGS in newer versions; then by the data."""
    start = data_start(text, end)
    if start >= len(text) and not whole:
        return NeedMore()
    return _head(text, start, name)


def _head(text: str, start: int, name: str) -> InsertHead:
    head = text[:start]
    return InsertHead(head, len(head.encode("utf-8", "surrogateescape")), name)


def _checked(found: InsertHead) -> InsertHead | Refusal:
    if any("\ud800" <= char <= "\udfff" for char in found.text):
        return Refusal(RefusalCode.SYNTAX, "The statement part is not valid UTF-8.", rule="sql-insert")
    return found
