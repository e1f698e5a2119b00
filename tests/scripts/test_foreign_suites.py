"""Foreign suites: what is counted as a difference, and that a real run's outcomes are read right."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

_SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "foreign_suites.py"


@pytest.fixture(scope="module")
def suites() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("foreign_suites", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["foreign_suites"] = module
    spec.loader.exec_module(module)
    return module


def test_differences_and_what_is_worse(suites: ModuleType) -> None:
    found = {
        "one": {
            "direct": {"a": "passed", "b": "passed", "c": "failed", "d": "skipped"},
            "through": {"a": "passed", "b": "failed", "c": "passed", "d": "skipped"},
        },
        "two": {"direct": {"a": "passed"}},
    }
    assert suites.differences(*found["one"].values()) == [
        ("b", "passed", "failed"),
        ("c", "failed", "passed"),
    ]
    assert suites.worse(found) == ["one: b"]
    table = suites.table(found)
    assert "| one | direct | 2 | 1 | 1 |" in table
    assert "- one: b: direct passed, through failed" in table
    assert "| two | through" not in table


def test_a_test_that_only_one_side_has_is_a_difference(suites: ModuleType) -> None:
    assert suites.differences({"a": "passed"}, {}) == [("a", "passed", "absent")]


def test_outcomes_of_a_pytest_run(suites: ModuleType, tmp_path: Path) -> None:
    tests = tmp_path / "tests" / "integration"
    tests.mkdir(parents=True)
    (tests / "test_it.py").write_text(
        "import os, pytest\n"
        "def test_port(): assert os.environ['TRINO_RUNNING_PORT'] == '4711'\n"
        "@pytest.mark.parametrize('x', [1, 2])\n"
        "def test_x(x): assert x == 1\n"
        "def test_skip(): pytest.skip('no')\n"
        "@pytest.fixture\n"
        "def broken(): raise ValueError\n"
        "def test_broken(broken): pass\n"
    )
    run = suites.Run(tmp_path, sys.executable, None, 60.0, tmp_path / "suite.log")
    outcomes = suites.SUITES["trino-python"](
        run, suites.Target("http://127.0.0.1:4711", "http://127.0.0.1:1")
    )
    assert {name.rpartition("::")[2]: outcome for name, outcome in outcomes.items()} == {
        "test_port": "passed",
        "test_x[1]": "passed",
        "test_x[2]": "failed",
        "test_skip": "skipped",
        "test_broken": "failed",
    }
