"""The gateway's own Trino client: enough of the protocol for metadata, probes and KILL.

It talks through the same connection pool as client traffic, and follows `nextUri` by its path only, so a
coordinator behind another name is still reached where the settings say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import orjson

from gateway.engines.contract import EngineError, Health, Row
from gateway.wire.http.client import UpstreamError, UpstreamPool

MAX_PAGE_BYTES = 64 * 1024 * 1024


class TooManyRows(EngineError):
    """The statement has more rows than its asker wants to hold."""


HeaderSource = Callable[[], list[tuple[str, str]]]


class TrinoClient:
    """`headers` gives the gateway's own credentials and user, read anew for each request."""

    def __init__(self, pool: UpstreamPool, headers: HeaderSource, *, timeout_s: float = 5.0) -> None:
        self._pool = pool
        self._headers = headers
        self._timeout_s = timeout_s

    async def health(self) -> Health:
        """`/v1/info`, then a registration that is never polled: it proves that statements are accepted.

        `/v1/info` has `coordinatorId` from Trino 477 on; before that the suffix is learned from the id that
        the registration is given.
        """
        try:
            info = await self._json("GET", "/v1/info", None, self._timeout_s)
            version = str(info.get("nodeVersion", {}).get("version", ""))
            if info.get("starting", True):
                return Health(False, "starting up", version)
            suffix = info.get("coordinatorId") or await self._learn_suffix()
        except EngineError as error:
            return Health(False, str(error))
        return Health(True, "", version, suffix)

    async def _learn_suffix(self) -> str:
        registered = await self._json("POST", "/v1/statement", b"SELECT 1", self._timeout_s)
        next_uri = registered.get("nextUri")
        if next_uri:
            await self._send("DELETE", _path(next_uri), None, self._timeout_s)
        return str(registered.get("id", "")).rpartition("_")[2]

    async def rows(self, sql: str, *, timeout_s: float, max_rows: int = 1_000_000) -> list[Row]:
        """See `EngineClient.rows`. A query that is given up is cancelled on the engine."""
        at: list[str] = []
        try:
            async with asyncio.timeout(timeout_s):
                return await self._rows(sql, timeout_s, max_rows, at)
        except TimeoutError:
            await self._give_up(at)
            raise EngineError(f"Trino gave no result within {timeout_s:g} s") from None
        except TooManyRows:
            await self._give_up(at)
            raise

    async def _rows(self, sql: str, timeout_s: float, max_rows: int, at: list[str]) -> list[Row]:
        """`at` holds the path of the next page, for whoever must give up."""
        page = await self._json("POST", "/v1/statement", sql.encode(), timeout_s)
        found: list[Row] = []
        while True:
            if error := page.get("error"):
                raise EngineError(str(error.get("message")), str(error.get("errorName")))
            found.extend(map(tuple, page.get("data") or ()))
            next_uri = page.get("nextUri")
            if next_uri is None:
                return found
            at[:] = [_path(next_uri)]
            if len(found) > max_rows:
                raise TooManyRows(f"more than {max_rows} rows")
            page = await self._json("GET", at[0], None, timeout_s)

    async def _give_up(self, at: list[str]) -> None:
        for path in at:
            await self._send("DELETE", path, None, self._timeout_s)

    async def kill(self, query_id: str) -> None:
        """`DELETE /v1/query/{id}`, which needs no slug but the gateway's own right to kill."""
        status = await self._send("DELETE", f"/v1/query/{query_id}", None, self._timeout_s)
        if status not in (200, 204, 404, 410):
            raise EngineError(f"Trino answered {status} to a cancel")

    async def _json(self, method: str, path: str, body: bytes | None, timeout_s: float) -> dict[str, Any]:
        try:
            reply = await self._pool.request(method, path, self._headers(), body, head_timeout_s=timeout_s)
            content = await reply.read(MAX_PAGE_BYTES)
        except UpstreamError as error:
            raise EngineError(str(error)) from error
        if reply.status != 200:
            raise EngineError(f"Trino answered {reply.status} to {method} {path.split('?')[0]}")
        try:
            document = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise EngineError(f"Trino's answer is not JSON: {error}") from error
        if not isinstance(document, dict):
            raise EngineError("Trino's answer is not a JSON object")
        return document

    async def _send(self, method: str, path: str, body: bytes | None, timeout_s: float) -> int:
        try:
            reply = await self._pool.request(method, path, self._headers(), body, head_timeout_s=timeout_s)
            await reply.read(MAX_PAGE_BYTES)
        except UpstreamError as error:
            raise EngineError(str(error)) from error
        return reply.status


def _path(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
