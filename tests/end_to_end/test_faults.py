"""What clients and operators see when something that the gateway depends on breaks: engines, disks, processes."""

from __future__ import annotations

import json
import os
import resource
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.demo.real import ClickHouseServer, RealEngines, TrinoServer
from gateway.wire.http.client import STALE_S
from tests.end_to_end.conftest import clickhouse_backend, trino_backend
from tests.end_to_end.gateway_server import GatewayServer, free_port
from tests.end_to_end.talking import (
    PATIENCE_S,
    Answer,
    Told,
    ask,
    audit,
    clickhouse,
    code_of,
    ends,
    eventually,
    first_data,
    gauge,
    path_of,
    raw,
    received,
    resident_mb,
    split,
    statuses,
    trino_pages,
    trino_post,
    trino_run,
)
from tests.real.addresses import ClickHouseAddress, TrinoAddress

pytestmark = pytest.mark.xdist_group("faults")

VICTIM = {"X-Trino-User": "anna", "X-Trino-Source": "victim"}
EITHER = {"X-Trino-User": "anna", "X-Trino-Source": "either"}
CH_VICTIM = {"User-Agent": "ch-victim"}

SILENT = "SELECT sum(sleepEachRow(1)) FROM numbers(30) SETTINGS max_block_size = 1"
LONG_TRINO = "SELECT count(*) AS c FROM tpch.sf1000.lineitem"
LARGE_TRINO = "SELECT * FROM tpch.sf100.lineitem"
ROUTING = {
    "version": 1,
    "rules": [
        {"name": "victim", "when": {"sources": ["victim"]}, "group": "victims"},
        {"name": "either", "when": {"sources": ["either"]}, "group": "victims", "fallback": ["trino"]},
        {"name": "ch", "when": {"sources": ["ch-victim*"]}, "group": "ch-victims"},
    ],
}


@dataclass
class House:
    """One gateway before engines that may be killed ("victims") and engines that others share."""

    gateway: GatewayServer
    trino: TrinoServer
    clickhouse: ClickHouseServer
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16))

    @property
    def pid(self) -> int:
        assert self.gateway.process is not None
        return self.gateway.process.pid

    def up(self, backend: str) -> bool:
        return gauge(self.gateway, f'gateway_backend_up{{backend="{backend}"}}') == 1

    def running(self, backend: str) -> float:
        return gauge(self.gateway, f'gateway_backend_running{{backend="{backend}"}}')

    def asks_trino(self, sql: str, headers: dict[str, str]) -> Future[Told]:
        return self.pool.submit(trino_run, self.gateway.trino_port, sql, headers)

    def asks_clickhouse(self, sql: str, headers: dict[str, str] | None = None) -> Future[Answer]:
        return self.pool.submit(clickhouse, self.gateway.clickhouse_port, sql, {}, headers or {})


def victim_backends(engines: RealEngines) -> tuple[list[dict[str, Any]], TrinoServer, ClickHouseServer]:
    trino = engines.start_trino(name="victim-trino", quick_start=True, memory="700M")
    ch = engines.start_clickhouse(name="victim-clickhouse", gateway_password="victims-own-secret")
    credentials = {"user": ch.user, "password": {"env": "TEST_VICTIM_PASSWORD"}}
    backends: list[dict[str, Any]] = [
        {"name": "trino-v", "engine": "trino", "url": trino.url, "group": "victims"},
        {
            "name": "clickhouse-v",
            "engine": "clickhouse",
            "url": ch.url,
            "group": "ch-victims",
            "user_mode": "service",
            "credentials": credentials,
        },
    ]
    return backends, trino, ch


