"""The one function that everything else serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from gateway.core.decision import Answer, Decision, Need, Plan, ReadSet, Refusal, RefusalCode
from gateway.core.facts import Facts, Unanswered
from gateway.core.modes import Mode, Modes
from gateway.core.principal import Principal
from gateway.core.snapshot import Snapshot
from gateway.core.stage import Draft, Stage, StageResult
from gateway.core.statement import Statement
from gateway.core.trail import Step

Ended = TypeVar("Ended", bound=Refusal | Answer)


def decide(
    statement: Statement,
    principal: Principal,
    snapshot: Snapshot,
    facts: Facts,
    stages: Sequence[Stage],
    on_stage: Callable[[str], None] | None = None,
) -> Decision | Need:
    """Run the stages in order over one draft. Pure: equal arguments give equal decisions.

    `on_stage(name)` is called after each stage; it lets the edge time stages and must not influence them.
    A stage in *observe* mode works on a copy that later observed stages of its feature share; only its
    trail survives, marked as observed.
    """
    draft = Draft(statement, principal, snapshot, facts, text=statement.text)
    shadows: dict[str, Draft] = {}
    try:
        for stage in stages:
            outcome = _run(stage, draft, shadows)
            if on_stage is not None:
                on_stage(stage.name)
            if outcome is not None:
                return _finish(outcome, draft)
    except Unanswered as missing:
        return Need(missing.probes)
    return _plan(draft)


def _run(stage: Stage, draft: Draft, shadows: dict[str, Draft]) -> StageResult:
    feature = stage.feature
    if feature is None:
        return stage.run(draft)
    mode = draft.snapshot[Modes].of(feature, draft.principal)
    if mode is Mode.ENFORCE:
        return stage.run(draft)
    if mode is Mode.OBSERVE:
        _observe(stage, feature, draft, shadows)
    return None


def _observe(stage: Stage, feature: str, draft: Draft, shadows: dict[str, Draft]) -> None:
    shadow = shadows.setdefault(feature, draft.fork())
    known = len(shadow.trail.steps)
    outcome = stage.run(shadow)
    steps = [replace(step, observed=True) for step in shadow.trail.steps[known:]]
    if isinstance(outcome, Refusal):
        steps.append(Step(stage.name, "refused", outcome.rule, outcome.message, observed=True))
    elif isinstance(outcome, Answer):
        steps.append(Step(stage.name, "answered", observed=True))
    draft.trail.steps.extend(steps)


def _finish(outcome: Ended, draft: Draft) -> Ended:
    if isinstance(outcome, Refusal):
        draft.trail.add("decide", "refused", rule=outcome.rule, detail=outcome.code.value)
    return replace(
        outcome,
        kind=draft.kind,
        fingerprint=draft.fingerprint,
        read_set=_read_set(draft),
        valid_until=draft.valid_until,
        trail=draft.trail.build(),
    )


def _plan(draft: Draft) -> Plan | Refusal:
    if draft.engine is None or not draft.backends:
        refusal = Refusal(
            RefusalCode.NO_BACKEND,
            "No backend can run this statement. Ask your operator: `gateway explain` shows which stage "
            "found no place for it.",
        )
        return _finish(refusal, draft)
    return Plan(
        text=draft.text,
        kind=draft.kind,
        engine=draft.engine,
        group=draft.group,
        backends=draft.backends,
        rewritten=draft.rewritten,
        settings=tuple(sorted(draft.settings.items())),
        relations=draft.relations,
        fingerprint=draft.fingerprint,
        positions=draft.positions,
        max_queue_seconds=draft.max_queue_seconds,
        read_set=_read_set(draft),
        valid_until=draft.valid_until,
        trail=draft.trail.build(),
    )


def _read_set(draft: Draft) -> ReadSet:
    return ReadSet(tuple(sorted(draft.read.items())))
