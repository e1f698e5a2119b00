"""The queries that this process has handed to an engine and not yet seen the end of. Bounded in all ways.

Nothing here is needed to relay a page (`uris.py`): a process that never saw a query serves it as well. The
registry holds what only the process that took the POST can do: settle the query, stop it, and register it
elsewhere while nobody has asked for its first page.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.core.decision import Plan
from gateway.edge.contract import Backend, Lease, Query
from gateway.wire.trino.errors import Failure
from gateway.wire.trino.relay import Created
from gateway.wire.trino.request import ClientRequest, Forwarded
from gateway.wire.trino.uris import Page


@dataclass(slots=True)
class Replay:
    """What it takes to register a query again on another backend. Only before its first page was asked for."""

    request: ClientRequest
    plan: Plan
    origin: Forwarded
    size: int


@dataclass(slots=True)
class Live:
    """A query on an engine. Times are of the loop's clock, in seconds; sizes in bytes.

    `client_id` is what the client knows; `engine_id` differs once the query had to move.
    """

    query: Query
    lease: Lease
    client_id: str
    engine_id: str
    created: float
    seen: float
    replay: Replay | None = None
    next_page: Page | None = field(default=None, repr=False)
    polled: bool = False
    tail_at: float = 0.0
    glance_at: float = 0.0
    bytes_out: int = 0
    first_page: Page | None = field(default=None, repr=False)
    moved: asyncio.Future[Created | Failure] | None = field(default=None, repr=False)
    """The registration on another backend, once the first one was found gone."""

    @property
    def backend(self) -> Backend:
        return self.lease.backend

    def is_first_page(self, page: Page) -> bool:
        """Whether the page is the one that the reply to the POST named, slug included."""
        return _same(page, self.first_page)

    def is_next_page(self, page: Page) -> bool:
        """Whether the page is the last that this process saw named, slug included."""
        return _same(page, self.next_page)


def _same(page: Page, known: Page | None) -> bool:
    return known is not None and hmac.compare_digest(page.engine_path(), known.engine_path())


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose query an id is, and where it ran; kept for a while after its end."""

    principal: str
    backend: str
    engine_id: str


class Registry:
    """`max_live` queries, `max_replay_bytes` of statements that may be registered again, `max_owners` ids."""

    def __init__(
        self, *, max_live: int = 10_000, max_replay_bytes: int = 64 << 20, max_owners: int = 20_000
    ) -> None:
        self._live: OrderedDict[str, Live] = OrderedDict()
        self._owners: OrderedDict[str, Owner] = OrderedDict()
        self._replay_bytes = 0
        self._max_live, self._max_replay_bytes, self._max_owners = max_live, max_replay_bytes, max_owners

    def __len__(self) -> int:
        return len(self._live)

    @property
    def replay_bytes(self) -> int:
        return self._replay_bytes

    def get(self, client_id: str) -> Live | None:
        return self._live.get(client_id)

    def owner(self, client_id: str) -> Owner | None:
        return self._owners.get(client_id)

    def add(self, live: Live) -> Live | None:
        """Remember a query; returns the one that had to be forgotten for it, if the registry was full."""
        self._live[live.client_id] = live
        if live.replay is not None:
            self._replay_bytes += live.replay.size
        self.own(live)
        self._bound_replays(keep=live)
        if len(self._live) > self._max_live:
            _, oldest = self._live.popitem(last=False)
            self.drop_replay(oldest)
            return oldest
        return None

    def own(self, live: Live) -> None:
        """Remember whose query it is (anew after it moved)."""
        self._owners[live.client_id] = Owner(live.query.principal.name, live.backend.name, live.engine_id)
        while len(self._owners) > self._max_owners:
            self._owners.popitem(last=False)

    def _bound_replays(self, keep: Live) -> None:
        if self._replay_bytes <= self._max_replay_bytes:
            return
        for live in self._live.values():
            if live is not keep:
                self.drop_replay(live)
            if self._replay_bytes <= self._max_replay_bytes:
                return
        self.drop_replay(keep)

    def drop_replay(self, live: Live) -> None:
        """The query can no longer be registered elsewhere (its first page was asked for, or no room)."""
        if live.replay is not None:
            self._replay_bytes -= live.replay.size
            live.replay = None

    def forget(self, live: Live) -> None:
        """The query is settled; only whose it was is kept."""
        if self._live.get(live.client_id) is live:
            del self._live[live.client_id]
        self.drop_replay(live)

    def silent(self, since: float) -> Iterator[Live]:
        """Queries of which nothing was seen after `since`."""
        return iter([live for live in self._live.values() if live.seen < since])
