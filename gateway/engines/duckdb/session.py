"""What a client's headers say about its session (Trino's protocol: the client holds the session)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote_plus, unquote_plus
from zoneinfo import ZoneInfo

import zstandard

from gateway.engines.duckdb.failures import fail
from gateway.wire.http.message import Headers

VERSION = "476-embedded"
_ZSTD = "$zstd:"
_PLAIN_LIMIT = 2048
_MAX_PREPARED = 4_000_000


@dataclass(frozen=True, slots=True)
class Session:
    """One request's session. `prepared` are prepared statements, decoded; `now` is when the query began."""

    user: str
    catalog: str | None = None
    schema: str | None = None
    zone: str = "UTC"
    source: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    prepared: Mapping[str, str] = field(default_factory=dict)
    transaction: str | None = None
    capabilities: frozenset[str] = frozenset()
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    version: str = VERSION


def read_session(headers: Headers) -> Session:
    """Raises TrinoFailure for a header that cannot be read."""
    user = headers.get("X-Trino-User") or ""
    if not user:
        fail("GENERIC_USER_ERROR", "User must be set: send the header X-Trino-User")
    return Session(
        user=user,
        catalog=(headers.get("X-Trino-Catalog") or "").lower() or None,
        schema=(headers.get("X-Trino-Schema") or "").lower() or None,
        zone=checked_zone(headers.get("X-Trino-Time-Zone") or "UTC"),
        source=headers.get("X-Trino-Source"),
        properties=_pairs(headers, "X-Trino-Session"),
        prepared={
            name: decode_prepared(text)
            for name, text in _pairs(headers, "X-Trino-Prepared-Statement").items()
        },
        transaction=headers.get("X-Trino-Transaction-Id"),
        capabilities=frozenset(part.strip() for part in _parts(headers, "X-Trino-Client-Capabilities")),
    )


def _parts(headers: Headers, name: str) -> list[str]:
    return [part.strip() for value in headers.get_all(name) for part in value.split(",") if part.strip()]


def _pairs(headers: Headers, name: str) -> dict[str, str]:
    found = {}
    for part in _parts(headers, name):
        key, equals, value = part.partition("=")
        if not equals:
            fail("GENERIC_USER_ERROR", f"Invalid {name} header: a part has no '='")
        found[unquote_plus(key.strip())] = unquote_plus(value.strip())
    return found


def decode_prepared(value: str) -> str:
    """A prepared statement as sent: plain, or `$zstd:` and base64url."""
    if not value.startswith(_ZSTD):
        return value
    try:
        packed = base64.urlsafe_b64decode(value[len(_ZSTD) :] + "=" * (-len(value[len(_ZSTD) :]) % 4))
        reader = zstandard.ZstdDecompressor().stream_reader(packed)
        plain = reader.read(_MAX_PREPARED + 1)
        if len(plain) > _MAX_PREPARED:
            fail("GENERIC_USER_ERROR", f"A prepared statement is larger than {_MAX_PREPARED} bytes")
        return plain.decode()
    except (binascii.Error, zstandard.ZstdError, UnicodeDecodeError):
        fail("GENERIC_USER_ERROR", "A prepared statement in X-Trino-Prepared-Statement cannot be decoded")


def encode_prepared(name: str, text: str) -> str:
    """`name=value` for X-Trino-Added-Prepare; long texts compressed, as Trino does."""
    if len(text) > _PLAIN_LIMIT:
        packed = base64.urlsafe_b64encode(zstandard.ZstdCompressor().compress(text.encode())).decode()
        if len(packed) < len(text):
            text = _ZSTD + packed
    return f"{quote_plus(name)}={quote_plus(text)}"


def checked_zone(name: str) -> str:
    """A time zone that both Python and DuckDB know. Raises TrinoFailure."""
    if name[:1] in "+-":
        try:
            datetime.fromisoformat(f"2000-01-01T00:00:00{name}")
        except ValueError:
            fail("GENERIC_USER_ERROR", f"Time zone not supported: {name}")
        return name
    if name in ("Z", "GMT", "UT"):
        return "UTC"
    try:
        return ZoneInfo(name).key
    except (ValueError, OSError):
        fail("GENERIC_USER_ERROR", f"Time zone not supported: {name}")
