"""How big and how deep a statement may be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SqlLimits:
    """Bounds that hold before any parser runs; a part of the snapshot.

    Sizes are bytes of UTF-8; `max_depth` counts open brackets and CASE; `max_chain` is the longest run of
    prefix operators (`NOT NOT …`, `- - …`). Statements above `inline_bytes` or `inline_tokens` are decided
    in a child process that can be killed.
    """

    max_bytes: int = 1_000_000
    max_tokens: int = 100_000
    max_depth: int = 64
    max_chain: int = 32
    inline_bytes: int = 8_192
    inline_tokens: int = 2_000
    version: str = "0"


DEFAULT_LIMITS = SqlLimits()
