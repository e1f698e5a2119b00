"""KILL QUERY on an engine, when a client has gone or an operator says so."""

from __future__ import annotations

import asyncio
import logging
import uuid

from gateway.core.principal import Principal
from gateway.core.statement import Wire
from gateway.edge.contract import Backend
from gateway.sql.lexer import quote_string
from gateway.wire.clickhouse.query_string import encode
from gateway.wire.http.client import UpstreamError
from gateway.wire.http.message import BodyTooLarge

log = logging.getLogger(__name__)

_TRIES_AFTER_S = (0.0, 0.25, 0.75, 1.0)
_MAX_ANSWER = 64 * 1024


async def kill(
    backend: Backend, principal: Principal, engine_query_id: str, *, own_id: str, timeout_s: float
) -> bool:
    """Stop a query by the engine's id; True once the engine said that it knew it.

    Tried four times within two seconds: a query whose request was just sent may not be in system.processes
    yet, and a connection may be stale. `own_id` is the gateway's id of the query, for the log.
    """
    for delay in _TRIES_AFTER_S:
        await asyncio.sleep(delay)
        try:
            async with asyncio.timeout(timeout_s):
                if await _ask(backend, principal, engine_query_id, timeout_s):
                    return True
        except (UpstreamError, TimeoutError, BodyTooLarge) as error:
            log.warning("query %s: KILL on %s failed: %s", own_id, backend.name, error or "timed out")
    return False


async def _ask(backend: Backend, principal: Principal, engine_query_id: str, timeout_s: float) -> bool:
    target = f"/?default_format=TSV&query_id={encode(f'kill-{uuid.uuid4()}')}"
    text = f"KILL QUERY WHERE query_id = {quote_string(engine_query_id, Wire.CLICKHOUSE)} ASYNC"
    response = await backend.pool.request(
        "POST",
        target,
        backend.engine_headers(principal),
        text.encode("utf-8", "surrogateescape"),
        head_timeout_s=timeout_s,
        idempotent=True,
    )
    answer = await response.read(_MAX_ANSWER)
    if response.status != 200:
        log.warning("KILL on %s was answered with %d", backend.name, response.status)
        return False
    return bool(answer.strip())


async def is_running(backend: Backend, principal: Principal, engine_query_id: str, timeout_s: float) -> bool:
    """Whether the engine runs a query of that id now; False also where it cannot be asked."""
    quoted = quote_string(engine_query_id, Wire.CLICKHOUSE)
    text = f"SELECT count() FROM system.processes WHERE query_id = {quoted}"  # noqa: S608
    try:
        async with asyncio.timeout(timeout_s):
            response = await backend.pool.request(
                "POST",
                "/?default_format=TSV",
                backend.engine_headers(principal),
                text.encode("utf-8", "surrogateescape"),
                head_timeout_s=timeout_s,
                idempotent=True,
            )
            return response.status == 200 and (await response.read(_MAX_ANSWER)).strip() == b"1"
    except (UpstreamError, TimeoutError, BodyTooLarge):
        return False
