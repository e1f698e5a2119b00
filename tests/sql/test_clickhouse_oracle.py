"""ClickHouse's own parser as the oracle: what we emit is read by the engine as what the client wrote."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from gateway.core.decision import Refusal
from gateway.core.statement import Wire
from gateway.sql.guard import Bounds, guard
from gateway.sql.parse import parse
from gateway.sql.render import render

FIXTURES = Path(__file__).parents[1] / "fixtures" / "sql"
CORPUS = (FIXTURES / "clickhouse_corpus.sql").read_text().splitlines()
KNOWN: dict[str, dict[str, str]] = YAML(typ="safe").load(FIXTURES / "clickhouse_known.yml")

Formatter = Callable[[str], str]


@pytest.fixture(scope="module")
def engine() -> Iterator[Formatter]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.sql.chdb_oracle"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None

        def formatted(text: str) -> str:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(json.dumps(text) + "\n")
            child.stdin.flush()
            answer: str = json.loads(child.stdout.readline())
            return re.sub(r"`(\w+)`", r"\1", answer)

        yield formatted
        child.stdin.close()
        child.wait(timeout=30)


def test_the_engine_reads_what_we_emit_as_what_was_written(engine: Formatter) -> None:
    same, wrong = 0, []
    for text in CORPUS:
        original = engine(text)
        assert original, f"the engine rejects this line of the corpus: {text}"
        assert isinstance(guard(text, Wire.CLICKHOUSE), Bounds), text
        parsed = parse(text, Wire.CLICKHOUSE)
        if isinstance(parsed, Refusal):
            if text not in KNOWN["refused"]:
                wrong.append(f"refused: {text}: {parsed.message}")
        elif (emitted := engine(render(parsed))) == original:
            same += 1
            assert text not in KNOWN["differs"], f"fixed, take it off the list: {text}"
        elif text not in KNOWN["differs"]:
            wrong.append(
                f"{text}\n   engine: {original}\n   ours:   {emitted or 'rejected: ' + render(parsed)}"
            )
    assert not wrong, "\n".join(wrong)
    assert same >= 245, "the corpus may only grow"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT \u201ct\u201d",
        "SELECT 1 \u2212 2",
        "SELECT a #x\n",
        "SELECT $a$ x",
        "SELECT {# \n a:Int8}",
        "SELECT 'a\\'",
    ],
)
def test_what_the_guard_refuses_is_not_needed(text: str) -> None:
    """Spellings that the two parsers read differently, or that the engine rejects."""
    assert isinstance(guard(text, Wire.CLICKHOUSE), Refusal)
