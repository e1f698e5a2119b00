#!/usr/bin/env python3
"""Start real engines by hand: prints their addresses as JSON and keeps them up until SIGTERM or Ctrl-C.

python scripts/engines.py up --trino --clickhouse
python scripts/engines.py up --all --dir DIR --detach      # returns; DIR/engines.json has the addresses
python scripts/engines.py down --dir DIR
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gateway.demo.real import (
    ClickHouseServer,
    Engine,
    EngineFailed,
    PostgresServer,
    RealEngines,
    RedisServer,
    TrinoServer,
)
from gateway.demo.toolbox import ToolMissing

_DETACH_TIMEOUT = 300.0
_DOWN_TIMEOUT = 60.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start engines")
    up.add_argument("--all", action="store_true", help="Trino, ClickHouse, PostgreSQL and Redis")
    up.add_argument("--trino", action="store_true")
    up.add_argument("--trino-plain", action="store_true", help="a Trino that refuses X-Forwarded-* headers")
    up.add_argument("--clickhouse", action="store_true")
    up.add_argument("--postgres", action="store_true")
    up.add_argument("--redis", action="store_true")
    for engine in ("trino", "trino-plain", "clickhouse", "clickhouse-tcp", "postgres", "redis"):
        up.add_argument(f"--{engine}-port", type=int, metavar="PORT", help="instead of a free one")
    up.add_argument("--trino-memory", default="1500M", help="Java's -Xmx (default: %(default)s)")
    up.add_argument(
        "--trino-quick", action="store_true", help="start sooner, run slower: not for measurements"
    )
    up.add_argument("--start-timeout", type=float, default=180.0, help="seconds (default: %(default)s)")
    up.add_argument(
        "--clickhouse-password", default="gateway", help="of the user gateway (default: %(default)s)"
    )
    up.add_argument("--dir", type=Path, help="data and logs (default: a temporary folder)")
    up.add_argument("--owner", metavar="PID", type=int, help="also end when this process ends")
    up.add_argument("--detach", action="store_true", help="return once all are ready; needs --dir")
    down = commands.add_parser("down", help="end what `up --detach` started")
    down.add_argument("--dir", type=Path, required=True)
    return parser.parse_args()


def _wanted(options: argparse.Namespace, engines: RealEngines) -> list[Callable[[], Engine]]:
    trino: dict[str, Any] = {"memory": options.trino_memory, "quick_start": options.trino_quick}
    starts: dict[str, Callable[[], Engine]] = {
        "trino": lambda: engines.start_trino(port=options.trino_port, **trino),
        "trino_plain": lambda: engines.start_trino(
            name="trino-plain", port=options.trino_plain_port, process_forwarded=False, **trino
        ),
        "clickhouse": lambda: engines.start_clickhouse(
            port=options.clickhouse_port,
            tcp_port=options.clickhouse_tcp_port,
            gateway_password=options.clickhouse_password,
        ),
        "postgres": lambda: engines.start_postgres(port=options.postgres_port),
        "redis": lambda: engines.start_redis(port=options.redis_port),
    }
    everything = {"trino", "clickhouse", "postgres", "redis"} if options.all else set()
    return [start for key, start in starts.items() if getattr(options, key) or key in everything]


def _describe(engine: Engine) -> dict[str, Any]:
    common = {"pid": engine.pid, "log": str(engine.log)}
    match engine:
        case TrinoServer():
            return {"url": engine.url, "process_forwarded": engine.process_forwarded, **common}
        case ClickHouseServer():
            access = {"user": engine.user, "password": engine.password}
            return {"url": engine.url, "tcp_port": engine.tcp_port, **access, **common}
        case PostgresServer():
            return {"dsn": engine.dsn, **common}
        case RedisServer():
            return {"url": engine.url, **common}
        case _:
            return common


def _up(options: argparse.Namespace) -> int:
    owner = _identity(options.owner) if options.owner else None
    directory = options.dir or Path(tempfile.mkdtemp(prefix="gateway-engines-"))
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, _frame: stop.append(n))
    with RealEngines(directory, start_timeout=options.start_timeout) as engines:
        starts = _wanted(options, engines)
        if not starts:
            print("nothing to start: name an engine (--trino, …) or --all", file=sys.stderr)
            return 2
        try:
            with ThreadPoolExecutor(len(starts)) as pool:
                started = list(pool.map(lambda start: start(), starts))
        except (EngineFailed, ToolMissing) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        description = json.dumps({engine.name: _describe(engine) for engine in started}, indent=2)
        state = directory / "engines.json"
        partial = directory / "engines.json.partial"
        partial.write_text(description + "\n")
        (directory / "pid").write_text(_identity(os.getpid()))
        partial.replace(state)
        print(description, flush=True)
        while not stop and (owner is None or _alive(owner)):
            time.sleep(0.2)
        state.unlink(missing_ok=True)
        (directory / "pid").unlink(missing_ok=True)
    return 0


def _up_detached(options: argparse.Namespace) -> int:
    if options.dir is None:
        print("--detach needs --dir: that is how `down` finds the engines again", file=sys.stderr)
        return 2
    options.dir.mkdir(parents=True, exist_ok=True)
    state = options.dir / "engines.json"
    if state.exists() and _keeper_of(options.dir) is not None:
        print(f"already up, see {state}; end it with `down --dir {options.dir}`", file=sys.stderr)
        return 1
    state.unlink(missing_ok=True)
    arguments = [a for a in sys.argv[1:] if a != "--detach"]
    with (options.dir / "up.log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + _DETACH_TIMEOUT
    while not state.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    if not state.exists():
        child.terminate()
        print((options.dir / "up.log").read_text(), file=sys.stderr)
        return 1
    print(state.read_text(), end="")
    return 0


def _identity(pid: int) -> str:
    """The pid with its start time, so that a reused pid is not taken for ours."""
    started = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    return f"{pid} {started}"


def _alive(identity: str) -> bool:
    try:
        return _identity(int(identity.split()[0])) == identity
    except (FileNotFoundError, ProcessLookupError):
        return False


def _keeper_of(directory: Path) -> int | None:
    """The pid of the process that keeps the engines of `directory` up, if it is still there."""
    written = directory / "pid"
    if not written.exists() or not _alive(identity := written.read_text()):
        return None
    return int(identity.split()[0])


def _down(options: argparse.Namespace) -> int:
    pid = _keeper_of(options.dir)
    if pid is None:
        print(f"nothing is up in {options.dir}")
        return 0
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_TIMEOUT
    while _keeper_of(options.dir) is not None:
        if time.monotonic() > deadline:
            print(f"process {pid} has not ended within {_DOWN_TIMEOUT:.0f} s", file=sys.stderr)
            return 1
        time.sleep(0.1)
    return 0


def main() -> int:
    options = _arguments()
    if options.command == "down":
        return _down(options)
    return _up_detached(options) if options.detach else _up(options)


if __name__ == "__main__":
    sys.exit(main())
