"""Fixtures for the real engines.

Each engine starts when the first test asks for it, once per run, also with several pytest-xdist workers, and
belongs to the process the run was started with: it ends with it, however that ends. An engine that cannot
start fails every test that needs it, with the reason; nothing is skipped.

`pytest --engines DIR` uses engines that `python scripts/engines.py up --all --detach --dir DIR` keeps up,
which saves the start of Trino in each run.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.demo.real import RealEngines
from tests.real.addresses import ClickHouseAddress, PostgresAddress, RedisAddress, TrinoAddress

_ENGINES_SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "engines.py"
_START_TIMEOUT = 240.0
_STOP_TIMEOUT = 90.0


@dataclass(frozen=True, slots=True)
class Rig:
    """Shared by all workers of a run: a folder with one sub-folder per engine, and the process that owns them."""

    folder: Path
    owner: int
    provided: Path | None

    def engine(self, name: str) -> dict[str, Any]:
        """What is known of the running engine `name`; starts it if this is the first to ask in this run."""
        if self.provided is not None and (described := self._provided_engine(name)) is not None:
            return described
        folder = self.folder / name
        self.folder.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # held by another worker while it starts the engine: bounded
            failed = folder / "failed"
            if failed.exists():
                pytest.fail(failed.read_text(), pytrace=False)
            state = folder / "engines.json"
            if not state.exists() and (reason := self._start(name, folder)):
                failed.write_text(reason)
                pytest.fail(reason, pytrace=False)
            return _described(state, name)

    def _start(self, name: str, folder: Path) -> str | None:
        """Start the engine; returns why it did not start, None when it did."""
        command = [sys.executable, str(_ENGINES_SCRIPT), "up", f"--{name}", "--dir", str(folder)]
        outcome = subprocess.run(
            [*command, "--trino-quick", "--owner", str(self.owner), "--detach"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_START_TIMEOUT,
            check=False,
        )
        if outcome.returncode == 0:
            return None
        return f"the real engine {name} cannot start: {outcome.stderr}\nwhat to do: `make setup`, then again"

    def _provided_engine(self, name: str) -> dict[str, Any] | None:
        state = Path(self.provided or "") / "engines.json"
        if not state.exists():
            pytest.fail(f"--engines: nothing is up in {self.provided} (no {state})", pytrace=False)
        return _described(state, name) if name in json.loads(state.read_text()) else None

    def stop(self) -> None:
        """End every engine of this run, side by side, and remove its data."""
        stops = [
            subprocess.Popen(
                [sys.executable, str(_ENGINES_SCRIPT), "down", "--dir", str(state.parent)],
                stdout=subprocess.DEVNULL,  # the closing line of the run stays the last
            )
            for state in self.folder.glob("*/engines.json")
        ]
        for stop in stops:
            stop.wait(_STOP_TIMEOUT)
        shutil.rmtree(self.folder, ignore_errors=True)


def _described(state: Path, name: str) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(state.read_text())[name]
    return described


_RIG = pytest.StashKey[Rig]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engines",
        type=Path,
        default=os.environ.get("GATEWAY_TEST_ENGINES"),
        metavar="DIR",
        help="use the engines that `scripts/engines.py up --detach --dir DIR` keeps up (also: GATEWAY_TEST_ENGINES)",
    )


def pytest_configure(config: pytest.Config) -> None:
    shared = getattr(config, "workerinput", None)
    if shared is None:
        folder, owner = Path(tempfile.gettempdir()) / f"gateway-tests-{secrets.token_hex(6)}", os.getpid()
    else:
        folder, owner = Path(shared["engines_folder"]), shared["engines_owner"]
    provided = config.getoption("--engines")
    config.stash[_RIG] = Rig(folder, owner, Path(provided) if provided else None)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """pytest-xdist: tell a new worker about the rig of the process that started the run."""
    rig = node.config.stash[_RIG]
    node.workerinput["engines_folder"] = str(rig.folder)
    node.workerinput["engines_owner"] = rig.owner


def pytest_unconfigure(config: pytest.Config) -> None:
    rig = config.stash.get(_RIG, None)
    if rig is not None and rig.owner == os.getpid():
        rig.stop()


@pytest.fixture(scope="session")
def real_rig(pytestconfig: pytest.Config) -> Rig:
    return pytestconfig.stash[_RIG]


@pytest.fixture(scope="session")
def trino_server(real_rig: Rig) -> TrinoAddress:
    """Trino that accepts X-Forwarded-* and builds its URIs from them."""
    return TrinoAddress.of(real_rig.engine("trino"))


@pytest.fixture(scope="session")
def trino_server_plain(real_rig: Rig) -> TrinoAddress:
    """Trino that refuses X-Forwarded-* with 406, as it does unless told otherwise."""
    return TrinoAddress.of(real_rig.engine("trino-plain"))


@pytest.fixture(scope="session")
def clickhouse_server(real_rig: Rig) -> ClickHouseAddress:
    """ClickHouse over HTTP and its native protocol. Use a database of your own: all tests share it."""
    return ClickHouseAddress.of(real_rig.engine("clickhouse"))


@pytest.fixture(scope="session")
def postgres_server(real_rig: Rig) -> PostgresAddress:
    """PostgreSQL. Create a database of your own: all tests share the cluster."""
    return PostgresAddress.of(real_rig.engine("postgres"))


@pytest.fixture(scope="session")
def redis_server(real_rig: Rig) -> RedisAddress:
    """Redis. Use keys with a prefix of your own: all tests share it."""
    return RedisAddress.of(real_rig.engine("redis"))


@pytest.fixture
def own_engines(tmp_path: Path) -> Iterator[RealEngines]:
    """Starts engines for one test alone, which may kill, pause or reconfigure them."""
    with RealEngines(tmp_path / "engines") as engines:
        yield engines
