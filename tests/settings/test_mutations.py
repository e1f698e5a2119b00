"""Whatever happens to a file on its way, the answer is a list of problems with places: never an exception."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.settings import check
from gateway.settings.document import parse_document

GOOD = (
    (Path(__file__).parents[2] / "gateway.example.yaml").read_text()
    + """
modes: {rewriter: observe, cost: [{mode: enforce, groups: [a], percent: 5}]}
limits: {statement_bytes: 1MiB, decide_cpu: 500ms}
clickhouse: {on_forbidden_setting: drop}
"""
)
SNIPPETS = [
    *(
        "{",
        "}",
        "[",
        "]",
        ":",
        "- ",
        "&a ",
        "*a",
        "!!x ",
        "'",
        '"',
        "\t",
        "\n",
        "  ",
        "# ",
        "%",
        "null",
        "off",
    ),
    *("1e999", ".inf", "\x00", "é", "name: ", "? ", "<<: *a", "---\n", "...\n", "\\u12", '"\\x', "9" * 30),
]


def mutate(text: str, seed: int) -> str:
    """A few edits, as slips of the hand, merges and truncation make them."""
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 4)):
        lines = text.split("\n")
        at, line = chance.randrange(len(text) + 1), chance.randrange(len(lines))
        match chance.randrange(7):
            case 0:
                text = text[:at] + chance.choice(SNIPPETS) + text[at:]
            case 1:
                text = text[:at] + text[at + chance.randint(1, 8) :]
            case 2:
                text = "\n".join([*lines[:line], *lines[line + 1 :]])
            case 3:
                text = "\n".join([*lines[: line + 1], *lines[line:]])
            case 4:
                lines[line] = " " * chance.randint(1, 5) + lines[line]
                text = "\n".join(lines)
            case 5:
                text = text[:at]
            case _:
                words = text.split(" ")
                one, two = chance.randrange(len(words)), chance.randrange(len(words))
                words[one], words[two] = words[two], words[one]
                text = " ".join(words)
    return text


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(min_value=0, max_value=2**32))
def test_a_damaged_file_never_crashes_and_every_problem_names_a_line(seed: int) -> None:
    text = mutate(GOOD, seed)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "gateway.yaml"
        path.write_text(text)
        problems = check(path)
    for problem in problems:
        assert 1 <= problem.line <= text.count("\n") + 2
        assert problem.column >= 1
        assert problem.message
    if text == GOOD:
        assert problems == []


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(alphabet="[]{}:,-?&*!|>'\"%@`#\n \tab1.\\", max_size=80).map(str.encode),
    )
)
def test_any_bytes_are_parsed_or_refused(raw: bytes) -> None:
    document = parse_document(raw, "f")
    assert document.root is not None or document.problems
