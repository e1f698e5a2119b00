"""A page of results seen in passing: its head and its tail are read, its `data` never.

Trino writes a page as one JSON object whose members come in a fixed order (`QueryResults`, `QueryResultsSerializer`):

    id, infoUri, partialCancelUri, nextUri, columns, data, stats, error, warnings, updateType, updateCount

The URIs stand before the columns, the statistics after the data; so a few hundred bytes at the front and a
bounded piece of the end tell all there is to know, however large the page.
"""

from __future__ import annotations

import re
import zlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import orjson

HEAD_LIMIT = 64 * 1024
TAIL_LIMIT = 64 * 1024
WHOLE_LIMIT = 1024 * 1024
_HEAD_MEMBERS = frozenset({"id", "infoUri", "partialCancelUri", "nextUri"})
_KEY = re.compile(rb'[ \t\r\n]*[{,][ \t\r\n]*"([A-Za-z]{1,64})"[ \t\r\n]*:[ \t\r\n]*')
_STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\.)*"')
_NULL = re.compile(rb"null")


@dataclass(frozen=True, slots=True)
class Head:
    """The members before the columns. `end` is where the rest begins: the `,` or `}` after the last of them.

    `next_member` names what follows: "columns", "data", "stats", or "" at the end of the object.
    """

    members: tuple[tuple[str, str], ...]
    end: int
    next_member: str

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.members if key == name), None)

    @property
    def has_data(self) -> bool:
        """Data may follow; a document without it (most errors) is small."""
        return self.next_member in ("columns", "data")

    def with_members(self, changes: dict[str, str]) -> bytes:
        """The head anew with some values replaced; the rest of the page follows it unchanged."""
        parts = [
            b'"%b":%b' % (key.encode(), orjson.dumps(changes.get(key, value))) for key, value in self.members
        ]
        return b"{" + b",".join(parts)


class NotAPage(ValueError):
    """The bytes are no page of results. The text never quotes them."""


def read_head(data: bytes) -> Head | None:
    """The head of a page, or None while more bytes are needed. Raises NotAPage."""
    members: list[tuple[str, str]] = []
    at = 0
    while True:
        key = _KEY.match(data, at)
        if key is None or (not members and data[at : at + 1].strip() == b","):
            return _unfinished(data, at, members)
        name = key[1].decode("ascii")
        if name not in _HEAD_MEMBERS:
            if not members:
                raise NotAPage("the reply does not begin with the id of a query")
            return Head(tuple(members), at, name)
        value = _STRING.match(data, key.end())
        if value is None:
            null = _NULL.match(data, key.end())
            if null is None:
                _need_more(data, "a member of the head is not a string")
                return None
            at = null.end()
            continue
        members.append((name, str(orjson.loads(value[0]))))
        at = value.end()


def _unfinished(data: bytes, at: int, members: list[tuple[str, str]]) -> Head | None:
    rest = data[at:].lstrip()
    if members and rest[:1] == b"}":
        return Head(tuple(members), at, "")
    if rest and rest[:1] not in ((b",",) if members else (b"{",)):
        raise NotAPage("the reply is not a page of results")
    _need_more(data, "the reply has no recognisable head")
    return None


def _need_more(data: bytes, problem: str) -> None:
    if len(data) > HEAD_LIMIT:
        raise NotAPage(problem)


