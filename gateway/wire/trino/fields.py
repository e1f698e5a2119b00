"""The values inside Trino's headers: lists, properties, prepared statements; decoded within bounds.

Trino accepts a list as repeated headers and as one header joined by commas, values URL-encoded
(`HttpRequestSessionContextFactory`). A prepared statement may be compressed: `$zstd:` and base64url
(`PreparedStatementEncoder`).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote_plus, unquote_to_bytes

import zstandard

from gateway.core.statement import Pairs

ZSTD_PREFIX = "$zstd:"
# Trino compresses prepared statements from 2 KiB on (`protocol.v1.prepared-statement-compression.length-threshold`).
_COMPRESS_FROM = 2048
_NAME = re.compile(r"[!-~]+")


class BadField(ValueError):
    """A header that cannot be used; the text names the header and the rule, never the value."""


@dataclass(frozen=True, slots=True)
class FieldLimits:
    """Bounds on what one request may carry in its headers (counts, and bytes after decoding)."""

    entries: int = 256
    name_bytes: int = 256
    value_bytes: int = 16_384
    total_bytes: int = 131_072
    prepared_entries: int = 128
    prepared_bytes: int = 1_000_000
    prepared_total_bytes: int = 4_000_000


LIMITS = FieldLimits()


def items(header: str, values: Iterable[str], limit: int) -> list[str]:
    """The elements of a list header, however it was split. Raises BadField beyond `limit` elements."""
    found: list[str] = []
    for value in values:
        found.extend(part for raw in value.split(",", limit + 1) if (part := raw.strip()))
        if len(found) > limit:
            raise BadField(f"{header} has more than {limit} entries; send fewer")
    return found


def properties(header: str, values: Iterable[str], limits: FieldLimits = LIMITS) -> Pairs:
    """`name=value` entries, decoded and sorted by name. As in Trino the last of equal names counts."""
    decoded: dict[str, str] = {}
    total = 0
    for name, raw in _entries(header, values, limits.entries, limits):
        value = decode(header, raw, limits.value_bytes)
        total += len(name) + len(value)
        if total > limits.total_bytes:
            raise BadField(f"{header} is larger than {limits.total_bytes} bytes in total; send less")
        decoded[name] = value
    return tuple(sorted(decoded.items()))


def prepared(header: str, values: Iterable[str], limits: FieldLimits = LIMITS) -> Pairs:
    """Prepared statements by name, decoded and, where compressed, expanded within bounds."""
    decoded: dict[str, str] = {}
    total = 0
    for raw_name, raw in _entries(header, values, limits.prepared_entries, limits):
        name = decode(header, raw_name, limits.name_bytes)
        text = decode(header, raw, limits.prepared_bytes)
        if text.startswith(ZSTD_PREFIX):
            text = expand(header, text, limits.prepared_bytes)
        total += len(text)
        if total > limits.prepared_total_bytes:
            raise BadField(
                f"{header}: the prepared statements are larger than {limits.prepared_total_bytes} bytes "
                "in total; DEALLOCATE PREPARE those not in use"
            )
        decoded[name] = text
    return tuple(sorted(decoded.items()))


def _entries(
    header: str, values: Iterable[str], count: int, limits: FieldLimits
) -> Iterator[tuple[str, str]]:
    for item in items(header, values, count):
        name, equals, value = item.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or "=" in value:
            raise BadField(f"{header}: an entry is not of the form name=value with the value URL-encoded")
        if len(name) > limits.name_bytes or not _NAME.fullmatch(name):
            raise BadField(f"{header}: a name is empty, longer than {limits.name_bytes} or not visible ASCII")
        yield name, value


def decode(header: str, raw: str, limit: int) -> str:
    """URL-decoding as `java.net.URLDecoder` does it (`+` is a space), strict about escapes and UTF-8."""
    if len(raw) > 3 * limit:
        raise BadField(f"{header}: a value is larger than {limit} bytes")
    if _BROKEN_ESCAPE.search(raw):
        raise BadField(f"{header}: a value is not URL-encoded (a % without two hex digits)")
    data = unquote_to_bytes(raw.replace("+", " ").encode("latin-1"))
    if len(data) > limit:
        raise BadField(f"{header}: a value is larger than {limit} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadField(f"{header}: a value is not UTF-8") from None


_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def expand(header: str, text: str, limit: int) -> str:
    """The statement behind `$zstd:`. The output is bounded whatever the frame claims (no bombs)."""
    encoded = text.removeprefix(ZSTD_PREFIX)
    try:
        padded = encoded + "=" * (-len(encoded) % 4)
        frame = base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError):
        raise BadField(f"{header}: a compressed statement is not base64url") from None
    # A small window too: memory is bounded before the first byte comes out.
    unpacker = zstandard.ZstdDecompressor(max_window_size=8 << 20)
    try:
        data = unpacker.stream_reader(frame).read(limit + 1)
        whole = len(data) > limit or _is_whole(unpacker, frame)
    except zstandard.ZstdError:
        whole = False
    if not whole:
        raise BadField(f"{header}: a compressed statement is not one whole zstd frame")
    if len(data) > limit:
        raise BadField(f"{header}: a compressed statement is larger than {limit} bytes when expanded")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadField(f"{header}: a compressed statement is not UTF-8") from None


def _is_whole(unpacker: zstandard.ZstdDecompressor, frame: bytes) -> bool:
    """Whether a frame, known to be small when expanded, has its end and nothing behind it."""
    check = unpacker.decompressobj()
    check.decompress(frame)
    return check.eof and not check.unused_data


def encode_properties(pairs: Pairs) -> list[str]:
    """One `name=value` per header, as JDBC sends them; no value can end a header or start another."""
    return [f"{name}={quote_plus(value)}" for name, value in pairs]


def encode_prepared(pairs: Pairs) -> list[str]:
    """Prepared statements as Trino's own clients and server write them, compressed where that is shorter."""
    return [f"{quote_plus(name)}={quote_plus(_packed(text))}" for name, text in pairs]


def _packed(text: str) -> str:
    if len(text) < _COMPRESS_FROM:
        return text
    frame = zstandard.ZstdCompressor(level=3, write_content_size=True).compress(text.encode())
    packed = ZSTD_PREFIX + base64.urlsafe_b64encode(frame).decode("ascii")
    return packed if len(packed) < len(text) else text


def visible(header: str, value: str | None, limit: int) -> str | None:
    """A plain single value: trimmed, None when empty. Raises BadField when long or not printable."""
    value = (value or "").strip()
    if len(value) > limit:
        raise BadField(f"{header} is longer than {limit} bytes")
    if _CONTROL.search(value):
        raise BadField(f"{header} holds control characters")
    return value or None


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
