#!/usr/bin/env python3
"""Run test suites of other projects against the engines, direct and through the gateway, and compare.

    python scripts/engines.py up --trino --clickhouse --dir DIR --detach
    python scripts/foreign_suites.py --engines DIR --trino-python CHECKOUT --python VENV/bin/python
    python scripts/foreign_suites.py --engines DIR --trino-go CHECKOUT
    python scripts/foreign_suites.py --engines DIR --clickhouse-connect CHECKOUT --python VENV/bin/python

The checkouts are left as they are; `--python` is an interpreter with what that suite imports. What is found is
added to a JSON file (`--json`), so one suite or one side can be run at a time; the table is printed from the
whole file. Exits 1 when a test that passes direct does not pass through the gateway.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
SIDES = ("direct", "through")
START_S = 120.0
STOP_S = 30.0

Outcomes = dict[str, str]
"""Name of a test to `passed`, `failed` or `skipped`."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where one side's engines are reached."""

    trino: str
    clickhouse: str

    def host_and_port(self, engine: str) -> tuple[str, int]:
        parts = urlsplit(getattr(self, engine))
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port


@dataclass(frozen=True, slots=True)
class Run:
    """What a suite is run with."""

    checkout: Path
    python: str
    select: str | None
    timeout_s: float
    log: Path


def _run(run: Run, command: Sequence[str], environment: dict[str, str]) -> None:
    with run.log.open("wb") as log:
        process = subprocess.Popen(
            list(command),
            cwd=run.checkout,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(run.timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            print(f"  not finished after {run.timeout_s:g} s; see {run.log}", file=sys.stderr)


# --- the suites -----------------------------------------------------------------------------------------


def _pytest(run: Run, tests: str, environment: dict[str, str]) -> Outcomes:
    report = run.log.with_suffix(".xml")
    report.unlink(missing_ok=True)
    select = ["-k", run.select] if run.select else []
    options = ["-q", "-p", "no:cacheprovider", f"--junitxml={report}", "-o", "junit_family=xunit2"]
    _run(run, [run.python, "-m", "pytest", tests, *options, *select], environment)
    if not report.exists():
        sys.exit(f"foreign_suites: no report was written; see {run.log}")
    outcomes: Outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}".lstrip(":")
        found = {child.tag for child in case}
        failed = found & {"failure", "error"}
        outcomes[name] = "failed" if failed else "skipped" if "skipped" in found else "passed"
    return outcomes


def _trino_python(run: Run, target: Target) -> Outcomes:
    host, port = target.host_and_port("trino")
    environment = {
        "TRINO_RUNNING_HOST": host,
        "TRINO_RUNNING_PORT": str(port),
        "TRINO_VERSION": "476",
        "PYTHONPATH": ".",
    }
    return _pytest(run, "tests/integration", environment)


def _clickhouse_connect(run: Run, target: Target) -> Outcomes:
    host, port = target.host_and_port("clickhouse")
    environment = {"CLICKHOUSE_CONNECT_TEST_HOST": host, "CLICKHOUSE_CONNECT_TEST_PORT": str(port)}
    return _pytest(run, "tests/integration_tests", environment)


def _trino_go(run: Run, target: Target) -> Outcomes:
    host, port = target.host_and_port("trino")
    select = ["-run", run.select] if run.select else []
    server = [f"-trino_server_dsn=http://test@{host}:{port}", "-trino_image_tag=476"]
    _run(run, ["go", "test", "-count=1", "-json", "./trino", *select, "-args", *server], {})
    outcomes: Outcomes = {}
    words = {"pass": "passed", "fail": "failed", "skip": "skipped"}
    for line in run.log.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if "Test" in event and event.get("Action") in words:
                outcomes[event["Test"]] = words[event["Action"]]
    return outcomes


SUITES: dict[str, Callable[[Run, Target], Outcomes]] = {
    "trino-python": _trino_python,
    "trino-go": _trino_go,
    "clickhouse-connect": _clickhouse_connect,
}


# --- the gateway ------------------------------------------------------------------------------------------


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _settings(engines: dict[str, Any], ports: Sequence[int]) -> dict[str, Any]:
    """Whoever comes is let in as whom it says, as at the engines themselves; nothing is governed."""
    clickhouse = engines["clickhouse"]
    return {
        "version": 1,
        "listeners": [
            {"name": "trino", "wire": "trino", "port": ports[0]},
            {"name": "clickhouse", "wire": "clickhouse", "port": ports[1]},
        ],
        "identity": {
            "anonymous": {"enabled": True},
            "impersonation": [{"who": ["anonymous"], "may_act_as": ["*"]}],
        },
        "backends": [
            {
                "name": "trino-a",
                "engine": "trino",
                "url": engines["trino"]["url"],
                "process_forwarded": engines["trino"]["process_forwarded"],
            },
            {
                "name": "clickhouse-a",
                "engine": "clickhouse",
                "url": clickhouse["url"],
                "user_mode": "service",
                "credentials": {
                    "user": clickhouse["user"],
                    "password": {"env": "SUITE_CLICKHOUSE_PASSWORD"},
                },
            },
        ],
        "clickhouse": {"on_forbidden_setting": "pass"},
        "governance": "off",
        "metrics": {"port": ports[2]},
        "admin": {"socket": "admin.sock"},
    }


@contextlib.contextmanager
def _gateway(engines: dict[str, Any]) -> Iterator[Target]:
    """A gateway in front of the engines, for as long as the block runs."""
    ports = [_free_port() for _ in range(3)]
    with tempfile.TemporaryDirectory(prefix="foreign-suites-") as folder:
        config = Path(folder) / "gateway.yaml"
        config.write_text(json.dumps(_settings(engines, ports)))  # JSON is YAML too
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve", "--config", str(config)],
                cwd=ROOT,
                env={**os.environ, "SUITE_CLICKHOUSE_PASSWORD": engines["clickhouse"]["password"]},
                stdout=log,
                stderr=log,
            )
        try:
            _wait_until_ready(process, ports[2], Path(folder) / "log")
            yield Target(f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}")
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > deadline:
                end = log.read_text(errors="replace")[-2000:]
                sys.exit(f"foreign_suites: the gateway did not become ready:\n{end}")
            time.sleep(0.2)


