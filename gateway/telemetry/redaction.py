"""Takes secrets out of what is about to be logged or shown. The last line of defence, not the first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "[redacted]"
MAX_DEPTH = 6
MAX_ITEMS = 100
MAX_TEXT = 4000

_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|api[_-]?key|private[_-]?key|(?:^|[_-])keys?$|authorization|"
    r"cookie|credential|slug|signature|dsn$",
    re.IGNORECASE,
)
_TEXT_NAME = re.compile(r"^(sql|statement|query_text|error_text|text|parameters|params)$", re.IGNORECASE)

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # user:password@ in a URL
    (
        re.compile(r"(?P<keep>[a-z][a-z0-9+.-]{1,20}://[^\s:/@]{0,200}):[^\s@/]{1,500}@", re.I),
        r"\g<keep>:[redacted]@",
    ),
    # Authorization: <scheme> <credentials>
    (
        re.compile(r"(?P<keep>\b(?:basic|bearer|negotiate|digest)\s+)[\w.~+/=-]{6,}", re.I),
        r"\g<keep>[redacted]",
    ),
    # a JSON Web Token
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*"), HIDDEN),
    # secret parameters of a URL or a form
    (
        re.compile(
            r"(?P<keep>[?&;\s](?:password|user_password|token|access_token|api_key|apikey|key|secret|"
            r"signature|sig|x-amz-signature|x-amz-credential)=)[^&\s;#\"']+",
            re.I,
        ),
        r"\g<keep>[redacted]",
    ),
    # Trino's slugs: /v1/statement/queued/<query id>/<slug>/<token>
    (
        re.compile(r"(?P<keep>/v1/(?:statement/(?:queued|executing|scheduled)|spooled/\w+)/[\w.-]+/)[\w.-]+"),
        r"\g<keep>[redacted]",
    ),
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S),
        HIDDEN,
    ),
)


def redact_text(text: str) -> str:
    """`text` without credentials, tokens, slugs and private keys, and of bounded length."""
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT] + "…"
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact(value: Any, name: str = "", depth: int = 0) -> Any:
    """A copy in which every value under a secret's name is hidden and every text is redacted."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if name and (_SECRET_NAME.search(name) or _TEXT_NAME.match(name)):
        return HIDDEN
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"[{len(value)} bytes]"
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        pairs = list(value.items())[:MAX_ITEMS]
        return {str(key): redact(item, str(key), depth + 1) for key, item in pairs}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = list(value)[:MAX_ITEMS]
        if len(items) == 2 and all(isinstance(item, str) for item in items):  # As header lists hold them.
            return [items[0], redact(items[1], items[0], depth + 1)]
        return [redact(item, "", depth + 1) for item in items]
    return redact_text(str(value))
