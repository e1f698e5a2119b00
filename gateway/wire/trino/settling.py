"""How queries on engines come to an end: by their last page, by a cancel, or by being looked up when silent."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.core.decision import Plan
from gateway.core.tasks import Supervisor
from gateway.edge.contract import Outcome, Query
from gateway.wire.http.client import UpstreamError
from gateway.wire.http.message import HttpError
from gateway.wire.trino.options import TrinoOptions
from gateway.wire.trino.pages import PageFacts
from gateway.wire.trino.registry import Live, Registry

_TIMEOUT_S = 5.0
_QUERY_INFO_LIMIT = 8 << 20
_MAX_LOOKUPS = 64


def settle_page(query: Query, facts: PageFacts, bytes_out: int) -> bool:
    """Report what a page said; True when it was the query's last and the query is settled."""
    query.progress(
        bytes_out=bytes_out,
        bytes_scanned=facts.scanned_bytes,
        fraction=facts.fraction,
        state=facts.state,
    )
    if not facts.last:
        return False
    error = facts.error
    if error is None:
        query.finish(Outcome.SUCCEEDED if facts.state == "FINISHED" else Outcome.UNKNOWN)
    elif error.name == "USER_CANCELED":
        query.finish(Outcome.CANCELLED, error_code=error.name, error_text=error.message)
    else:
        query.finish(Outcome.FAILED, error_code=error.name, error_text=error.message)
    return True


def lost_outcome(live: Live) -> Outcome:
    """A backend died with a query: a statement that writes may have done so; one that reads has failed."""
    decision = live.query.decision
    writes = isinstance(decision, Plan) and decision.kind.writes
    return Outcome.UNKNOWN if writes and live.polled else Outcome.FAILED


class Settler:
    """Stops queries on their engine, and settles those of which nothing is heard any more."""

    def __init__(self, registry: Registry, supervisor: Supervisor, options: TrinoOptions) -> None:
        self._registry, self._supervisor, self._options = registry, supervisor, options

    def cancel(self, live: Live) -> None:
        """Stop the query on its engine, in the background. Its end is seen on its next page or by `sweep`."""
        self._supervisor.spawn(self._cancel(live), "cancel")

    async def _cancel(self, live: Live) -> None:
        page = live.next_page
        if page is None:
            return
        try:
            response = await live.backend.pool.request(
                "DELETE", page.engine_path(), [], head_timeout_s=_TIMEOUT_S
            )
            async with response:
                await response.read(64 * 1024)
        except (UpstreamError, HttpError):
            pass  # the engine's own client time-out ends what could not be told to end
        if not live.polled:
            # Never created on the engine: no page will tell its end.
            live.query.finish(Outcome.CANCELLED, error_code="USER_CANCELED")
            self._registry.forget(live)

    def sweep(self, now: float) -> None:
        """Look up silent queries. Registrations too old to be moved lose what they are kept for."""
        self._glance_at_unread(now)
        options = self._options
        silent = [
            live
            for live in self._registry.silent(now - min(options.unpolled_after_s, options.silent_after_s))
            if not live.polled or live.seen < now - options.silent_after_s
        ]
        for live in silent[:_MAX_LOOKUPS]:
            live.seen = now
            self._supervisor.spawn(self._look_up(live), "look-up")
        for live in self._registry.silent(now - self._options.replay_for_s):
            if live.replay is not None and live.created < now - self._options.replay_for_s:
                self._registry.drop_replay(live)

    def _glance_at_unread(self, now: float) -> None:
        unread_after = self._options.unread_after_s
        due = [
            live
            for live in self._registry.silent(now - unread_after)
            if live.polled and live.glance_at <= now
        ]
        for live in due[:_MAX_LOOKUPS]:
            live.glance_at = now + max(unread_after, now - live.seen)
            self._supervisor.spawn(self._glance(live), "glance")

    async def _glance(self, live: Live) -> None:
        """Give back the slot of a query that the engine is through with, whatever its client still reads."""
        document = await self._query_info(live)
        if document.get("state") in ("FINISHED", "FAILED"):
            self._settle(live, document)
        elif document.get("state") == "FINISHING":
            live.lease.release()

    async def _look_up(self, live: Live) -> None:
        """Ask the engine what became of a query whose client is silent or went on with another process."""
        document = await self._query_info(live)
        state = document.get("state")
        if state is not None and not live.polled:
            # Its first page was asked for through another process.
            live.polled = True
            self._registry.drop_replay(live)
        if state not in (None, "FINISHED", "FAILED"):
            return  # still running there: another process relays it
        if state is None and not live.polled:
            # Registered and never asked for: its slot is free again, so it must not start any more.
            live.query.finish(Outcome.DISCONNECTED)
            await self._cancel(live)
        self._settle(live, document)

    def _settle(self, live: Live, document: dict[str, Any]) -> None:
        """Report the end that the engine tells of; without one the outcome is unknown."""
        state, error = document.get("state"), document.get("errorCode")
        name = error.get("name") if isinstance(error, dict) else None
        if state == "FINISHED":
            live.query.finish(Outcome.SUCCEEDED)
        elif state == "FAILED" and name == "USER_CANCELED":
            live.query.finish(Outcome.CANCELLED, error_code=name)
        elif state == "FAILED" and name == "ABANDONED_QUERY":
            live.query.finish(Outcome.DISCONNECTED, error_code=name)
        elif state == "FAILED":
            live.query.finish(Outcome.FAILED, error_code=name)
        else:
            live.query.finish(Outcome.UNKNOWN)
        self._registry.forget(live)

    async def _query_info(self, live: Live) -> dict[str, Any]:
        headers = live.backend.engine_headers(live.query.principal)
        try:
            response = await live.backend.pool.request(
                "GET", f"/v1/query/{live.engine_id}?pruned=true", headers, head_timeout_s=_TIMEOUT_S
            )
            async with response:
                body = await response.read(_QUERY_INFO_LIMIT)
            document = orjson.loads(body) if response.status == 200 else {}
        except (UpstreamError, HttpError, orjson.JSONDecodeError):
            return {}
        return document if isinstance(document, dict) else {}
