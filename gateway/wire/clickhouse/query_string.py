"""URL parameters: read strictly, written in one fixed way.

Text is `str` with undecodable bytes as surrogates (PEP 383), so that bytes that are no UTF-8 survive a round
trip and are seen as what they are by whoever checks the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote_from_bytes, unquote_to_bytes

from gateway.wire.clickhouse.errors import BAD_ARGUMENTS, WireError

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PLAIN = re.compile(r"[A-Za-z0-9._-]*")
MAX_PARAMETERS = 2000


def parse_query_string(query: str) -> list[tuple[str, str]]:
    """(name, value) pairs in order, repeats kept. Raises WireError for a broken `%` escape."""
    if not query:
        return []
    if "%" in query and _BAD_ESCAPE.search(query):
        raise WireError(
            BAD_ARGUMENTS, "The URL has a '%' that is not followed by two hex digits. Encode it as %25"
        )
    parts = query.split("&", MAX_PARAMETERS)
    if len(parts) > MAX_PARAMETERS:
        raise WireError(BAD_ARGUMENTS, f"The URL has more than {MAX_PARAMETERS} parameters")
    pairs = []
    for part in parts:
        if part:
            name, _, value = part.partition("=")
            pairs.append((_decode(name), _decode(value)))
    return pairs


def _decode(text: str) -> str:
    if "+" in text:
        text = text.replace("+", " ")
    if "%" not in text:
        return text
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")


def encode_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    """`a=1&b=2`, everything but letters, digits and `._-` percent-encoded."""
    return "&".join([f"{name if _is_plain(name) else encode(name)}={encode(value)}" for name, value in pairs])


def encode(value: str) -> str:
    """One percent-encoded value."""
    if _is_plain(value):
        return value
    return quote_from_bytes(value.encode("utf-8", "surrogateescape"), safe="")


def _is_plain(value: str) -> bool:
    return _PLAIN.fullmatch(value) is not None
