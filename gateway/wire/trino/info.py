"""`/v1/info` and `/v1/status` in our name, with the version of a Trino behind us: clients switch on it."""

from __future__ import annotations

import time
from typing import Any

import orjson

from gateway.core.decision import EngineKind
from gateway.edge.contract import Backend, Backends
from gateway.wire.http.client import UpstreamError
from gateway.wire.http.message import HttpError

# What the embedded engine is compatible with, and what is said while no Trino has answered yet.
FALLBACK_VERSION = "476"
_REFRESH_S = 60.0
_RETRY_S = 2.0
_TIMEOUT_S = 2.0
_LIMIT = 16 * 1024


class Info:
    """Answers about this server. The version is asked from a healthy backend once a minute at most."""

    def __init__(self, backends: Backends, environment: str, suffix: str) -> None:
        self._backends, self._environment, self._suffix = backends, environment, suffix
        self._version = FALLBACK_VERSION
        self._due = 0.0
        self._started = time.monotonic()

    async def server_info(self) -> bytes:
        """The document of `/v1/info`."""
        await self._refresh()
        return orjson.dumps(
            {
                "nodeVersion": {"version": self._version},
                "environment": self._environment,
                "coordinator": True,
                "coordinatorId": self._suffix,
                "starting": False,
                "uptime": self._uptime(),
            }
        )

    async def node_status(self) -> bytes:
        """The document of `/v1/status`: what health checks of other gateways look at."""
        await self._refresh()
        status: dict[str, Any] = {
            "nodeId": f"{self._environment}-{self._suffix}",
            "nodeVersion": {"version": self._version},
            "environment": self._environment,
            "coordinator": True,
            "uptime": self._uptime(),
        }
        return orjson.dumps(status)

    def _uptime(self) -> str:
        return f"{time.monotonic() - self._started:.2f}s"

    async def _refresh(self) -> None:
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _RETRY_S  # others go on with what is known meanwhile
        for backend in self._backends.all():
            if backend.kind is EngineKind.TRINO and backend.healthy:
                version = await _ask_version(backend)
                if version is not None:
                    self._version, self._due = version, time.monotonic() + _REFRESH_S
                    return


async def _ask_version(backend: Backend) -> str | None:
    try:
        response = await backend.pool.request("GET", "/v1/info", [], head_timeout_s=_TIMEOUT_S)
        async with response:
            body = await response.read(_LIMIT)
        match orjson.loads(body):
            case {"nodeVersion": {"version": str(version)}} if response.status == 200:
                return version
    except (UpstreamError, HttpError, orjson.JSONDecodeError):
        pass  # health is watched elsewhere; here another backend may answer
    return None
