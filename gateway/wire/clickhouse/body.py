"""Where the statement ends and INSERT data begins, over URL and body, decoded as far as needed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from gateway.wire.clickhouse.coding import PASSABLE, decode_stream, decoder_for
from gateway.wire.clickhouse.errors import NOT_IMPLEMENTED, SYNTAX_ERROR, WireError
from gateway.wire.clickhouse.options import ClickHouseOptions
from gateway.wire.clickhouse.request import ClickHouseRequest
from gateway.wire.http.message import Body

DataOffset = Callable[[str], int | None]
"""Offset in characters where INSERT data begins, None if the text is no INSERT with data after it."""

_QUICK_LOOK = 8 * 1024


@dataclass(frozen=True, slots=True)
class Gathered:
    """A statement and the data that follows it.

    `data` is what was read of the data, `rest` what was not; `as_sent`: the data is the client's body as it
    came, still in its own encoding, and the whole statement was in the URL.
    """

    text: str
    data: bytes = b""
    rest: AsyncIterator[bytes] | None = None
    as_sent: bool = False
    length: int | None = None
    """Bytes of data in all, where known."""

    @property
    def has_data(self) -> bool:
        return self.as_sent or self.rest is not None or bool(self.data)

    @property
    def replayable(self) -> bool:
        """All of it is here, so it can be sent a second time."""
        return self.rest is None


async def gather(
    asked: ClickHouseRequest, body: Body, options: ClickHouseOptions, data_offset: DataOffset
) -> Gathered:
    """Read as much of the body as the statement needs. Raises WireError, and what reading a body raises."""
    limit = options.wire.max_statement_bytes
    if len(asked.query) > limit:
        raise _too_large(limit)
    if not body.has_body:
        return Gathered(asked.query)
    if asked.query and (offset := data_offset(asked.query + "\n")) is not None:
        return await _data_only(asked, offset, body, options)
    return await _mixed(asked, body, options, data_offset)


async def _data_only(
    asked: ClickHouseRequest, offset: int, body: Body, options: ClickHouseOptions
) -> Gathered:
    if asked.content_encoding and asked.content_encoding not in PASSABLE:
        raise WireError(NOT_IMPLEMENTED, "This Content-Encoding is not known to ClickHouse")
    if offset < len(asked.query):
        # Data began in the URL itself: one plain stream of both, so the body must be decoded.
        start = asked.query[offset:] + "\n"
        data, rest = await _read(asked, body, options.prefix_bytes)
        return Gathered(asked.query[:offset], _bytes(start) + data, rest)
    if body.length is not None and body.length <= options.prefix_bytes:
        whole = await body.read(options.prefix_bytes)
        return Gathered(asked.query, whole, as_sent=True, length=len(whole))
    return Gathered(asked.query, b"", aiter(body), as_sent=True, length=body.length)


async def _mixed(
    asked: ClickHouseRequest, body: Body, options: ClickHouseOptions, data_offset: DataOffset
) -> Gathered:
    """(Part of) the statement is in the body."""
    limit = options.wire.max_statement_bytes
    before = asked.query + "\n" if asked.query else ""
    start, rest = await _read(asked, body, min(options.prefix_bytes, limit))
    text = before + start.decode("utf-8", "surrogateescape")
    offset = data_offset(text[:_QUICK_LOOK]) if len(text) > _QUICK_LOOK else None
    if offset is None or offset >= _QUICK_LOOK:
        offset = data_offset(text)
    if offset is not None and (offset < len(text) or rest is None):
        statement = text[:offset]
        return Gathered(statement, _bytes(text[offset:]), rest)
    if rest is not None:
        more = await _drain(rest, limit - len(start))
        text = before + (start + more).decode("utf-8", "surrogateescape")
        offset = data_offset(text)
        if offset is not None:
            return Gathered(text[:offset], _bytes(text[offset:]))
    if len(text) > limit:
        raise _too_large(limit)
    return Gathered(text)


async def _read(
    asked: ClickHouseRequest, body: Body, wanted: int
) -> tuple[bytes, AsyncIterator[bytes] | None]:
    """The first `wanted` bytes or a little more, decoded, and what follows (None at the end)."""
    decoder = decoder_for(asked.content_encoding, asked.native_body)
    if decoder is None and body.length is not None and body.length <= wanted:
        return await body.read(wanted), None
    stream = aiter(body) if decoder is None else decode_stream(aiter(body), decoder)
    parts: list[bytes] = []
    size = 0
    async for piece in stream:
        parts.append(piece)
        size += len(piece)
        if size >= wanted:
            return b"".join(parts), stream
    return b"".join(parts), None


async def _drain(stream: AsyncIterator[bytes], limit: int) -> bytes:
    parts: list[bytes] = []
    async for piece in stream:
        parts.append(piece)
        limit -= len(piece)
        if limit < 0:
            raise _too_large(limit)
    return b"".join(parts)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _too_large(limit: int) -> WireError:
    return WireError(
        SYNTAX_ERROR,
        f"The statement is larger than the limit of {limit} bytes. "
        "Send long lists as external data or from a table; INSERT data does not count",
    )
