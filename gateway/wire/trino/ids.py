"""Query ids of our own, in Trino's form: clients and tools parse them."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable

# Trino's alphabet for the suffix: digits and letters that cannot be mistaken for each other.
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"


def new_suffix() -> str:
    """Five random characters that name one start of one process, as Trino's name one coordinator."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(5))


class QueryIds:
    """Hands out ids `YYYYMMDD_HHMMSS_nnnnn_suffix`, unique within this process and its suffix."""

    def __init__(self, suffix: str | None = None, clock: Callable[[], float] = time.time) -> None:
        self.suffix = suffix or new_suffix()
        self._clock = clock
        self._counter = itertools.count()

    def next(self) -> str:
        """A new id; the counter wraps at 100,000, which one second does not reach."""
        stamp = time.strftime("%Y%m%d_%H%M%S", time.gmtime(self._clock()))
        return f"{stamp}_{next(self._counter) % 100_000:05d}_{self.suffix}"
