"""Which backend a query id belongs to, when it is not known yet; guarded against made-up ids."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from gateway.edge.contract import Backend, Backends
from gateway.wire.trino.options import TrinoOptions

_MAX_MISSES = 4_096
_MISS_HOLDS_S = 5.0


class TooManyLookups(Exception):
    """So many unknown ids are asked for that looking them up would burden the backends."""


class CoordinatorFinder:
    """Known suffixes cost nothing; unknown ones are looked up at a bounded rate and misses remembered."""

    def __init__(self, backends: Backends, options: TrinoOptions) -> None:
        self._backends, self._options = backends, options
        self._misses: OrderedDict[str, float] = OrderedDict()
        self._recent: deque[float] = deque(maxlen=options.max_finds_per_s)

    async def find(self, suffix: str) -> Backend | None:
        """The backend, or None if nobody has it. Raises TooManyLookups."""
        known = self._backends.by_coordinator(suffix)
        if known is not None:
            return known
        now = asyncio.get_running_loop().time()
        if self._misses.get(suffix, 0.0) > now:
            return None
        if len(self._recent) == self._recent.maxlen and now - self._recent[0] < 1.0:
            raise TooManyLookups
        self._recent.append(now)
        found = await self._backends.find_coordinator(suffix, self._options.find_timeout_s)
        if found is not None:
            self._backends.learn_coordinator(suffix, found)
            self._recent.pop()  # only misses count
        else:
            self._misses[suffix] = asyncio.get_running_loop().time() + _MISS_HOLDS_S
            if len(self._misses) > _MAX_MISSES:
                self._misses.popitem(last=False)
        return found