# --- what came out ----------------------------------------------------------------------------------------


def differences(direct: Outcomes, through: Outcomes) -> list[tuple[str, str, str]]:
    """Tests whose outcome is another one through the gateway, or that only one side has."""
    names = sorted(direct.keys() | through.keys())
    outcomes = [(name, direct.get(name, "absent"), through.get(name, "absent")) for name in names]
    return [outcome for outcome in outcomes if outcome[1] != outcome[2]]


def table(found: dict[str, dict[str, Outcomes]]) -> str:
    """The counts of each suite and side, and every difference, as Markdown."""
    lines = ["| suite | side | passed | failed | skipped |", "|---|---|---|---|---|"]
    for suite, sides in sorted(found.items()):
        for side in SIDES:
            if side in sides:
                count = Counter(sides[side].values())
                counts = " | ".join(str(count[word]) for word in ("passed", "failed", "skipped"))
                lines.append(f"| {suite} | {side} | {counts} |")
    for suite, sides in sorted(found.items()):
        if set(SIDES) <= sides.keys():
            lines += [
                f"- {suite}: {name}: direct {direct}, through {through}"
                for name, direct, through in differences(sides["direct"], sides["through"])
            ]
    return "\n".join(lines)


def worse(found: dict[str, dict[str, Outcomes]]) -> list[str]:
    """Tests that pass direct and not through the gateway."""
    return [
        f"{suite}: {name}"
        for suite, sides in found.items()
        if set(SIDES) <= sides.keys()
        for name, direct, _ in differences(sides["direct"], sides["through"])
        if direct == "passed"
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for suite in SUITES:
        parser.add_argument(f"--{suite}", type=Path, metavar="CHECKOUT", help=f"a checkout of {suite}")
    parser.add_argument("--engines", type=Path, required=True, metavar="DIR", help="of scripts/engines.py up")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the Python suites")
    parser.add_argument("--side", choices=(*SIDES, "both"), default="both")
    parser.add_argument("--select", help="only these tests, in the words of the suite's runner (-k, -run)")
    parser.add_argument("--timeout", type=float, default=1800.0, metavar="SECONDS", help="of one run")
    parser.add_argument("--json", type=Path, default=Path("var/foreign-suites.json"), metavar="FILE")
    return parser.parse_args()


def main() -> int:
    options = _arguments()
    engines = json.loads((options.engines / "engines.json").read_text())
    chosen = {suite: getattr(options, suite.replace("-", "_")) for suite in SUITES}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, Outcomes]] = (
        json.loads(options.json.read_text()) if options.json.exists() else {}
    )
    for side in SIDES if options.side == "both" else (options.side,):
        with contextlib.ExitStack() as stack:
            target = Target(engines["trino"]["url"], engines["clickhouse"]["url"])
            if side == "through":
                target = stack.enter_context(_gateway(engines))
            for suite, checkout in chosen.items():
                if checkout is not None:
                    log = options.json.resolve().with_name(f"{suite}-{side}.log")
                    run = Run(checkout.resolve(), options.python, options.select, options.timeout, log)
                    print(f"{suite}, {side} …", flush=True)
                    found.setdefault(suite, {})[side] = SUITES[suite](run, target)
                    options.json.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    print(table(found))
    return 1 if worse(found) else 0


if __name__ == "__main__":
    sys.exit(main())
