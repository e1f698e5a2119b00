"""A gateway in a process of its own, for tests: written settings, started, reached, ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_S = 90.0
STOP_S = 60.0


def free_port() -> int:
    """A port that was free a moment ago, below the range of outgoing connections."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class GatewayServer:
    """`start`, talk to `trino_port` and `clickhouse_port`, `stop`. `settings` overrides sections of the file."""

    directory: Path
    backends: list[dict[str, Any]]
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    trino_port: int = field(default_factory=free_port)
    clickhouse_port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self.directory / "gateway.yaml"

    @property
    def log(self) -> str:
        path = self.directory / "gateway.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def write(self, **sections: Any) -> None:
        """(Re)write the settings; a running gateway takes them up by itself."""
        whole: dict[str, Any] = {
            "version": 1,
            "listeners": self._listeners(),
            # Whoever comes is let in as whom it says: what an open Trino or ClickHouse does.
            "identity": {
                "anonymous": {"enabled": True},
                "impersonation": [{"who": ["anonymous"], "may_act_as": ["*"]}],
            },
            "backends": self.backends,
            "governance": "off",
            "metrics": {"port": self.metrics_port},
            "admin": {"socket": "admin.sock"},
            **self.settings,
            **sections,
        }
        self.config.write_text(json.dumps(whole, indent=2))  # JSON is YAML

    def _listeners(self) -> list[dict[str, Any]]:
        engines = {backend["engine"] for backend in self.backends}
        ports = {}
        if engines & {"trino", "duckdb"}:
            ports["trino"] = self.trino_port
        if engines & {"clickhouse", "chdb"}:
            ports["clickhouse"] = self.clickhouse_port
        return [{"name": wire, "wire": wire, "port": port} for wire, port in ports.items()]

    def start(self) -> GatewayServer:
        """Start it and wait until it is ready. Raises with the end of its log."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self.config.exists():
            self.write()
        with (self.directory / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(
                    f"the gateway did not become ready; its log ends with:\n{self.log[-3000:]}"
                )
            time.sleep(0.1)
        return self

    def ready(self) -> bool:
        """What `/readyz` says."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/readyz", timeout=2) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def metrics(self) -> str:
        """The exposition as Prometheus would scrape it."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as reply:
            return str(reply.read().decode())

    def kill(self) -> None:
        """SIGKILL, as a crash would look."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_S)

    def stop(self) -> int:
        """SIGTERM, then wait; returns the exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(STOP_S)