@pytest.fixture(scope="module")
def house(
    tmp_path_factory: pytest.TempPathFactory, trino_server: TrinoAddress, clickhouse_server: ClickHouseAddress
) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "rules").mkdir()
    (folder / "rules" / "routing.yaml").write_text(json.dumps(ROUTING))
    with RealEngines(folder / "engines") as engines:
        victims, trino, ch = victim_backends(engines)
        probes = {"interval": "500ms", "timeout": "2s", "failures": 2}
        shared = [
            {**trino_backend(trino_server), "group": "trino"},
            {**clickhouse_backend(clickhouse_server), "group": "clickhouse"},
        ]
        groups = {
            "trino": {"wire": "trino", "default": True},
            "victims": {"wire": "trino"},
            "clickhouse": {"wire": "clickhouse", "default": True},
            "ch-victims": {"wire": "clickhouse"},
        }
        limits = {
            "engine_connect_timeout": "3s",
            "engine_head_timeout": "8s",
            "engine_idle_timeout": "8s",
            "client_write_timeout": "2s",
            "request_head_timeout": "3s",
            "per_principal_concurrent": 1000,
        }
        server = GatewayServer(
            folder / "gateway",
            [{**backend, "health": probes} for backend in (*shared, *victims)],
            settings={"groups": groups, "rules": {"directory": str(folder / "rules")}, "limits": limits},
            environment={
                "TEST_CLICKHOUSE_PASSWORD": clickhouse_server.password,
                "TEST_VICTIM_PASSWORD": ch.password,
            },
        )
        server.start()
        try:
            found = House(server, trino, ch)
            for name in ("trino-a", "trino-v", "clickhouse-a", "clickhouse-v"):
                eventually(partial(found.up, name), f"{name} is not up")
            yield found
        finally:
            server.stop()


def end_of(house: House, engine_or_gateway_id: str) -> dict[str, Any]:
    """The audit's record of a query's end."""
    record = eventually(lambda: ends(house.gateway).get(engine_or_gateway_id), "the query was never settled")
    return dict(record)


# --- hung engines (before they are killed, below) -----------------------------------------------------------


def test_a_hung_trino_is_found_out_and_its_query_ends_by_bounds(house: House) -> None:
    port = house.gateway.trino_port
    first = trino_post(port, LONG_TRINO, VICTIM).json()
    page = ask(port, "GET", path_of(first["nextUri"])).json()
    house.trino.pause()
    try:
        hung = house.pool.submit(lambda: list(trino_pages(port, page)))
        eventually(lambda: not house.up("trino-v"), "the hung engine still counts as up")
        refused = trino_run(port, "SELECT 1", VICTIM)
        assert refused.error_name == "NO_NODES_AVAILABLE"
        assert "No healthy backend in group `victims`" in refused.message
        assert trino_run(port, "SELECT 1", EITHER).rows == [[1]], "a rule with a fallback goes elsewhere"
        assert trino_run(port, "SELECT 1").rows == [[1]]
        _, told = hung.result(PATIENCE_S)[-1]
        assert told["error"]["errorName"] == "PAGE_TRANSPORT_TIMEOUT"
        assert "trino-v" in told["error"]["message"]
        assert end_of(house, first["id"])["outcome"] == "failed"
        eventually(lambda: house.running("trino-v") == 0, "its slot is not free")
    finally:
        house.trino.resume()
    eventually(lambda: house.up("trino-v"), "the engine goes on, but stays down for the gateway")


def test_a_hung_clickhouse_is_found_out_and_its_query_ends_by_bounds(house: House) -> None:
    asked = house.asks_clickhouse(SILENT, CH_VICTIM)
    eventually(lambda: house.running("clickhouse-v") == 1)
    house.clickhouse.pause()
    try:
        eventually(lambda: not house.up("clickhouse-v"), "the hung engine still counts as up")
        refused = clickhouse(house.gateway.clickhouse_port, "SELECT 1", {}, CH_VICTIM)
        assert code_of(refused) == "279"
        assert b"No healthy backend in group `ch-victims`" in refused.body
        assert clickhouse(house.gateway.clickhouse_port, "SELECT 1").body == b"1\n"
        answer = asked.result(PATIENCE_S)
        assert code_of(answer) == "159"
        assert b"the engine gave no answer within 8 s" in answer.body
        end = end_of(house, answer.header("X-Gateway-Query-Id") or "")
        assert (end["outcome"], end["error_code"]) == ("failed", "159")
        eventually(lambda: house.running("clickhouse-v") == 0, "its slot is not free")
    finally:
        house.clickhouse.resume()
    eventually(lambda: house.up("clickhouse-v"))


