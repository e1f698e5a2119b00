"""Expressions, functions, types and errors against what Trino 476 answered (`duckdb_cases.jsonl`).

Each line holds a statement with the columns, types and rows, or the error and its place, that the real Trino gave.
A line with `gap` is one where the embedded engine is known to differ; when it stops to differ, the mark must go.
`record_duckdb_cases.py` records anew; `test_duckdb_against_trino.py` checks the recording.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.engines.duckdb.failures import TrinoFailure
from tests.engines.duckdb_rig import Embedded

CASES = [json.loads(line) for line in (Path(__file__).parent / "duckdb_cases.jsonl").read_text().splitlines()]
AGREEING = 420
GAPS = 40


@pytest.fixture(scope="module")
def embedded() -> Iterator[Embedded]:
    rig = Embedded()
    yield rig
    rig.engine.close()


def answer(embedded: Embedded, case: dict[str, Any]) -> dict[str, Any]:
    """What the embedded engine says, in the form of a case."""
    try:
        found = embedded.run(case["sql"])
    except TrinoFailure as error:
        failure = error.failure
        out: dict[str, Any] = {"error": failure.code.name}
        if failure.position is not None:
            out |= {"line": failure.position.line, "column": failure.position.column}
        return out
    return {"columns": found.columns, "rows": found.rows}


def comparable(case: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in case.items() if key not in ("sql", "gap")}
    if "rows" in kept and "order by" not in case.get("sql", ""):
        kept["rows"] = sorted(kept["rows"], key=str)
    return kept


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.get("gap")], ids=lambda case: case["sql"][:80]
)
def test_as_trino(embedded: Embedded, case: dict[str, Any]) -> None:
    assert comparable(answer(embedded, case) | {"sql": case["sql"]}) == comparable(case)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.get("gap")], ids=lambda case: case["sql"][:80]
)
def test_known_gaps_are_still_gaps(embedded: Embedded, case: dict[str, Any]) -> None:
    found = comparable(answer(embedded, case) | {"sql": case["sql"]})
    assert found != comparable(case), "it agrees with Trino now: take the gap mark away"


def test_the_corpus_only_grows() -> None:
    agreeing = sum(1 for case in CASES if not case.get("gap"))
    assert agreeing >= AGREEING
    assert len(CASES) - agreeing <= GAPS
