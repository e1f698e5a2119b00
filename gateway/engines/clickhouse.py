"""The gateway's own ClickHouse client over HTTP: metadata, probes and KILL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson

from gateway.engines.contract import EngineError, Health, Row
from gateway.wire.http.client import UpstreamError, UpstreamPool

MAX_RESULT_BYTES = 256 * 1024 * 1024
HeaderSource = Callable[[], list[tuple[str, str]]]


class ClickHouseClient:
    """`headers` gives the gateway's own credentials, read anew for each request."""

    def __init__(self, pool: UpstreamPool, headers: HeaderSource, *, timeout_s: float = 5.0) -> None:
        self._pool = pool
        self._headers = headers
        self._timeout_s = timeout_s

    async def health(self) -> Health:
        """`SELECT version()` with the gateway's credentials: proves reachability, log-in and execution."""
        try:
            rows = await self.rows("SELECT version()", timeout_s=self._timeout_s)
        except EngineError as error:
            return Health(False, str(error))
        return Health(True, "", str(rows[0][0]))

    async def rows(self, sql: str, *, timeout_s: float, max_rows: int = 1_000_000) -> list[Row]:
        """See `EngineClient.rows`. 64-bit integers come as numbers."""
        target = "/?default_format=JSONCompactEachRow&output_format_json_quote_64bit_integers=0"
        try:
            async with asyncio.timeout(timeout_s):
                content = await self._send(target, sql, timeout_s)
        except TimeoutError:
            raise EngineError(f"ClickHouse gave no result within {timeout_s:g} s") from None
        lines = content.splitlines()
        if len(lines) > max_rows:
            raise EngineError(f"more than {max_rows} rows")
        return [tuple(orjson.loads(line)) for line in lines if line]

    async def kill(self, query_id: str) -> None:
        """`KILL QUERY … ASYNC` for one id; a query that is gone already is no error."""
        quoted = query_id.replace("\\", "\\\\").replace("'", "\\'")
        await self._send(
            "/?default_format=Null", f"KILL QUERY WHERE query_id = '{quoted}' ASYNC", self._timeout_s
        )

    async def insert(self, statement: str, data: bytes, *, timeout_s: float) -> None:
        """`INSERT … FORMAT x` with its data behind it. Raises EngineError."""
        await self._send("/?default_format=Null", statement.encode() + b"\n" + data, timeout_s)

    async def _send(self, target: str, content: str | bytes, timeout_s: float) -> bytes:
        body = content.encode() if isinstance(content, str) else content
        try:
            reply = await self._pool.request("POST", target, self._headers(), body, head_timeout_s=timeout_s)
            content = await reply.read(MAX_RESULT_BYTES)
        except UpstreamError as error:
            raise EngineError(str(error)) from error
        if reply.status != 200:
            code = reply.headers.get("X-ClickHouse-Exception-Code") or str(reply.status)
            first_line = content[:500].decode(errors="replace").strip().partition("\n")[0]
            raise EngineError(first_line, code)
        return content
