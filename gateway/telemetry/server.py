"""`/metrics`, `/livez` and `/readyz` on a port of their own, apart from what clients can reach."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from gateway.telemetry.merge import CONTENT_TYPE

Readiness = Callable[[], Mapping[str, str | None]]
"""Name of each thing that must be well for new queries, and what is wrong with it (None: it is well)."""


class TelemetryServer:
    """Answers the scraper and the orchestrator. Read only, no secrets, no names of people."""

    def __init__(self, scrape: Callable[[], Awaitable[bytes]], readiness: Readiness) -> None:
        self._scrape = scrape
        self._readiness = readiness
        self._runner: web.AppRunner | None = None
        self.port = 0

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1024)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        return app

    async def start(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        """Raises OSError when the address is taken."""
        self._runner = web.AppRunner(self.app(), access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, ssl_context=tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=await self._scrape(), headers={"Content-Type": CONTENT_TYPE})

    async def _livez(self, request: web.Request) -> web.Response:
        """The process runs and its loop turns: only then is there an answer at all."""
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        """200 when new queries are welcome; 503 and the reasons, a line each, when they are not."""
        wrong = {name: problem for name, problem in self._readiness().items() if problem is not None}
        if not wrong:
            return web.Response(text="ready\n")
        text = "".join(f"{name}: {problem}\n" for name, problem in sorted(wrong.items()))
        return web.Response(text=text, status=503)
