"""The demo: an energy market behind both wires, on embedded engines or on real ones, in a folder of its own."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from gateway.core.decision import EngineKind
from gateway.demo import data
from gateway.demo.real import RealEngines
from gateway.demo.tour import Doors
from gateway.engines.clickhouse import ClickHouseClient
from gateway.engines.embedded import EmbeddedEngine
from gateway.engines.trino import TrinoClient
from gateway.identity.passwords import hash_password
from gateway.runtime.admin import AdminDoors
from gateway.runtime.process import GatewayProcess
from gateway.runtime.worker import WorkerProcess
from gateway.settings import load_settings
from gateway.wire.http.client import UpstreamPool

SEED_TIMEOUT_S = 300.0
MAX_TEMPORARY = 44
"""Characters: with the demo's own part, 103, which is what macOS allows a socket; Linux allows four more."""
CATALOG = "energy"
REAL_CATALOG = "memory"
"""A real Trino shows the market in its memory connector; a catalog of one's own would need a lake."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DemoUser:
    """A person of the demo; the password is shown on the screen."""

    name: str
    groups: tuple[str, ...]
    what: str

    @property
    def password(self) -> str:
        return f"{self.name}-demo"


USERS = (
    DemoUser("anna", ("analysts", "desk-west"), "analyst of the western desk"),
    DemoUser("pat", ("partners",), "partner who may see CAISO only, once policies are on"),
    DemoUser("omar", ("operators",), "operator"),
)


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Ports are preferences: a taken one is replaced by a free one, and said so."""

    scale: float = 1.0
    real: bool = False
    trino_port: int = 8080
    clickhouse_port: int = 8123
    metrics_port: int = 9090


@dataclass(slots=True)
class Demo:
    """A running demo."""

    doors: Doors
    metrics_port: int
    process: GatewayProcess
    directory: Path