@dataclass(frozen=True, slots=True)
class PageError:
    """The error of a page, as far as it concerns the gateway."""

    name: str
    type: str = ""
    message: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What a page says of its query. Sizes are bytes and totals so far; None where the page does not say.

    `next_uri` holds a slug, so it is kept out of `repr`. `seen_tail` is False where only the head was read.
    """

    id: str | None = None
    next_uri: str | None = field(default=None, repr=False)
    state: str | None = None
    fraction: float | None = None
    processed_rows: int | None = None
    processed_bytes: int | None = None
    physical_input_bytes: int | None = None
    error: PageError | None = None
    seen_tail: bool = False

    @property
    def last(self) -> bool:
        """No page follows this one."""
        return self.id is not None and self.next_uri is None

    @property
    def scanned_bytes(self) -> int | None:
        """Bytes read from storage where the connector says so, else bytes processed."""
        return self.physical_input_bytes or self.processed_bytes


class PageTap:
    """Fed with the decoded or compressed bytes of one page as they pass; `finish()` tells the facts.

    `want_tail` is asked when the head is known to have a successor: False saves decompressing a page of
    which only the head matters. Never raises for strange bytes: a page that is not understood has no facts.
    """

    __slots__ = (
        "_buffer",
        "_head",
        "_idle",
        "_inflate",
        "_seen",
        "_size",
        "_tail",
        "_tail_size",
        "want_tail",
    )

    def __init__(self, content_encoding: str | None = None, *, want_tail: bool = True) -> None:
        self.want_tail = want_tail
        self._inflate = None if content_encoding is None else zlib.decompressobj(wbits=47)
        self._idle = content_encoding not in (None, "gzip", "deflate", "x-gzip")
        self._buffer = bytearray()
        self._head: Head | None = None
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._size = 0
        self._seen = 0

    def feed(self, data: bytes) -> None:
        """The next bytes as they came from the engine."""
        self._seen += len(data)
        if self._idle or not data:
            return
        if self._inflate is None:
            self._plain(data)
            return
        try:
            while data:
                self._plain(self._inflate.decompress(data, _INFLATE_STEP))
                data = b"" if self._idle else self._inflate.unconsumed_tail
        except zlib.error:
            self._give_up()

    def _plain(self, data: bytes) -> None:
        self._size += len(data)
        if self._head is None:
            self._buffer += data
            try:
                self._head = read_head(bytes(self._buffer[: HEAD_LIMIT + 1]))
            except NotAPage:
                self._give_up()
                return
            if self._head is None:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
            if not self.want_tail and self._head.get("nextUri") is not None:
                self._idle = True
                return
        self._keep(data)

    def _keep(self, data: bytes) -> None:
        limit = TAIL_LIMIT if self._head is not None and self._head.has_data else WHOLE_LIMIT
        self._tail.append(data)
        self._tail_size += len(data)
        while self._tail_size - len(self._tail[0]) >= limit:
            self._tail_size -= len(self._tail.popleft())

    def _give_up(self) -> None:
        self._idle = True
        self._head = None
        self._buffer.clear()
        self._tail.clear()

    @property
    def bytes_seen(self) -> int:
        """Bytes that passed, as the engine sent them."""
        return self._seen

    @property
    def head(self) -> Head | None:
        return self._head

    def finish(self) -> PageFacts:
        """What the page said; call it once the page has passed in full."""
        head = self._head
        if head is None:
            return PageFacts()
        facts = PageFacts(id=head.get("id"), next_uri=head.get("nextUri"))
        if self._idle:
            return facts
        return _with_tail(facts, b"".join(self._tail))


_INFLATE_STEP = 256 * 1024
_STATS = b'"stats":{'
_ROOT_STAGE = b',"rootStage"'
_ERROR_START = b'"error":{"message":'
_ERROR = re.compile(
    rb'"error":\{"message":("(?:[^"\\]|\\.)*"),"errorCode":\d+,"errorName":"(\w+)","errorType":"(\w+)"'
)


def _with_tail(facts: PageFacts, tail: bytes) -> PageFacts:
    # The last one: a map in the data may have a key of that name, and quotes inside strings are escaped.
    at = tail.rfind(_STATS)
    if at < 0:
        return facts
    stats = _flat_stats(tail, at + len(_STATS) - 1)
    fraction = stats.get("progressPercentage")
    return PageFacts(
        id=facts.id,
        next_uri=facts.next_uri,
        state=stats.get("state"),
        fraction=min(1.0, fraction / 100) if isinstance(fraction, float) else None,
        processed_rows=stats.get("processedRows"),
        processed_bytes=stats.get("processedBytes"),
        physical_input_bytes=stats.get("physicalInputBytes"),
        error=_error(tail, at),
        seen_tail=True,
    )


def _flat_stats(tail: bytes, start: int) -> dict[str, Any]:
    """The numbers of the whole query; those of its stages come last and are left out."""
    end = tail.find(_ROOT_STAGE, start)
    if end < 0:
        end = tail.find(b"}", start)
    try:
        stats = orjson.loads(tail[start:end] + b"}")
    except orjson.JSONDecodeError:
        return {}
    return stats if isinstance(stats, dict) else {}


def _error(tail: bytes, start: int) -> PageError | None:
    at = tail.find(_ERROR_START, start)
    error = _ERROR.match(tail, at) if at >= 0 else None
    if error is None:
        return None
    return PageError(error[2].decode(), error[3].decode(), str(orjson.loads(error[1])))


def error_document(body: bytes) -> dict[str, Any] | None:
    """A whole small page as JSON if it carries an error, else None (then it passes untouched)."""
    if b'"error":' not in body:
        return None
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    match document:
        case {"error": dict()}:
            return document  # type: ignore[no-any-return]
    return None
