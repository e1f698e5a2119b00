"""One engine per run, whatever the number of workers; a clear failure where it cannot start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

_ROOT = Path(__file__).resolve().parents[2]

_TESTS = """
import pathlib, pytest
@pytest.mark.parametrize("n", range(4))
def test_shared(redis_server, n, worker_id):
    pathlib.Path(__file__).with_name(f"seen-{n}").write_text(f"{worker_id} {redis_server.port}")
"""


def _run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_inner.py").write_text(_TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.real.plugin", "-q", str(folder), *arguments]
    settings = {**os.environ, "PYTHONPATH": str(_ROOT), **environment}
    settings.pop("GATEWAY_TEST_ENGINES", None)
    for name in [name for name in settings if name.startswith("PYTEST_")]:
        settings.pop(name)
    return subprocess.run(
        [*command, f"--rootdir={folder}"],
        env=settings,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_two_workers_share_one_engine_that_ends_with_the_run(tmp_path: Path) -> None:
    outcome = _run(tmp_path, "-n", "2", "--dist", "each")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    ports = {file.read_text().split()[1] for file in tmp_path.glob("seen-*")}
    assert len(ports) == 1
    listening = Path("/proc/net/tcp").read_text()
    assert not re.search(rf":{int(ports.pop()):04X} 00000000:0000 0A", listening)


def test_an_engine_that_cannot_start_fails_with_the_reason(tmp_path: Path) -> None:
    outcome = _run(tmp_path, "-n", "0", PATH=str(tmp_path))
    assert outcome.returncode == 1
    assert "the real engine redis cannot start" in outcome.stdout
    assert "redis-server is not installed" in outcome.stdout
    assert "4 errors" in outcome.stdout
