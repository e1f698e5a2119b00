from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from gateway.telemetry.server import TelemetryServer

STATE: dict[str, str | None] = {}


async def scrape() -> bytes:
    return b"gateway_up 1\n"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    STATE.clear()
    server = TelemetryServer(scrape, lambda: STATE)
    await server.start("127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.port}"
    await server.close()


async def get(url: str) -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, response.headers["Content-Type"], await response.text()


async def test_metrics_come_in_the_scrapers_format(url: str) -> None:
    assert await get(f"{url}/metrics") == (200, "text/plain; version=0.0.4; charset=utf-8", "gateway_up 1\n")


async def test_ready_says_what_is_missing(url: str) -> None:
    STATE.update({"audit": None, "configuration": None})
    assert (await get(f"{url}/readyz"))[0] == 200
    STATE["audit"] = "cannot be written: No space left on device"
    status, _, text = await get(f"{url}/readyz")
    assert (status, text) == (503, "audit: cannot be written: No space left on device\n")
    assert (await get(f"{url}/livez"))[0] == 200, "not ready is not dead"


async def test_nothing_else_is_there(url: str) -> None:
    assert (await get(f"{url}/"))[0] == 404
    assert (await get(f"{url}/v1/statement"))[0] == 404