# --- clients that misbehave ---------------------------------------------------------------------------------


def test_a_client_that_vanishes_takes_its_query_along(
    house: House, clickhouse_server: ClickHouseAddress
) -> None:
    marker = f"gone_{secrets.token_hex(6)}"
    body = f"SELECT sleepEachRow(1) AS {marker} FROM numbers(100) SETTINGS max_block_size = 1".encode()
    line = socket.create_connection(("127.0.0.1", house.gateway.clickhouse_port), PATIENCE_S)
    line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    eventually(lambda: processes(clickhouse_server, marker) == 1)
    line.close()
    eventually(
        lambda: processes(clickhouse_server, marker) == 0, "the query goes on without its client", within=10
    )


def processes(server: ClickHouseAddress, marker: str) -> int:
    """Queries with this mark that run on the engine now."""
    sql = (
        f"SELECT count() FROM system.processes WHERE query LIKE '%{marker}%' AND query NOT LIKE '%processes%'"
    )
    return int(direct(server, sql))


def direct(server: ClickHouseAddress | ClickHouseServer, sql: str) -> bytes:
    login = {"X-ClickHouse-User": server.user, "X-ClickHouse-Key": server.password}
    answer = ask(server.port, "POST", "/", login, sql.encode())
    assert answer.status == 200, answer
    return answer.body


def test_a_slow_reader_of_clickhouse_costs_no_memory_and_is_cut_when_it_stops(
    house: House, clickhouse_server: ClickHouseAddress
) -> None:
    marker = f"slow_{secrets.token_hex(6)}"
    sql = f"SELECT repeat('x', 1000) AS {marker} FROM numbers(10000000)"
    before = resident_mb(house.pid)
    with slow_line(house.gateway.clickhouse_port) as line:
        body = sql.encode()
        line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        read_slowly(line, seconds=4)
        assert processes(clickhouse_server, marker) == 1, "the engine waits for the slow client"
        assert resident_mb(house.pid) - before < 32
        eventually(lambda: processes(clickhouse_server, marker) == 0, "it waits for ever", within=30)
    assert resident_mb(house.pid) - before < 32


