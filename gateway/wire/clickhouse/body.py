"""Where the statement ends and INSERT data begins, over URL and body, decoded as far as needed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.core.decision import Refusal
from gateway.sql.insert import InsertHead, split_insert
from gateway.wire.clickhouse.coding import PASSABLE, decode_stream, decoder_for
from gateway.wire.clickhouse.errors import NOT_IMPLEMENTED, SYNTAX_ERROR, WireError, of_refusal
from gateway.wire.clickhouse.options import ClickHouseOptions
from gateway.wire.clickhouse.request import ClickHouseRequest
from gateway.wire.http.message import Body


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


async def gather(asked: ClickHouseRequest, body: Body, options: ClickHouseOptions) -> Gathered:
    """Read as much of the body as the statement needs. Raises WireError, and what reading a body raises."""
    limit = options.wire.max_statement_bytes
    if len(asked.query) > limit:
        raise _too_large(limit)
    if not body.has_body:
        return Gathered(asked.query)
    before = _bytes(asked.query) + b"\n" if asked.query else b""
    if before and (at := _data_at(before, more=False)) is not None:
        return await _data_only(asked, before, at, body, options)
    return await _mixed(asked, before, body, options)


async def _data_only(
    asked: ClickHouseRequest, before: bytes, at: int, body: Body, options: ClickHouseOptions
) -> Gathered:
    if asked.content_encoding and asked.content_encoding not in PASSABLE:
        raise WireError(NOT_IMPLEMENTED, "This Content-Encoding is not known to ClickHouse")
    if at < len(before) - 1:
        # Data began in the URL itself: one plain stream of both, so the body must be decoded.
        data, rest = await _read(asked, body, options.prefix_bytes)
        return Gathered(_text(before[:at]), before[at:] + data, rest)
    if body.length is not None and body.length <= options.prefix_bytes:
        whole = await body.read(options.prefix_bytes)
        return Gathered(asked.query, whole, as_sent=True, length=len(whole))
    return Gathered(asked.query, b"", aiter(body), as_sent=True, length=body.length)


async def _mixed(asked: ClickHouseRequest, before: bytes, body: Body, options: ClickHouseOptions) -> Gathered:
    """(Part of) the statement is in the body."""
    limit = options.wire.max_statement_bytes
    start, rest = await _read(asked, body, min(options.prefix_bytes, limit + 1))
    start = before + start
    if (at := _data_at(start, more=rest is not None)) is not None:
        return Gathered(_text(start[:at]), start[at:], rest)
    if rest is not None:
        start += await _drain(rest, limit)
    if len(start) > limit:
        raise _too_large(limit)
    return Gathered(_text(start))


def _data_at(start: bytes, *, more: bool) -> int | None:
    """The byte at which INSERT data begins; None where there is none. Raises WireError."""
    found = split_insert(start, more)
    if isinstance(found, Refusal):
        raise of_refusal(found)
    return found.data if isinstance(found, InsertHead) else None


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
    size = 0
    async for piece in stream:
        parts.append(piece)
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
    return b"".join(parts)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def _too_large(limit: int) -> WireError:
    return WireError(
        SYNTAX_ERROR,
        f"The statement is larger than the limit of {limit} bytes. "
        "Send long lists as external data or from a table; INSERT data does not count",
    )
