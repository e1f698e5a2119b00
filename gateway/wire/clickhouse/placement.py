"""Which backend, where it is not simply the least loaded: sessions, and KILL of a query that runs somewhere."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable

from gateway.core.principal import Principal
from gateway.edge.contract import Backend, Backends
from gateway.wire.clickhouse import kill


def ranked(session: str, names: Iterable[str]) -> list[str]:
    """Backends in this session's order of preference (rendezvous hashing: computed, stored nowhere).

    Every process ranks alike, and a backend that comes or goes moves only its own sessions.
    """

    def weight(name: str) -> bytes:
        return hashlib.blake2b(
            f"{session}\0{name}".encode("utf-8", "surrogateescape"), digest_size=8
        ).digest()

    return sorted(names, key=weight, reverse=True)


def pin_session(session: str, names: tuple[str, ...], backends: Backends) -> frozenset[str]:
    """The backends to leave out, so that the session's own is taken: the first in its order that is healthy.

    While that one is down, the next takes new and old sessions alike; state of the old ones is gone then, as
    after a restart of ClickHouse, and `session_check=1` says so.
    """
    if len(names) < 2:
        return frozenset()
    order = ranked(session, names)
    chosen = next((n for n in order if (b := backends.get(n)) is not None and b.healthy), order[0])
    return frozenset(names) - {chosen}


async def pin_kill(
    engine_ids: list[str], names: tuple[str, ...], backends: Backends, principal: Principal, timeout_s: float
) -> frozenset[str]:
    """The backends to leave out, so that KILL goes where the query runs; none if it runs nowhere."""
    if len(names) < 2:
        return frozenset()
    candidates = [b for n in names if (b := backends.get(n)) is not None and b.healthy]
    running = await asyncio.gather(*(_runs_one(b, engine_ids, principal, timeout_s) for b in candidates))
    for backend, runs in zip(candidates, running, strict=True):
        if runs:
            return frozenset(names) - {backend.name}
    return frozenset()


async def _runs_one(backend: Backend, engine_ids: list[str], principal: Principal, timeout_s: float) -> bool:
    for engine_id in engine_ids[:20]:
        if await kill.is_running(backend, principal, engine_id, timeout_s):
            return True
    return False
