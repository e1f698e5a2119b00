"""`/v1/query/{id}`: what its owner may see and stop. To everyone else the query does not exist.

The engine's own document holds the text that was run, with policies in it, and every operator's numbers;
so only members on a list are passed, with the client's own text in place of the engine's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from gateway.core.principal import Principal
from gateway.edge.contract import Backend, Edge
from gateway.wire.http.client import UpstreamError
from gateway.wire.http.message import HttpError
from gateway.wire.trino.documents import stats_document
from gateway.wire.trino.finder import CoordinatorFinder, TooManyLookups
from gateway.wire.trino.local import Local
from gateway.wire.trino.registry import Registry
from gateway.wire.trino.uris import suffix_of

_TIMEOUT_S = 10.0
_LIMIT = 16 << 20
_MEMBERS = ("state", "queryType", "updateType", "errorType", "errorCode", "scheduled")
# What the client sent itself. Session properties are left out: the gateway adds its own.
_SESSION_MEMBERS = (
    "source",
    "catalog",
    "schema",
    "path",
    "timeZoneKey",
    "locale",
    "userAgent",
    "clientInfo",
    "clientTags",
    "clientCapabilities",
    "traceToken",
)
_STATS_SKIPPED = frozenset({"operatorSummaries", "optimizerRulesSummaries", "stageGcStatistics"})


@dataclass(frozen=True, slots=True)
class OwnedQuery:
    """A query that the asking principal owns, and its document for them."""

    engine_id: str
    backend: Backend
    document: bytes


class OwnedQueries:
    """Finds queries on engines for their owners."""

    def __init__(self, edge: Edge, registry: Registry, finder: CoordinatorFinder) -> None:
        self._edge, self._registry, self._finder = edge, registry, finder

    async def find(self, query_id: str, principal: Principal) -> OwnedQuery | None:
        """The query, or None where it is unknown or somebody else's: both look the same."""
        owner = self._registry.owner(query_id)
        if owner is not None and owner.principal != principal.name:
            return None
        engine_id = owner.engine_id if owner is not None else query_id
        try:
            backend = await self._finder.find(suffix_of(engine_id))
        except TooManyLookups:
            return None
        if backend is None:
            return None
        info = await self._ask(backend, engine_id, principal)
        if info is None or (owner is None and not _is_own(info, backend, principal)):
            return None
        return OwnedQuery(engine_id, backend, self._document(query_id, info, principal))

    async def stop(self, found: OwnedQuery, principal: Principal) -> None:
        """Cancel it on its engine; an engine that is gone has stopped it already."""
        try:
            response = await found.backend.pool.request(
                "DELETE",
                f"/v1/query/{found.engine_id}",
                found.backend.engine_headers(principal),
                head_timeout_s=_TIMEOUT_S,
            )
            async with response:
                await response.read(64 * 1024)
        except (UpstreamError, HttpError):
            pass

    async def _ask(self, backend: Backend, engine_id: str, principal: Principal) -> dict[str, Any] | None:
        try:
            response = await backend.pool.request(
                "GET",
                f"/v1/query/{engine_id}?pruned=true",
                backend.engine_headers(principal),
                head_timeout_s=_TIMEOUT_S,
            )
            async with response:
                body = await response.read(_LIMIT)
            info = orjson.loads(body) if response.status == 200 else None
        except (UpstreamError, HttpError, orjson.JSONDecodeError):
            return None
        return info if isinstance(info, dict) else None

    def _document(self, query_id: str, info: dict[str, Any], principal: Principal) -> bytes:
        live = self._registry.get(query_id)
        shown: dict[str, Any] = {
            "queryId": query_id,
            "session": _session(info.get("session"), query_id, principal),
            **{name: info[name] for name in _MEMBERS if name in info},
        }
        if live is not None:
            shown["query"] = live.query.statement.text
        stats = info.get("queryStats")
        if isinstance(stats, dict):
            shown["queryStats"] = {
                name: value
                for name, value in stats.items()
                if not isinstance(value, (dict, list)) and name not in _STATS_SKIPPED
            }
        return orjson.dumps(shown)


def _session(session: Any, query_id: str, principal: Principal) -> dict[str, Any]:
    shown = {"queryId": query_id, "user": principal.name}
    if isinstance(session, dict):
        shown |= {name: session[name] for name in _SESSION_MEMBERS if name in session}
    return shown


def _is_own(info: dict[str, Any], backend: Backend, principal: Principal) -> bool:
    """Whether the engine ran a query for exactly this principal. Shared engine users prove nothing."""
    users = [value for name, value in backend.engine_headers(principal) if name.lower() == "x-trino-user"]
    session = info.get("session")
    return users == [principal.name] and isinstance(session, dict) and session.get("user") == principal.name


def local_query_info(local: Local, principal: Principal) -> bytes:
    """The document of a query that is answered here."""
    state = local.state
    return orjson.dumps(
        {
            "queryId": state.id,
            "session": {"queryId": state.id, "user": principal.name},
            "state": state.state.value,
            "query": local.query.statement.text,
            "queryStats": {
                name: value
                for name, value in stats_document(state.stats()).items()
                if not isinstance(value, dict)
            },
        }
    )
