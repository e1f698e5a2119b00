"""`decide` over small pipelines: order, probes, modes, trails, purity."""

from __future__ import annotations

import pytest

from gateway.core.decide import decide
from gateway.core.decision import Answer, EngineKind, Need, Plan, Refusal, RefusalCode
from gateway.core.facts import NO_FACTS, CurrentTime, Facts
from gateway.core.modes import Mode, ModeRule, Modes
from gateway.core.principal import Principal
from gateway.core.snapshot import Snapshot
from gateway.core.stage import Draft, Stage, StageResult
from gateway.core.statement import Statement, StatementKind, Wire

ANNA = Principal("anna", frozenset({"desk-west"}))
STATEMENT = Statement("select 1", Wire.TRINO)


def snapshot(**modes: Mode | tuple[ModeRule, ...]) -> Snapshot:
    rules = {f: (ModeRule(m),) if isinstance(m, Mode) else m for f, m in modes.items()}
    return Snapshot([Modes(rules, "m1")])


def place(draft: Draft) -> StageResult:
    draft.engine, draft.group, draft.backends = EngineKind.TRINO, "adhoc", ("a",)
    draft.read["topology"] = "t1"
    return None


def refuse(draft: Draft) -> StageResult:
    draft.text = "changed"
    draft.trail.add("govern", "masked")
    return Refusal(RefusalCode.DENIED, "no", rule="pii")


PLACE, REFUSE = Stage("route", place), Stage("govern", refuse, "governance")


def run(stages: list[Stage], snap: Snapshot, facts: Facts = NO_FACTS) -> Plan | Answer | Refusal | Need:
    return decide(STATEMENT, ANNA, snap, facts, stages)


def test_a_plan_carries_text_read_set_and_trail() -> None:
    plan = run([PLACE], snapshot())
    assert isinstance(plan, Plan)
    assert (plan.text, plan.backends, plan.read_set.versions) == ("select 1", ("a",), (("topology", "t1"),))


def test_enforced_refusal_ends_the_pipeline_and_is_in_the_trail() -> None:
    refusal = run([REFUSE, PLACE], snapshot(governance=Mode.ENFORCE))
    assert isinstance(refusal, Refusal)
    assert [step.effect for step in refusal.trail.steps] == ["masked", "refused"]


def test_observe_changes_nothing_and_says_what_it_would_have_done() -> None:
    plan = run([REFUSE, PLACE], snapshot(governance=Mode.OBSERVE))
    assert isinstance(plan, Plan)
    assert plan.text == "select 1"
    assert [(s.effect, s.observed) for s in plan.trail.steps] == [("masked", True), ("refused", True)]


def test_observed_stages_of_a_feature_share_one_shadow() -> None:
    seen: list[str] = []

    def first(draft: Draft) -> StageResult:
        draft.text = "shadowed"
        return None

    def second(draft: Draft) -> StageResult:
        seen.append(draft.text)
        return None

    stages = [Stage("one", first, "f"), Stage("two", second, "f"), PLACE]
    plan = run(stages, snapshot(f=Mode.OBSERVE))
    assert seen == ["shadowed"]
    assert isinstance(plan, Plan)
    assert plan.text == "select 1"


def test_a_feature_without_a_mode_is_off() -> None:
    assert isinstance(run([REFUSE, PLACE], snapshot()), Plan)


@pytest.mark.parametrize(
    ("rules", "refused"),
    [
        ((ModeRule(Mode.ENFORCE, users=frozenset({"anna"})),), True),
        ((ModeRule(Mode.ENFORCE, users=frozenset({"bob"})),), False),
        ((ModeRule(Mode.ENFORCE, groups=frozenset({"desk-west"})),), True),
        ((ModeRule(Mode.ENFORCE, percent=0),), False),
        ((ModeRule(Mode.OFF, users=frozenset({"anna"})), ModeRule(Mode.ENFORCE)), False),
    ],
)
def test_modes_by_user_group_and_percentage(rules: tuple[ModeRule, ...], refused: bool) -> None:
    assert isinstance(run([REFUSE, PLACE], snapshot(governance=rules)), Refusal) is refused


def test_percentages_grow_monotonically() -> None:
    names = [Principal(f"user{i}") for i in range(2_000)]
    at = {p: {n.name for n in names if ModeRule(Mode.ENFORCE, percent=p).matches("f", n)} for p in (10, 50)}
    assert at[10] < at[50]
    assert 120 < len(at[10]) < 280


def test_a_missing_fact_becomes_a_need_and_its_answer_ends_it() -> None:
    def clock(draft: Draft) -> StageResult:
        draft.expires(draft.facts[CurrentTime()] + 60)
        return place(draft)

    stages = [Stage("route", clock)]
    assert run(stages, snapshot()) == Need((CurrentTime(),))
    plan = run(stages, snapshot(), Facts({CurrentTime(): 120.0}))
    assert isinstance(plan, Plan)
    assert plan.valid_until == 180.0


def test_no_backend_is_a_refusal_that_says_what_to_do() -> None:
    refusal = run([], snapshot())
    assert isinstance(refusal, Refusal)
    assert refusal.code is RefusalCode.NO_BACKEND
    assert "gateway explain" in refusal.message


def test_an_answer_keeps_its_rows_and_gets_the_trail() -> None:
    def show(draft: Draft) -> StageResult:
        draft.kind = StatementKind.SHOW
        draft.trail.add("authorize", "answered from the catalogue")
        return Answer((), (), StatementKind.SHOW)

    answer = run([Stage("authorize", show)], snapshot())
    assert isinstance(answer, Answer)
    assert answer.trail.steps[0].effect == "answered from the catalogue"


def test_equal_inputs_give_equal_decisions() -> None:
    assert run([PLACE], snapshot()) == run([PLACE], snapshot())


def test_an_unknown_kind_is_taken_to_write() -> None:
    assert StatementKind.UNKNOWN.writes
    assert StatementKind.EXECUTE.writes, "what it runs is in a header; until seen through it may write"
    assert not StatementKind.QUERY.writes


def test_snapshot_parts_are_typed_and_versions_sorted() -> None:
    snap = snapshot(f=Mode.OFF)
    assert snap[Modes].version == "m1"
    assert snap.with_parts(Modes({}, "m2")).version == (("Modes", "m2"),)
    assert snap.version == (("Modes", "m1"),), "the old one is untouched"
    with pytest.raises(KeyError, match="no part Facts"):
        snap[Facts]  # type: ignore[type-var]
