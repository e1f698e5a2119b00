"""A gateway in front of the real Trino and ClickHouse, one per worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.gateway_server import GatewayServer
from tests.real.addresses import ClickHouseAddress, TrinoAddress


def trino_backend(server: TrinoAddress, name: str = "trino-a") -> dict[str, Any]:
    """The backend entry of a real Trino."""
    forwarded = server.process_forwarded
    return {"name": name, "engine": "trino", "url": server.url, "process_forwarded": forwarded}


def clickhouse_backend(server: ClickHouseAddress, name: str = "clickhouse-a") -> dict[str, Any]:
    """The backend entry of a real ClickHouse; its password comes from the environment."""
    credentials = {"user": server.user, "password": {"env": "TEST_CLICKHOUSE_PASSWORD"}}
    return {
        "name": name,
        "engine": "clickhouse",
        "url": server.url,
        "user_mode": "service",
        "credentials": credentials,
    }


@pytest.fixture(scope="session")
def gateway(
    tmp_path_factory: pytest.TempPathFactory,
    trino_server: TrinoAddress,
    clickhouse_server: ClickHouseAddress,
) -> Iterator[GatewayServer]:
    """Open to everyone, no policies: what must behave exactly as the engines themselves."""
    server = GatewayServer(
        tmp_path_factory.mktemp("gateway"),
        [trino_backend(trino_server), clickhouse_backend(clickhouse_server)],
        # Some clients leave results unread; nobody will come back for those of a test that has ended.
        settings={"server": {"drain_seconds": 2}},
        environment={"TEST_CLICKHOUSE_PASSWORD": clickhouse_server.password},
    )
    server.start()
    yield server
    server.stop()
