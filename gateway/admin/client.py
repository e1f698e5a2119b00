"""The admin API from the other side: what the live CLI commands call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import orjson
from pydantic import TypeAdapter, ValidationError

from gateway.admin.contract import (
    AuditVerified,
    BackendState,
    BackendStates,
    Cancelled,
    Config,
    Explained,
    Health,
    HistoryPage,
    LiveQueries,
    LiveQuery,
    QueryTexts,
    Reloaded,
    SnapshotInfo,
)
from gateway.store.records import QueryRecord

T = TypeVar("T")

MAX_ANSWER_BYTES = 64 << 20
TIMEOUT_S = 30.0


class AdminUnreachable(Exception):
    """No gateway answers there, or what answers is not one."""


class AdminRefused(Exception):
    """The gateway answered no. `code` is a word for programs."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Target:
    """Where the API is: a Unix socket, or a URL with a token. `repr` does not show the token."""

    socket: Path | None = None
    url: str | None = None
    token: str | None = None

    def __post_init__(self) -> None:
        if (self.socket is None) == (self.url is None):
            raise ValueError("name either the admin socket or the admin URL")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"the admin URL must start with http:// or https://, not {self.url!r}")

    def __repr__(self) -> str:
        return f"Target({self.socket or self.url})"


class AdminClient:
    """Asynchronous client; use as `async with AdminClient(target) as client`.

    Every method raises AdminUnreachable or AdminRefused.
    """

    def __init__(self, target: Target, *, timeout_s: float = TIMEOUT_S) -> None:
        self._target = target
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> AdminClient:
        target = self._target
        connector = None if target.socket is None else aiohttp.UnixConnector(str(target.socket))
        headers = {"Authorization": f"Bearer {target.token}"} if target.token else {}
        self._session = aiohttp.ClientSession(
            connector=connector, headers=headers, timeout=self._timeout, trust_env=False
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def queries(self, **filters: str) -> tuple[LiveQuery, ...]:
        """Live queries; filters: principal, wire, state, engine, backend."""
        return (await self._get(LiveQueries, "/v1/queries", filters)).queries

    async def history(
        self, *, limit: int = 100, cursor: str | None = None, **filters: str | float
    ) -> HistoryPage:
        """Past queries; filters as in `QueryFilter`."""
        paging = {"limit": limit, **({} if cursor is None else {"cursor": cursor})}
        return await self._get(HistoryPage, "/v1/queries/history", {**filters, **paging})

    async def query(self, query_id: str) -> QueryRecord:
        """One query with its trail."""
        return await self._get(QueryRecord, f"/v1/queries/{_quoted(query_id)}")

    async def texts(self, query_id: str, purpose: str) -> Mapping[str, str]:
        """Its stored texts; the purpose goes into the audit."""
        path = f"/v1/queries/{_quoted(query_id)}/texts"
        return (await self._get(QueryTexts, path, {"purpose": purpose})).texts

    async def cancel(self, query_id: str) -> Cancelled:
        """Stop a live query."""
        return await self._call(Cancelled, "DELETE", f"/v1/queries/{_quoted(query_id)}")

    async def backends(self) -> tuple[BackendState, ...]:
        """Every backend and its health."""
        return (await self._get(BackendStates, "/v1/backends")).backends

    async def drain(self, name: str) -> BackendState:
        """Send no new query to a backend."""
        return await self._call(BackendState, "POST", f"/v1/backends/{_quoted(name)}/drain")

    async def undrain(self, name: str) -> BackendState:
        """Use a drained backend again."""
        return await self._call(BackendState, "POST", f"/v1/backends/{_quoted(name)}/undrain")

    async def snapshot(self) -> SnapshotInfo:
        """Versions of what decisions are made from."""
        return await self._get(SnapshotInfo, "/v1/snapshot")

    async def reload(self) -> Reloaded:
        """Read the configuration again."""
        return await self._call(Reloaded, "POST", "/v1/reload")

    async def explain(
        self,
        sql: str,
        *,
        as_: str,
        wire: str,
        catalog: str | None = None,
        schema: str | None = None,
        groups: tuple[str, ...] | None = None,
    ) -> Explained:
        """Decide a statement without running it."""
        optional = {"catalog": catalog, "schema": schema, "groups": groups}
        body = {"sql": sql, "as": as_, "wire": wire}
        body |= {name: value for name, value in optional.items() if value is not None}  # type: ignore[misc]
        return await self._call(Explained, "POST", "/v1/explain", body=body)

    async def health(self) -> Health:
        """What is well and what is not."""
        return await self._get(Health, "/v1/health")

    async def config(self) -> Mapping[str, Any]:
        """The active configuration without secrets."""
        return (await self._get(Config, "/v1/config")).config

    async def verify_audit(self) -> AuditVerified:
        """Follow every hash chain of the audit."""
        return await self._get(AuditVerified, "/v1/audit/verify")

    async def _get(self, kind: type[T], path: str, query: Mapping[str, Any] | None = None) -> T:
        return await self._call(kind, "GET", path, query=query)

    async def _call(
        self,
        kind: type[T],
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
    ) -> T:
        status, data = await self._exchange(method, path, query, body)
        try:
            if status >= 400:
                error = orjson.loads(data)["error"]
                raise AdminRefused(status, str(error["code"]), str(error["message"]))
            answer: T = _adapter(kind).validate_json(data)
            return answer
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise AdminUnreachable(f"{self._target} does not answer like a gateway ({status})") from error

    async def _exchange(
        self, method: str, path: str, query: Mapping[str, Any] | None, body: Any
    ) -> tuple[int, bytes]:
        if self._session is None:
            raise RuntimeError("use the client with `async with`")
        base = self._target.url.rstrip("/") if self._target.url else "http://gateway"
        data = None if body is None else orjson.dumps(body)
        try:
            async with self._session.request(
                method, f"{base}{path}", params=query, data=data, allow_redirects=False
            ) as response:
                return response.status, await _bounded(response)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise AdminUnreachable(
                f"no gateway answers at {self._target.socket or self._target.url} "
                f"({_reason(error)}). Is it running, and is this the right address?"
            ) from error


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_chunked(1 << 16):
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise aiohttp.ClientPayloadError("the answer is too large")
        parts.append(part)
    return b"".join(parts)


_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Made once a type: making one costs milliseconds."""
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def _quoted(part: str) -> str:
    return quote(part, safe="")


class SyncAdminClient:
    """The same for commands without a loop: `with SyncAdminClient(target) as c: c.run(c.client.health())`."""

    def __init__(self, target: Target, *, timeout_s: float = TIMEOUT_S) -> None:
        self.client = AdminClient(target, timeout_s=timeout_s)
        self._runner = asyncio.Runner()

    def __enter__(self) -> SyncAdminClient:
        self._runner.run(self.client.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self.client.__aexit__(kind, error, trace))
        self._runner.close()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """The result of one of the client's calls."""
        return self._runner.run(call)


def _reason(error: Exception) -> str:
    """In the system's own words where there are some: aiohttp wraps them in its own."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    told = cause.strerror if isinstance(cause, OSError) else str(cause)
    return told or type(error).__name__
