from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.admin.client import AdminClient, Target
from gateway.admin.server import AdminServer
from tests.admin.fake_gateway import FakeGateway

TOKEN = "a-token-of-at-least-24-characters"


@dataclass(frozen=True)
class Running:
    gateway: FakeGateway
    socket: Path
    url: str

    @property
    def local(self) -> Target:
        return Target(socket=self.socket)

    @property
    def remote(self) -> Target:
        return Target(url=self.url, token=TOKEN)


@asynccontextmanager
async def serve(tmp_path: Path) -> AsyncIterator[Running]:
    """A server on both kinds of address."""
    gateway = await FakeGateway.open(tmp_path)
    server = AdminServer(gateway)
    await server.start_unix(tmp_path / "run" / "admin.sock")
    await server.start_tcp("127.0.0.1", 0, {"ops": TOKEN, "other": TOKEN[::-1]})
    yield Running(gateway, tmp_path / "run" / "admin.sock", f"http://127.0.0.1:{server.port}")
    await server.close()
    await gateway.close()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with serve(tmp_path) as served:
        yield served


@pytest.fixture(params=["socket", "token"])
async def client(request: pytest.FixtureRequest, running: Running) -> AsyncIterator[AdminClient]:
    """The client over each kind of address."""
    async with AdminClient(running.local if request.param == "socket" else running.remote) as opened:
        yield opened
