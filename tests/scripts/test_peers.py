"""Peers are brought from outside: what is missing is said before anything starts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "peers.py"


def _peers(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(_SCRIPT), *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_path_without_chproxy_is_refused_with_what_to_give(tmp_path: Path) -> None:
    outcome = _peers("--clickhouse", "http://127.0.0.1:1", "--chproxy", str(tmp_path))
    assert outcome.returncode == 1
    assert outcome.stderr == (
        f"error: no chproxy at {tmp_path}: give the path of a checkout of its repository\n"
    )


def test_a_peer_needs_an_engine_behind_it() -> None:
    outcome = _peers("--trino-gateway")
    assert outcome.returncode == 2
    assert "--trino-gateway needs --trino URL" in outcome.stderr


def test_nothing_asked_is_an_error_not_an_idle_wait() -> None:
    outcome = _peers()
    assert outcome.returncode == 2
    assert json.dumps({}) not in outcome.stdout
