"""What a response body tells at its end, and error texts that name ids."""

from __future__ import annotations

import re
from collections.abc import Callable

import orjson

TAIL_BYTES = 16 * 1024
_REPORT_EVERY = 4 * 1024 * 1024
_CODE = re.compile(rb"Code: ([0-9]{1,6})\. DB::(?:[A-Za-z]+::)?Exception")


class Tail:
    """The last bytes of a body that streams by: a window of bounded size, cheap for each piece."""

    __slots__ = ("_kept", "_report", "_reported", "_total")

    def __init__(self, report: Callable[[int], None] | None = None) -> None:
        """`report` gets the bytes so far, now and then."""
        self._kept = b""
        self._total = self._reported = 0
        self._report = report

    def feed(self, piece: bytes) -> None:
        """One more piece."""
        # A big piece is kept by reference; only small ones are joined.
        self._kept = piece if len(piece) >= TAIL_BYTES else self._kept[-TAIL_BYTES:] + piece
        self._total += len(piece)
        if self._report is not None and self._total - self._reported >= _REPORT_EVERY:
            self._reported = self._total
            self._report(self._total)

    def bytes(self) -> bytes:
        """At most TAIL_BYTES, the last ones."""
        return self._kept[-TAIL_BYTES:]


def exception_in(tail: bytes, tag: str | None) -> tuple[int, str] | None:
    """The exception that an engine wrote at the end of a body before it cut the connection, as (code, text).

    ClickHouse 25.11 and later: `\\r\\n__exception__\\r\\n<tag>\\r\\n<text>\\n<length> <tag>\\r\\n__exception__\\r\\n`,
    the tag being the one of the response's X-ClickHouse-Exception-Tag. Older servers write the text alone.
    """
    start = tail.rfind(b"__exception__\r\n" + tag.encode("latin-1")) if tag else -1
    text = tail[start:] if start >= 0 else tail
    matches = list(_CODE.finditer(text))
    if not matches:
        return None
    found = matches[0] if start >= 0 else matches[-1]
    return int(found[1]), text[found.start() :].decode("utf-8", "replace")[:4000]


def summary_of(value: str | None) -> dict[str, int]:
    """The numbers of an X-ClickHouse-Summary header; empty if there is none that can be read."""
    if value is None:
        return {}
    try:
        numbers = orjson.loads(value)
        return {name: int(number) for name, number in numbers.items()}
    except (ValueError, AttributeError, TypeError):
        return {}
