"""Several proxies, restarts, drains and reloads: what clients and operators see."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trino

from tests.end_to_end.conftest import trino_backend
from tests.end_to_end.gateway_server import GatewayServer
from tests.real.addresses import TrinoAddress

pytestmark = pytest.mark.xdist_group("processes")


def call(method: str, url: str, body: bytes | None = None) -> dict[str, Any]:
    """One request on a connection of its own, so that it may reach any of the proxies."""
    request = urllib.request.Request(url, data=body, method=method, headers={"X-Trino-User": "anna"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return dict(json.loads(reply.read() or b"{}"))


@pytest.fixture(scope="module")
def two_proxies(
    tmp_path_factory: pytest.TempPathFactory, trino_server: TrinoAddress
) -> Iterator[GatewayServer]:
    server = GatewayServer(
        tmp_path_factory.mktemp("two"), [trino_backend(trino_server)], settings={"server": {"workers": 2}}
    )
    server.start()
    deadline = time.monotonic() + 60
    while len(set(re.findall(r'process="(proxy-\d)"', server.metrics()))) < 2:
        assert time.monotonic() < deadline, server.log
        time.sleep(0.2)
    yield server
    assert server.stop() == 0, server.log


def test_pages_reach_their_engine_through_any_proxy(two_proxies: GatewayServer) -> None:
    base = f"http://127.0.0.1:{two_proxies.trino_port}"
    for _ in range(10):
        document = call("POST", f"{base}/v1/statement", b"SELECT * FROM tpch.tiny.nation")
        query_id, rows = document["id"], []
        while "nextUri" in document:
            document = call("GET", document["nextUri"])
            assert document["id"] == query_id
            assert "error" not in document, document
            rows += document.get("data", [])
        assert len(rows) == 25


def test_what_the_gateway_answers_itself_is_reached_through_any_proxy(two_proxies: GatewayServer) -> None:
    base = f"http://127.0.0.1:{two_proxies.trino_port}"
    for _ in range(10):
        document = call("POST", f"{base}/v1/statement", b"SELECT " + b"(" * 3_000 + b"1" + b")" * 3_000)
        while "nextUri" in document:
            document = call("GET", document["nextUri"])
        assert document["error"]["errorName"], "refused by the guard, told by whichever proxy was asked"


def test_metrics_are_those_of_both_proxies(two_proxies: GatewayServer) -> None:
    text = two_proxies.metrics()
    up = dict(re.findall(r'gateway_process_up\{process="(proxy-\d)"\} (\d)', text))
    assert up == {"proxy-0": "1", "proxy-1": "1"}


@pytest.fixture
def gateway_of_its_own(tmp_path: Path, trino_server: TrinoAddress) -> Iterator[GatewayServer]:
    server = GatewayServer(tmp_path / "g", [trino_backend(trino_server)])
    yield server.start()
    server.stop()


def test_a_client_goes_on_after_the_gateway_was_killed_and_came_back(
    gateway_of_its_own: GatewayServer,
) -> None:
    server = gateway_of_its_own
    base = f"http://127.0.0.1:{server.trino_port}"
    document = call("POST", f"{base}/v1/statement", b"SELECT orderkey FROM tpch.tiny.lineitem")
    query_id, rows = document["id"], 0
    for _ in range(2):
        document = call("GET", document["nextUri"])
        rows += len(document.get("data", []))
    server.kill()
    server.start()
    while "nextUri" in document:
        document = call("GET", document["nextUri"])
        assert document["id"] == query_id
        assert "error" not in document, document
        rows += len(document.get("data", []))
    assert rows == 60_175


def test_sigterm_lets_a_running_query_finish_and_takes_no_new_one(gateway_of_its_own: GatewayServer) -> None:
    server = gateway_of_its_own
    base = f"http://127.0.0.1:{server.trino_port}"
    document = call("POST", f"{base}/v1/statement", b"SELECT count(*) FROM tpch.sf1.lineitem")
    document = call("GET", document["nextUri"])
    codes: list[int] = []
    stopping = threading.Thread(target=lambda: codes.append(server.stop()))
    stopping.start()
    deadline = time.monotonic() + 10
    while server.ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    refused = call("POST", f"{base}/v1/statement", b"SELECT 1")
    while "nextUri" in refused:
        refused = call("GET", refused["nextUri"])
    assert "shutting down" in refused["error"]["message"]
    rows: list[Any] = []
    while "nextUri" in document:
        document = call("GET", document["nextUri"])
        rows += document.get("data", [])
    assert rows == [[6_001_215]]
    stopping.join(30)
    assert codes == [0], server.log


def test_a_changed_file_is_taken_up_and_a_broken_one_is_not(gateway_of_its_own: GatewayServer) -> None:
    server = gateway_of_its_own

    def connects() -> bool:
        try:
            connection = trino.dbapi.connect(host="127.0.0.1", port=server.trino_port, user="anna")
            connection.cursor().execute("SELECT 1").fetchall()
        except trino.exceptions.HttpError:
            return False
        return True

    def eventually(condition: Any) -> None:
        deadline = time.monotonic() + 15
        while not condition():
            assert time.monotonic() < deadline, server.log
            time.sleep(0.1)

    assert connects()
    server.write(identity={"passwords": {"file": "users.yaml"}})  # there is no such file
    eventually(lambda: "gateway_config_stale 1" in server.metrics())
    assert connects(), "the last good settings stay"
    (server.directory / "users.yaml").write_text("users: []\n")
    server.write(identity={"passwords": {"file": "users.yaml"}})
    eventually(lambda: not connects())
    assert "gateway_config_stale 0" in server.metrics()
