#!/usr/bin/env python3
"""Peers to measure beside the gateway: chproxy (built from a checkout) and trino-gateway (from Maven Central).

    python scripts/peers.py --clickhouse URL --chproxy PATH
    python scripts/peers.py --trino URL --trino-gateway          # brings its own PostgreSQL

Prints the addresses as JSON and keeps them up until SIGTERM or Ctrl-C. Benchmarks import `start_chproxy` and
`start_trino_gateway`. None of the peers' code is part of this project.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gateway.demo import engine_probes, toolbox
from gateway.demo.real import EngineFailed, PostgresServer, RealEngines, free_port
from gateway.demo.toolbox import Toolbox, ToolMissing

_BUILD_TIMEOUT = 1200.0


def build_chproxy(checkout: Path, tools: Toolbox) -> Path:
    """chproxy's program, built once per commit of `checkout` with the Go toolchain.

    Raises ToolMissing when there is no checkout or no Go, EngineFailed when the build fails.
    """
    if not (checkout / "go.mod").exists():
        raise ToolMissing(f"no chproxy at {checkout}: give the path of a checkout of its repository")
    if (go := shutil.which("go")) is None:
        raise ToolMissing("Go is not installed; chproxy is built from source with it")
    git = ["git", "-C", str(checkout), "rev-parse", "--short=12", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    program = tools.root / f"chproxy-{commit}"
    if not program.exists():
        partial = program.with_name(f"{program.name}.partial-{os.getpid()}")
        outcome = subprocess.run(
            [go, "build", "-o", str(partial), "."],
            cwd=checkout,
            capture_output=True,
            text=True,
            timeout=_BUILD_TIMEOUT,
            check=False,
        )
        if outcome.returncode:
            raise EngineFailed(f"chproxy does not build: {outcome.stderr[-2000:]}")
        partial.rename(program)
    return program


def start_chproxy(
    engines: RealEngines, checkout: Path, clickhouse_url: str, *, user: str = "default", password: str = ""
) -> str:
    """chproxy in front of one ClickHouse; returns its URL, which takes the same `user` and `password`."""
    program = build_chproxy(checkout, Toolbox.default())
    port = free_port()

    def command(folder: Path) -> Sequence[str]:
        config = folder / "config.yml"  # JSON is YAML
        config.write_text(json.dumps(_chproxy_config(port, clickhouse_url, user, password)))
        return [str(program), f"-config={config}"]

    engines.start_program(
        "chproxy",
        port,
        command,
        lambda: engine_probes.clickhouse_query(port, user, password, "SELECT 1") == (200, b"1\n"),
    )
    return f"http://{engine_probes.HOST}:{port}"


def _chproxy_config(port: int, clickhouse_url: str, user: str, password: str) -> dict[str, object]:
    account = {"name": user, "password": password}
    return {
        "server": {
            "http": {"listen_addr": f"{engine_probes.HOST}:{port}", "allowed_networks": ["127.0.0.1/32"]}
        },
        "users": [{**account, "to_cluster": "clickhouse", "to_user": user}],
        "clusters": [
            {"name": "clickhouse", "nodes": [urlsplit(clickhouse_url).netloc], "users": [account]},
        ],
    }


def start_trino_gateway(engines: RealEngines, trino_url: str, postgres: PostgresServer) -> str:
    """trino-gateway in front of one Trino (which must process forwarded headers); returns its URL.

    It keeps its state in the database of `postgres`, which should be its alone.
    """
    tools = Toolbox.default()
    java = toolbox.require(tools.java, "Java")
    jar = toolbox.require(tools.trino_gateway, f"trino-gateway {toolbox.TRINO_GATEWAY_VERSION}")
    port = free_port()

    def command(folder: Path) -> Sequence[str]:
        config = folder / "config.yaml"
        config.write_text(json.dumps(_trino_gateway_config(port, postgres)))
        return [str(java), "-Xmx1g", "-jar", str(jar), str(config)]

    def ready() -> bool:
        backend = {"name": "trino", "proxyTo": trino_url, "active": True, "routingGroup": "adhoc"}
        answer = engine_probes.http_json(port, "/gateway/backend/modify/update", backend)
        return answer is not None and answer[0] == 200 and engine_probes.trino_query_runs(port)

    engines.start_program("trino-gateway", port, command, ready)
    return f"http://{engine_probes.HOST}:{port}"


def _trino_gateway_config(port: int, postgres: PostgresServer) -> dict[str, object]:
    return {
        "serverConfig": {
            "node.environment": "test",
            "http-server.http.port": port,
            "http-server.process-forwarded": "true",
        },
        "dataStore": {
            "jdbcUrl": f"jdbc:postgresql://{postgres.host}:{postgres.port}/{postgres.database}",
            "user": postgres.user,
            "password": postgres.password,
            "driver": "org.postgresql.Driver",
        },
        "clusterStatsConfiguration": {"monitorType": "INFO_API"},
        "monitor": {"taskDelay": "1s"},
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clickhouse", metavar="URL", help="the ClickHouse behind chproxy")
    parser.add_argument("--clickhouse-user", default="default")
    parser.add_argument("--clickhouse-password", default="")
    parser.add_argument("--chproxy", type=Path, metavar="PATH", help="a checkout of chproxy")
    parser.add_argument("--trino", metavar="URL", help="the Trino behind trino-gateway")
    parser.add_argument("--trino-gateway", action="store_true")
    options = parser.parse_args()
    if not (options.chproxy or options.trino_gateway):
        parser.error("name a peer: --chproxy PATH, --trino-gateway")
    if options.chproxy and not options.clickhouse:
        parser.error("--chproxy needs --clickhouse URL")
    if options.trino_gateway and not options.trino:
        parser.error("--trino-gateway needs --trino URL")
    return options


def main() -> int:
    options = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    urls: dict[str, str] = {}
    try:
        with RealEngines() as engines:
            if options.chproxy:
                access = {"user": options.clickhouse_user, "password": options.clickhouse_password}
                urls["chproxy"] = start_chproxy(engines, options.chproxy, options.clickhouse, **access)
            if options.trino_gateway:
                postgres = engines.start_postgres()
                urls["trino-gateway"] = start_trino_gateway(engines, options.trino, postgres)
            print(json.dumps(urls), flush=True)
            signal.pause()
    except (EngineFailed, ToolMissing) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
