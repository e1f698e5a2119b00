"""What is measured: engines, the gateway in front of them, and the peers, each a process of its own."""

from __future__ import annotations

import base64
import http.client
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.demo.real import EngineFailed, RealEngines, free_port
from gateway.demo.toolbox import ToolMissing
from gateway.identity.passwords import hash_password
from scripts.peers import start_chproxy, start_trino_gateway

USER = "bench"
PASSWORD = "only-for-this-run"  # noqa: S105 - made for a server that lives as long as the run
HOST = "127.0.0.1"
DIRECT, GATEWAY, CHPROXY, TRINO_GATEWAY = "direct", "gateway", "chproxy", "trino-gateway"
TARGETS = (DIRECT, GATEWAY, CHPROXY, TRINO_GATEWAY)


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go and which header fields they carry. `pid` is the proxy's, None for an engine."""

    name: str
    host: str
    port: int
    headers: tuple[tuple[str, str], ...] = ()
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class ClickHouseAt:
    url: str
    user: str
    password: str


@dataclass(slots=True)
class Stage:
    """What is up: the targets of each wire, `direct` first, and how to start one more gateway."""

    engines: RealEngines
    trino_url: str | None
    clickhouse_at: ClickHouseAt | None
    trino: list[Target] = field(default_factory=list)
    clickhouse: list[Target] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)

    def gateway(self, *, workers: int = 1) -> tuple[Target | None, Target | None]:
        """Start a gateway in front of the engines: its (Trino, ClickHouse) targets."""
        ports = {"trino": free_port(), "clickhouse": free_port(), "metrics": free_port()}
        folder = self.engines.directory / f"gateway-{workers}"
        folder.mkdir(exist_ok=True)
        config = folder / "gateway.yaml"
        config.write_text(json.dumps(self._settings(ports)))
        (folder / "users.yaml").write_text(
            json.dumps({"users": [{"name": USER, "password": hash_password(PASSWORD)}]})
        )
        started = self.engines.start_program(
            f"gateway-{workers}",
            ports["metrics"],
            lambda _: [
                *(sys.executable, "-m", "gateway", "serve", "--config", str(config)),
                *("--workers", str(workers)),
            ],
            lambda: _status(ports["metrics"], "/readyz") == 200,
        )
        basic = _basic(USER, PASSWORD)
        trino = Target(GATEWAY, HOST, ports["trino"], (*_TRINO_HEADERS, basic), started.pid)
        clickhouse = Target(GATEWAY, HOST, ports["clickhouse"], (basic,), started.pid)
        return (trino if self.trino_url else None, clickhouse if self.clickhouse_at else None)

    def _settings(self, ports: dict[str, int]) -> dict[str, Any]:
        """As in production: log-in by password, audit on, metrics on; room for every connection of the load."""
        backends: list[dict[str, Any]] = []
        if self.trino_url is not None:
            backends.append({"name": "trino-1", "engine": "trino", "url": self.trino_url})
        if (at := self.clickhouse_at) is not None:
            (self.engines.directory / "clickhouse-password").write_text(at.password)
            secret = {"file": str(self.engines.directory / "clickhouse-password")}
            backends.append(
                {
                    "name": "clickhouse-1",
                    "engine": "clickhouse",
                    "url": at.url,
                    "user_mode": "service",
                    "credentials": {"user": at.user, **({"password": secret} if at.password else {})},
                }
            )
        return {
            "version": 1,
            "listeners": [
                {"name": b["engine"], "wire": b["engine"], "port": ports[b["engine"]]} for b in backends
            ],
            "identity": {"passwords": {"file": "users.yaml"}},
            "backends": [{**backend, "max_concurrent": 1000} for backend in backends],
            "governance": "off",
            "limits": {"per_principal_concurrent": 1000},
            "metrics": {"port": ports["metrics"]},
            "admin": {"socket": "admin.sock"},
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to put up. `engines` is a folder with engines.json of running engines; None starts our own."""

    engines: Path | None = None
    chproxy: Path | None = None
    trino: bool = True
    clickhouse: bool = True
    trino_gateway: bool = True


@contextmanager
def stage(wanted: Wanted, say: Callable[[str], None]) -> Iterator[Stage]:
    """Everything up and ready; ends it all. Raises EngineFailed and ToolMissing for engines, never for peers."""
    with RealEngines() as engines:
        say("starting engines")
        built = Stage(engines, *_engines(engines, wanted))
        say("starting the gateway")
        trino, clickhouse = built.gateway()
        if trino is not None and built.trino_url is not None:
            built.trino = [_at(DIRECT, built.trino_url, _TRINO_HEADERS), trino]
            _add_trino_gateway(built, wanted, say)
        if clickhouse is not None and (at := built.clickhouse_at) is not None:
            built.clickhouse = [_at(DIRECT, at.url, (_basic(at.user, at.password),)), clickhouse]
            _add_chproxy(built, wanted, at, say)
        yield built


def _engines(engines: RealEngines, wanted: Wanted) -> tuple[str | None, ClickHouseAt | None]:
    if wanted.engines is not None:
        known = json.loads((wanted.engines / "engines.json").read_text())
        at = known["clickhouse"]
        return (
            known["trino"]["url"] if wanted.trino else None,
            ClickHouseAt(at["url"], at["user"], at["password"]) if wanted.clickhouse else None,
        )
    clickhouse = trino = None
    if wanted.clickhouse:
        server = engines.start_clickhouse()
        clickhouse = ClickHouseAt(server.url, server.user, server.password)
    if wanted.trino:
        trino = engines.start_trino().url
    return trino, clickhouse


def _add_chproxy(built: Stage, wanted: Wanted, at: ClickHouseAt, say: Callable[[str], None]) -> None:
    if wanted.chproxy is None:
        built.missing.append((CHPROXY, "give a checkout of its repository: --chproxy PATH"))
        return
    say("starting chproxy")
    try:
        url = start_chproxy(built.engines, wanted.chproxy, at.url, user=at.user, password=at.password)
    except (EngineFailed, ToolMissing) as error:
        built.missing.append((CHPROXY, str(error)))
        return
    pid = _pid(built.engines, CHPROXY)
    built.clickhouse.append(_at(CHPROXY, url, (_basic(at.user, at.password),), pid))


def _add_trino_gateway(built: Stage, wanted: Wanted, say: Callable[[str], None]) -> None:
    if not wanted.trino_gateway:
        built.missing.append((TRINO_GATEWAY, "left out by --no-trino-gateway"))
        return
    say("starting trino-gateway")
    try:
        postgres = built.engines.start_postgres()
        url = start_trino_gateway(built.engines, built.trino_url or "", postgres)
    except (EngineFailed, ToolMissing) as error:
        built.missing.append((TRINO_GATEWAY, str(error)))
        return
    built.trino.append(_at(TRINO_GATEWAY, url, _TRINO_HEADERS, _pid(built.engines, TRINO_GATEWAY)))


def _pid(engines: RealEngines, name: str) -> int | None:
    engine = engines.engine(name)
    return engine.pid if engine is not None else None


def _at(name: str, url: str, headers: tuple[tuple[str, str], ...], pid: int | None = None) -> Target:
    parts = urlsplit(url)
    return Target(name, parts.hostname or HOST, parts.port or 80, headers, pid)


def _basic(user: str, password: str) -> tuple[str, str]:
    return "Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


_TRINO_HEADERS = (
    ("X-Trino-User", USER),
    ("X-Trino-Source", "benchmarks"),
    ("X-Trino-Catalog", "tpch"),
    ("X-Trino-Schema", "tiny"),
)


def _status(port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
