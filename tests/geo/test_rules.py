"""routing.yaml: compiled, its cases run, its mistakes shown with their line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.geo.rules import load_routing
from gateway.settings import SettingsError

EXAMPLE = Path(__file__).parents[2] / "rules" / "routing.example.yaml"
GROUPS = frozenset({"batch", "adhoc", "interactive"})


def test_the_example_loads_and_its_cases_hold() -> None:
    routing = load_routing(EXAMPLE, GROUPS)
    assert [rule.group for rule in routing.rules] == ["batch", "interactive", "interactive"]
    assert routing.rules[0].queue_seconds == 300
    assert routing.version == load_routing(EXAMPLE, GROUPS).version


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("group: batch", "group: batsh", 11, "did you mean 'batch'?"),
        ("fallback: [adhoc]", "fallback: [nowhere]", 12, "no backend is in a group 'nowhere'"),
        ('hours: "22:00-06:00"', 'hours: "25:00-06:00"', 9, "expected a daily window"),
        ("America/New_York", "America/NewYork", 10, "did you mean"),
        ("sources:", "source:", 16, "source"),
        ("kinds: [query]", "kinds: [sellect]", 16, "sellect"),
        ('at: "fri 12:00", rule: null', 'at: "fri 12:00", rule: x', 27, "expected 'x', but None"),
        ("name: a dashboard, source: superset-6", "name: d, source: nothing", 28, "but None matches"),
        (
            "name: dashboards to the interactive group",
            "name: nightly loads to the batch group",
            15,
            "is taken by",
        ),
    ],
)
def test_a_mistake_is_shown_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    text = EXAMPLE.read_text()
    assert old in text
    path = tmp_path / "routing.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(SettingsError) as wrong:
        load_routing(path, GROUPS)
    shown = [str(problem) for problem in wrong.value.problems]
    assert any(f"routing.yaml:{line}:" in s and message in s for s in shown), shown


def test_a_rule_that_shadows_another_fails_the_others_case(tmp_path: Path) -> None:
    path = tmp_path / "routing.yaml"
    path.write_text(
        EXAMPLE.read_text().replace("rules:\n", "rules:\n  - {name: everything, group: adhoc}\n", 1)
    )
    with pytest.raises(SettingsError, match="'everything' matches first"):
        load_routing(path, GROUPS)