@contextlib.asynccontextmanager
async def running_demo(options: DemoOptions, say: Say) -> AsyncIterator[Demo]:
    """Start everything; on leaving, whatever the reason, everything is stopped and the folder removed."""
    directory = _own_folder()
    try:
        async with contextlib.AsyncExitStack() as stack:
            started = _real if options.real else _embedded
            catalog, backends = await started(options, directory, stack, say)
            ports = [
                _usable(p, say) for p in (options.trino_port, options.clickhouse_port, options.metrics_port)
            ]
            _write_settings(directory, ports, backends)
            process = await _serve(directory / "gateway.yaml", stack)
            yield Demo(Doors(ports[0], ports[1], catalog), ports[2], process, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _own_folder() -> Path:
    """Paths of Unix sockets may have about 100 bytes; where the usual place is too deep for them, /tmp it is."""
    usual = tempfile.gettempdir()
    return Path(
        tempfile.mkdtemp(prefix="gateway-demo-", dir=usual if len(usual) <= MAX_TEMPORARY else "/tmp")
    )


async def _serve(config: Path, stack: contextlib.AsyncExitStack) -> GatewayProcess:
    """All that `gateway serve` runs, in this one process: the proxy, the admin API, the worker with the history."""
    settings = load_settings(config)
    process, worker = GatewayProcess(settings), WorkerProcess(settings)
    doors = AdminDoors(process, config)
    stack.push_async_callback(process.stop)
    await process.start()
    stack.push_async_callback(worker.stop)
    await worker.start()
    stack.push_async_callback(doors.close)
    await doors.open()
    return process


Backends = list[dict[str, Any]]


async def _embedded(
    options: DemoOptions, directory: Path, stack: contextlib.AsyncExitStack, say: Say
) -> tuple[str, Backends]:
    say("starting DuckDB (Trino wire) and chdb (ClickHouse wire), loading the market")
    seed = ("--catalog", CATALOG, "--seed", str(options.scale))
    engines = (
        EmbeddedEngine(EngineKind.DUCKDB, directory / "duckdb.sock", arguments=seed),
        EmbeddedEngine(EngineKind.CHDB, directory / "chdb.sock"),
    )
    for engine in engines:
        stack.push_async_callback(engine.stop)
    await asyncio.gather(*(engine.start() for engine in engines))
    async with _pool(f"unix:{engines[1].socket}") as pool:
        await _load_clickhouse(pool, [], options.scale)
    service = {"user_mode": "service", "credentials": {"user": "default"}}
    return CATALOG, [
        {"name": "duckdb", "engine": "duckdb", "url": f"unix:{engines[0].socket}"},
        {"name": "chdb", "engine": "chdb", "url": f"unix:{engines[1].socket}", **service},
    ]


async def _real(
    options: DemoOptions, directory: Path, stack: contextlib.AsyncExitStack, say: Say
) -> tuple[str, Backends]:
    say("starting a real Trino and a real ClickHouse (about 20 s)")
    engines = RealEngines(directory / "engines")
    stack.push_async_callback(asyncio.to_thread, engines.close)
    trino, clickhouse = await asyncio.gather(
        asyncio.to_thread(engines.start_trino), asyncio.to_thread(engines.start_clickhouse)
    )
    say("loading the market into both")
    headers = [("X-ClickHouse-User", clickhouse.user), ("X-ClickHouse-Key", clickhouse.password)]
    async with _pool(clickhouse.url) as pool:
        await _load_clickhouse(pool, headers, options.scale)
    async with _pool(trino.url) as pool:
        await _load_trino(pool, options.scale)
    (directory / "clickhouse-password").write_text(clickhouse.password)
    credentials = {"user": clickhouse.user, "password": {"file": str(directory / "clickhouse-password")}}
    return REAL_CATALOG, [
        {"name": "trino", "engine": "trino", "url": trino.url},
        {
            "name": "clickhouse",
            "engine": "clickhouse",
            "url": clickhouse.url,
            "user_mode": "service",
            "credentials": credentials,
        },
    ]


@contextlib.asynccontextmanager
async def _pool(url: str) -> AsyncIterator[UpstreamPool]:
    if url.startswith("unix:"):
        pool = UpstreamPool("localhost", 80, unix_path=url.removeprefix("unix:"))
    else:
        host, _, port = url.removeprefix("http://").rpartition(":")
        pool = UpstreamPool(host, int(port))
    try:
        yield pool
    finally:
        await pool.close()


async def _load_clickhouse(pool: UpstreamPool, headers: list[tuple[str, str]], scale: float) -> None:
    client = ClickHouseClient(pool, lambda: headers)
    await client.rows(f"CREATE DATABASE IF NOT EXISTS {data.SCHEMA}", timeout_s=SEED_TIMEOUT_S)
    for name, table in (await asyncio.to_thread(data.build, scale)).items():
        await client.rows(data.clickhouse_ddl(name), timeout_s=SEED_TIMEOUT_S)
        insert = f"INSERT INTO {data.SCHEMA}.{name} FORMAT ArrowStream"
        await client.insert(
            insert, await asyncio.to_thread(data.arrow_bytes, table), timeout_s=SEED_TIMEOUT_S
        )


async def _load_trino(pool: UpstreamPool, scale: float) -> None:
    client = TrinoClient(pool, lambda: [("X-Trino-User", "demo")])
    for statement in await asyncio.to_thread(lambda: list(data.trino_statements(REAL_CATALOG, scale=scale))):
        await client.rows(statement, timeout_s=SEED_TIMEOUT_S)


def _usable(port: int, say: Say) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            probe.bind(("127.0.0.1", 0))
            say(f"port {port} is taken; using {probe.getsockname()[1]}")
        return int(probe.getsockname()[1])


def _write_settings(directory: Path, ports: list[int], backends: Backends) -> None:
    users = [{"name": u.name, "groups": list(u.groups), "password": hash_password(u.password)} for u in USERS]
    settings = {
        "version": 1,
        "listeners": [
            {"name": "trino", "wire": "trino", "port": ports[0]},
            {"name": "clickhouse", "wire": "clickhouse", "port": ports[1]},
        ],
        "identity": {
            "passwords": {"file": "users.yaml"},
            # Trino's clients send passwords over TLS only; on this loopback a user's name is enough.
            "anonymous": {"enabled": True, "name": "guest"},
            "impersonation": [{"who": ["guest"], "may_act_as": [user.name for user in USERS]}],
        },
        "backends": backends,
        "governance": "off",
        "metrics": {"port": ports[2]},
        "admin": {"socket": "admin.sock"},
        "telemetry": {"log_level": "warning", "log_format": "console"},
    }
    yaml = YAML(typ="safe", pure=True)
    yaml.dump({"users": users}, directory / "users.yaml")
    yaml.dump(settings, directory / "gateway.yaml")


def since(started: float) -> str:
    """Seconds since `started`, for people."""
    return f"{time.monotonic() - started:.1f} s"