def test_slow_readers_of_trino_cost_no_memory(house: House) -> None:
    port = house.gateway.trino_port
    document = first_data(port, trino_post(port, LARGE_TRINO, {"X-Trino-User": "anna"}))
    query_id = document["id"]
    before = resident_mb(house.pid)
    lines = [slow_line(port) for _ in range(60)]
    try:
        for line in lines:  # the same page of about 1 MB, so it may be asked for again and again
            target = path_of(document["nextUri"])
            line.sendall(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        for line in lines:
            assert line.recv(1024).startswith(b"HTTP/1.1 200")
        assert resident_mb(house.pid) - before < 32, "pages wait in the gateway for their slow readers"
        assert trino_run(port, "SELECT 1").rows == [[1]]
    finally:
        for line in lines:
            line.close()
    assert ask(port, "DELETE", path_of(document["nextUri"])).status == 204
    assert end_of(house, query_id)["outcome"] == "cancelled"


def slow_line(port: int) -> socket.socket:
    """A connection whose kernel holds as little as possible for us."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.settimeout(PATIENCE_S)
    line.connect(("127.0.0.1", port))
    return line


def read_slowly(line: socket.socket, seconds: int) -> None:
    for _ in range(seconds):
        assert line.recv(1024)
        time.sleep(1)


def test_a_half_closed_client_still_gets_its_answer(house: House) -> None:
    with socket.create_connection(("127.0.0.1", house.gateway.clickhouse_port), PATIENCE_S) as line:
        line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 8\r\n\r\nSELECT 1")
        line.shutdown(socket.SHUT_WR)
        said = b""
        while piece := line.recv(65_536):
            said += piece
    assert said.startswith(b"HTTP/1.1 200")
    assert said.endswith((b"\r\n\r\n1\n", b"\r\n2\r\n1\n\r\n0\r\n\r\n")), said


def test_an_upload_that_breaks_off_leaves_nothing_half_done(
    house: House, clickhouse_server: ClickHouseAddress
) -> None:
    table = f"stall_{secrets.token_hex(6)}"
    direct(clickhouse_server, f"CREATE TABLE {table} (a UInt64) ENGINE = Memory")
    try:
        line = socket.create_connection(("127.0.0.1", house.gateway.clickhouse_port), PATIENCE_S)
        target = f"/?query=INSERT%20INTO%20{table}%20FORMAT%20TSV"
        line.sendall(f"POST {target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        line.sendall(b"".join([b"40000\r\n" + b"1\n" * 0x20000 + b"\r\n"] * 4))
        eventually(lambda: processes(clickhouse_server, table) == 1)
        line.close()
        eventually(
            lambda: processes(clickhouse_server, table) == 0, "the upload hangs on the engine", within=30
        )
        assert direct(clickhouse_server, f"SELECT count() FROM {table}") == b"0\n"
    finally:
        direct(clickhouse_server, f"DROP TABLE {table}")


def test_a_request_that_never_ends_its_head_is_cut(house: House) -> None:
    for port in (house.gateway.trino_port, house.gateway.clickhouse_port):
        said = raw(port, b"POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ", wait=15)
        assert statuses(said) in ([], [408])


def test_a_thousand_idle_clients_cost_little_and_hold_up_nobody(house: House) -> None:
    before = resident_mb(house.pid)
    idle = [
        socket.create_connection(("127.0.0.1", house.gateway.trino_port), PATIENCE_S) for _ in range(1000)
    ]
    try:
        request = b"GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n"
        for line in idle:
            line.sendall(request)
        for line in idle:
            assert line.recv(4096).startswith(b"HTTP/1.1 200")
        took = time.monotonic()
        assert trino_run(house.gateway.trino_port, "SELECT 1").rows == [[1]]
        assert clickhouse(house.gateway.clickhouse_port, "SELECT 1").body == b"1\n"
        assert time.monotonic() - took < 10
        assert resident_mb(house.pid) - before < 40
        eventually(lambda: gauge(house.gateway, 'gateway_connections{wire="trino"}') >= 1000)
    finally:
        for line in idle:
            line.close()
    eventually(lambda: gauge(house.gateway, 'gateway_connections{wire="trino"}') < 50)


CHUNKED = b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
SMUGGLED = {
    "both lengths": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n",
    "length with sign": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n",
    "length as list": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 0\r\n\r\n",
    "folded length": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n 0\r\n\r\n",
    "folded encoding": b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "encoding twice": CHUNKED[:-2] + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "encoding misspelt": b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "space before colon": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length : 0\r\n\r\n",
    "chunk size of words": CHUNKED + b"zz\r\n\r\n0\r\n\r\n",
    "chunk size with 0x": CHUNKED + b"0x0\r\n\r\n",
    "chunk size overflows": CHUNKED + b"ffffffffffffffff1\r\na\r\n0\r\n\r\n",
    "chunk longer than said": CHUNKED + b"1\r\nabc\r\n0\r\n\r\n",
    "bare line feeds": b"POST %s HTTP/1.1\nHost: x\nContent-Length: 0\n\n",
    "two hosts": b"POST %s HTTP/1.1\r\nHost: x\r\nHost: y\r\nContent-Length: 0\r\n\r\n",
    "nul in a header": b"POST %s HTTP/1.1\r\nHost: x\r\nX-A: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "http 1.0 chunked": b"POST %s HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}
SECOND = {
    "trino": b"GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n",
    "clickhouse": b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("wire", ["trino", "clickhouse"])
@pytest.mark.parametrize("name", sorted(SMUGGLED))
def test_a_smuggled_request_gets_400_and_no_second_answer(house: House, wire: str, name: str) -> None:
    port = house.gateway.trino_port if wire == "trino" else house.gateway.clickhouse_port
    path = b"/v1/statement" if wire == "trino" else b"/"
    decided = sum(record["record"] == "decided" for record in audit(house.gateway))
    said = raw(port, SMUGGLED[name] % path + SECOND[wire], wait=PATIENCE_S)
    assert statuses(said) == [400], said
    assert sum(record["record"] == "decided" for record in audit(house.gateway)) == decided


# --- killed engines -----------------------------------------------------------------------------------------


def test_a_killed_clickhouse_ends_its_queries_with_a_clear_error_and_no_others(house: House) -> None:
    began = threading.Event()
    streams = house.pool.submit(_read_until_cut, house.gateway.clickhouse_port, began)
    assert began.wait(PATIENCE_S)
    other = house.asks_clickhouse(
        "SELECT sleepEachRow(0.1) FROM numbers(40) FORMAT Null SETTINGS max_block_size = 1"
    )
    waits = house.asks_clickhouse(SILENT, CH_VICTIM)
    writes = house.asks_clickhouse(
        "CREATE TABLE t ENGINE = Memory AS SELECT sleepEachRow(1) FROM numbers(30) SETTINGS max_block_size = 1",
        CH_VICTIM,
    )
    eventually(lambda: house.running("clickhouse-v") == 3)
    time.sleep(
        2 * STALE_S
    )  # before, a lost connection counts as one that had been closed, and a read is tried again
    house.clickhouse.kill()
    answer = waits.result(PATIENCE_S)
    assert code_of(answer) == "210", answer
    assert b"The connection to the engine was lost before it answered; run it again" in answer.body
    assert end_of(house, answer.header("X-Gateway-Query-Id") or "")["outcome"] == "failed"
    answer = writes.result(PATIENCE_S)
    assert code_of(answer) == "210", answer
    assert b"whether the statement took effect is unknown" in answer.body
    assert end_of(house, answer.header("X-Gateway-Query-Id") or "")["outcome"] == "unknown"
    said = streams.result(PATIENCE_S)
    assert said.startswith(b"HTTP/1.1 200")
    assert not said.endswith(b"0\r\n\r\n"), "a cut answer must not look whole"
    assert other.result(PATIENCE_S).status == 200, "queries on other backends go on"
    eventually(lambda: house.running("clickhouse-v") == 0, "its slots are not free")
    eventually(lambda: not house.up("clickhouse-v"))


def _read_until_cut(port: int, began: threading.Event) -> bytes:
    """The start and the last bytes of a large answer, however it ended."""
    body = b"SELECT repeat('x', 1000) FROM numbers(100000000)"
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as line:
        head = (
            b"POST / HTTP/1.1\r\nHost: x\r\nUser-Agent: ch-victim\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            % len(body)
        )
        line.sendall(head + body)
        first = last = b""
        try:
            while piece := line.recv(65_536):
                first, last = first or piece[:200], (last + piece)[-200:]
                began.set()
                time.sleep(len(piece) / 10e6)
        except ConnectionError:
            pass
        return first + last


def test_a_killed_trino_ends_its_queries_with_a_clear_error_and_no_others(house: House) -> None:
    port = house.gateway.trino_port
    other = house.asks_trino("SELECT count(*) FROM tpch.sf1.lineitem", {"X-Trino-User": "anna"})
    reads = trino_post(port, LONG_TRINO, VICTIM).json()
    writes = trino_post(
        port, f"CREATE TABLE memory.default.t{secrets.token_hex(4)} AS {LONG_TRINO}", VICTIM
    ).json()
    pages = []
    for document in (reads, writes):
        page = ask(port, "GET", path_of(document["nextUri"])).json()
        while page["stats"]["state"] in ("QUEUED", "PLANNING", "STARTING"):
            page = ask(port, "GET", path_of(page["nextUri"])).json()
        assert page["stats"]["state"] == "RUNNING", page
        pages.append(page)
    house.trino.kill()
    told = [list(trino_pages(port, page))[-1][1] for page in pages]
    for document, words, outcome in (
        (told[0], "Run the statement again", "failed"),
        (told[1], "Whether the statement took effect is unknown", "unknown"),
    ):
        assert document["error"]["errorName"] == "REMOTE_HOST_GONE"
        assert "Backend trino-v" in document["error"]["message"]
        assert words in document["error"]["message"]
        assert end_of(house, document["id"])["outcome"] == outcome
    assert other.result(PATIENCE_S).rows == [[6_001_215]], "queries on other backends go on"
    eventually(lambda: house.running("trino-v") == 0, "its slots are not free")
    eventually(lambda: not house.up("trino-v"))
    assert trino_run(port, "SELECT 1", EITHER).rows == [[1]]


# --- limits ---------------------------------------------------------------------------------------------------


@dataclass
class Small:
    """A gateway of two proxies with few slots, and an audit that must be written."""

    gateway: GatewayServer
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8))

    def proxies(self) -> dict[int, int]:
        """Process id by number of the proxy."""
        assert self.gateway.process is not None
        found = {}
        for children in Path(f"/proc/{self.gateway.process.pid}/task").glob("*/children"):
            for pid in map(int, children.read_text().split()):
                environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                for value in environment:
                    if value.startswith(b"GATEWAY_PROCESS="):
                        found[int(value.split(b"=")[1].split(b"/")[0])] = pid
        return found


@pytest.fixture(scope="module")
def small(
    tmp_path_factory: pytest.TempPathFactory, trino_server: TrinoAddress, clickhouse_server: ClickHouseAddress
) -> Iterator[Small]:
    server = GatewayServer(
        tmp_path_factory.mktemp("small") / "gateway",
        [
            {**trino_backend(trino_server), "max_concurrent": 2},
            {**clickhouse_backend(clickhouse_server), "max_concurrent": 2, "max_connections": 3},
        ],
        settings={
            "server": {"workers": 2, "drain_seconds": 5},
            "limits": {"queued": 1, "queue_seconds": 8},
            "audit": {"on_failure": "refuse"},
        },
        environment={"TEST_CLICKHOUSE_PASSWORD": clickhouse_server.password},
    )
    server.start()
    try:
        found = Small(server)
        eventually(lambda: 'gateway_process_up{process="proxy-1"} 1' in server.metrics())
        eventually(lambda: server.metrics().count("gateway_backend_up{") >= 2)
        yield found
    finally:
        server.stop()


HOLDS = "SELECT sum(sleepEachRow(1)) FROM numbers(16) SETTINGS max_block_size = 1"


def test_full_slots_queue_then_refuse_in_each_protocols_words(small: Small) -> None:
    gateway = small.gateway
    port = gateway.clickhouse_port
    held = [small.pool.submit(clickhouse, port, HOLDS) for _ in range(2)]
    slots = 'gateway_backend_running{backend="clickhouse-a"}'
    eventually(lambda: gauge(gateway, slots) == 2)
    waits = small.pool.submit(clickhouse, port, "SELECT 7")
    eventually(lambda: gauge(gateway, 'gateway_queue_depth{group="clickhouse"}') == 1)
    full = clickhouse(port, "SELECT 8")
    assert (full.status, code_of(full)) == (500, "202"), full
    assert b"The queue of group `clickhouse` is full" in full.body
    waited = waits.result(PATIENCE_S)
    assert code_of(waited) == "159"
    assert b"no slot came free within 8 s" in waited.body
    assert [answer.result(PATIENCE_S).status for answer in held] == [200, 200]
    eventually(lambda: gauge(gateway, slots) == 0, "slots of ended queries are not free")

    documents = []
    for _ in range(2):
        document = trino_post(gateway.trino_port, LARGE_TRINO).json()
        documents.append(ask(gateway.trino_port, "GET", path_of(document["nextUri"])).json())
    waiting = small.pool.submit(trino_run, gateway.trino_port, "SELECT 7")
    eventually(lambda: gauge(gateway, 'gateway_queue_depth{group="trino"}') == 1)
    told = trino_run(gateway.trino_port, "SELECT 8")
    assert told.error_name == "QUERY_QUEUE_FULL"
    assert "The queue of group `trino` is full" in told.message
    ask(gateway.trino_port, "DELETE", path_of(documents[0]["nextUri"]))
    waited_for = waiting.result(PATIENCE_S)
    assert waited_for.rows == [[7]], f"a freed slot does not go to who waits: {waited_for.message}"
    ask(gateway.trino_port, "DELETE", path_of(documents[1]["nextUri"]))
    eventually(lambda: gauge(gateway, 'gateway_backend_running{backend="trino-a"}') == 0)


# --- the disk ---------------------------------------------------------------------------------------------------


def allow_writing(pid: int, allowed: bool) -> None:
    """No file of this process may grow any more: what a full disk does to it, and only to it."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if allowed else 0, hard))


def test_without_audit_both_protocols_refuse_and_go_on_when_the_disk_is_back(small: Small) -> None:
    gateway = small.gateway
    pids = list(small.proxies().values())
    assert len(pids) == 2
    for pid in pids:
        allow_writing(pid, False)
    try:
        for _ in range(4):
            answer = clickhouse(gateway.clickhouse_port, "SELECT 1")
            assert code_of(answer) == "210", answer
            assert b"The audit log cannot be written" in answer.body
            told = trino_run(gateway.trino_port, "SELECT 1")
            assert told.error is not None
            assert "The audit log cannot be written" in told.message
        eventually(lambda: not gateway.ready(), "/readyz does not say it")
        eventually(lambda: gauge(gateway, 'gateway_audit_healthy{process="proxy-0"}') == 0)
    finally:
        for pid in pids:
            allow_writing(pid, True)
    eventually(lambda: clickhouse(gateway.clickhouse_port, "SELECT 1").body == b"1\n", "it stays refused")
    eventually(lambda: trino_run(gateway.trino_port, "SELECT 1").rows == [[1]])
    eventually(gateway.ready)


# --- a process ----------------------------------------------------------------------------------------------


def test_a_killed_proxy_gives_its_slots_back_and_is_started_again(small: Small) -> None:
    gateway = small.gateway
    slots = 'gateway_backend_running{backend="clickhouse-a"}'
    held = [small.pool.submit(clickhouse, gateway.clickhouse_port, HOLDS) for _ in range(2)]
    eventually(lambda: gauge(gateway, slots) == 2)
    before = small.proxies()
    os.kill(before[1], signal.SIGKILL)
    # Whichever proxy had them: a new query gets a slot at the latest when the two are through, and others are served.
    eventually(lambda: trino_served(gateway.trino_port), "the other proxy does not serve")
    eventually(lambda: small.proxies().get(1, before[1]) != before[1], "it was not started again")
    for future in held:
        future.exception(PATIENCE_S)
    eventually(lambda: clickhouse_served(gateway.clickhouse_port), "slots of the killed proxy are lost")
    eventually(lambda: 'gateway_process_up{process="proxy-1"} 1' in gateway.metrics())
    lost = sum(future.exception() is not None for future in held)
    if lost:
        eventually(lambda: len(in_history(gateway, "history?outcome=unknown").get("queries", [])) >= lost)


def trino_served(port: int) -> bool:
    try:
        return trino_run(port, "SELECT 1").rows == [[1]]
    except OSError:
        return False  # the connection went to the one that is gone


def clickhouse_served(port: int) -> bool:
    try:
        return clickhouse(port, "SELECT 1").body == b"1\n"
    except OSError:
        return False


# --- what is not there at all --------------------------------------------------------------------------------


def test_a_gateway_whose_store_keys_and_disk_are_gone_still_serves(
    tmp_path: Path, clickhouse_server: ClickHouseAddress
) -> None:
    """PostgreSQL and the issuer of tokens do not answer from the start; then the audit's disk fails too."""
    nobody = free_port()
    issuer = {
        "issuer": "https://issuer.test",
        "audience": "gateway",
        "jwks_url": f"http://127.0.0.1:{nobody}/keys",
    }
    server = GatewayServer(
        tmp_path / "gateway",
        [clickhouse_backend(clickhouse_server)],
        settings={
            "store": {"url": f"postgresql://gw@127.0.0.1:{nobody}/gw"},
            "audit": {"on_failure": "continue"},
            "identity": {"anonymous": {"enabled": True}, "jwt": [issuer]},
        },
        environment={"TEST_CLICKHOUSE_PASSWORD": clickhouse_server.password},
    )
    server.start()
    try:
        port = server.clickhouse_port
        eventually(lambda: clickhouse(port, "SELECT 1").body == b"1\n")
        eventually(lambda: gauge(server, 'gateway_dependency_up{dependency="store"}') == 0)
        token = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0IiwiYXVkIjoiZ2F0ZXdheSJ9.AAAA"
        refused = clickhouse(port, "SELECT 1", {}, {"Authorization": f"Bearer {token}"})
        assert refused.status in (401, 403)
        assert clickhouse(port, "SELECT 1").body == b"1\n", "others come in while the keys are away"
        assert server.process is not None
        allow_writing(server.process.pid, False)
        for number in range(3):
            assert clickhouse(port, f"SELECT {number} + 100").body == b"%d\n" % (number + 100)
        eventually(lambda: sum_of(server, "gateway_audit_unaudited_total") >= 3)
        allow_writing(server.process.pid, True)
        eventually(lambda: clickhouse(port, "SELECT 200").body == b"200\n" and healthy(server))
        written = eventually(lambda: [r for r in audit(server) if r["record"] == "decided"])
        assert len(written) >= 6, "what waited in memory was not written when the disk was back"
    finally:
        assert server.stop() == 0, server.log[-2000:]


def sum_of(server: GatewayServer, metric: str) -> float:
    lines = [line for line in server.metrics().splitlines() if line.startswith(metric)]
    return sum(float(line.split()[-1]) for line in lines)


def healthy(server: GatewayServer) -> bool:
    return sum_of(server, "gateway_audit_healthy") >= 1


def test_history_of_a_time_without_store_comes_later_from_the_audit(
    tmp_path: Path, clickhouse_server: ClickHouseAddress, own_engines: RealEngines
) -> None:
    port = free_port()
    server = GatewayServer(
        tmp_path / "gateway",
        [clickhouse_backend(clickhouse_server)],
        settings={
            "store": {
                "url": f"postgresql://gw@127.0.0.1:{port}/gw",
                "password": {"env": "TEST_STORE_PASSWORD"},
            }
        },
        environment={"TEST_CLICKHOUSE_PASSWORD": clickhouse_server.password, "TEST_STORE_PASSWORD": "gw"},
    )
    server.start()
    try:
        answer = eventually(
            lambda: a if (a := clickhouse(server.clickhouse_port, "SELECT 4711")).status == 200 else None
        )
        own_engines.start_postgres(port=port)
        query_id = answer.header("X-Gateway-Query-Id")
        eventually(
            lambda: outcome_in_history(server, query_id) == "succeeded", "its history never came", within=90
        )
    finally:
        server.stop()


def in_history(server: GatewayServer, path: str) -> dict[str, Any]:
    """What the admin API says under /v1/queries/; nothing where it says no."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(PATIENCE_S)
        line.connect(str(server.directory / "admin.sock"))
        line.sendall(f"GET /v1/queries/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, body, _ = split(received(line))
    return dict(json.loads(body)) if b" 200 " in head.split(b"\r\n")[0] else {}


def outcome_in_history(server: GatewayServer, query_id: str | None) -> str | None:
    """The outcome of a query; None while the store knows nothing of it."""
    document = in_history(server, str(query_id))
    return document["outcome"] if document.get("process") else None
