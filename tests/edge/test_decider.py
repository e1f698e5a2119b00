"""The loop around `decide`: cache keys, expiry, probes (bounded, single flight), snapshots."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.decision import EngineKind, Plan, Refusal, RefusalCode
from gateway.core.facts import CurrentTime, Probe
from gateway.core.modes import Modes
from gateway.core.principal import Principal
from gateway.core.snapshot import Snapshot
from gateway.core.stage import Draft, Stage, StageResult
from gateway.core.statement import Statement, Wire
from gateway.edge.decider import Decider, DeciderLimits, ProbeFailed
from gateway.edge.snapshots import SnapshotHolder

ANNA, BOB = Principal("anna"), Principal("bob")


@dataclass(frozen=True, slots=True)
class Question(Probe[str]):
    text: str


class Rig:
    """A decider over one stage, with counted probes and a clock that the test sets."""

    def __init__(self, stage: Callable[[Draft], StageResult], **limits: Any) -> None:
        self.now = 1_020.0
        self.asked: list[Probe[Any]] = []
        self.runs = 0
        self.holder = SnapshotHolder(Snapshot([Modes({}, "1")]))

        def counted(draft: Draft) -> StageResult:
            self.runs += 1
            return stage(draft)

        self.decider = Decider(
            self.holder,
            (Stage("only", counted),),
            self.answer,
            DeciderLimits(**limits),
            clock=lambda: self.now,
        )

    async def answer(self, probe: Probe[Any], _snapshot: Snapshot) -> Any:
        self.asked.append(probe)
        await asyncio.sleep(0.01)
        if probe == Question("broken"):
            raise ProbeFailed(probe, "engine is down")
        if probe == Question("hangs"):
            await asyncio.sleep(60)
        return "yes"

    async def decide(self, text: str = "select 1", principal: Principal = ANNA, **fields: Any) -> Any:
        return await self.decider.decide(Statement(text, Wire.TRINO, **fields), principal)


def run_on_a(draft: Draft) -> StageResult:
    draft.engine, draft.backends, draft.text = EngineKind.TRINO, ("a",), f"for {draft.principal.name}"
    return None


def asking(*texts: str) -> Callable[[Draft], StageResult]:
    def stage(draft: Draft) -> StageResult:
        for text in texts:
            draft.facts[Question(text)]
        return run_on_a(draft)

    return stage


async def test_a_repeat_is_answered_from_the_cache() -> None:
    rig = Rig(run_on_a)
    first, second = await rig.decide(), await rig.decide()
    assert (first.cached, second.cached, rig.runs) == (False, True, 1)


async def test_principals_and_contexts_never_share_an_entry() -> None:
    rig = Rig(run_on_a)
    assert (await rig.decide()).decision.text == "for anna"
    assert (await rig.decide(principal=BOB)).decision.text == "for bob"
    await rig.decide(schema="market")
    await rig.decide(principal=Principal("anna", frozenset({"ops"})))
    assert rig.runs == 4


async def test_a_new_snapshot_empties_the_cache_and_an_equal_one_does_not() -> None:
    rig = Rig(run_on_a)
    await rig.decide()
    rig.holder.replace(Modes({}, "1"))
    await rig.decide()
    assert rig.runs == 1
    rig.holder.replace(Modes({}, "2"))
    await rig.decide()
    assert rig.runs == 2


async def test_valid_until_is_honoured() -> None:
    def until_next_minute(draft: Draft) -> StageResult:
        draft.expires(draft.facts[CurrentTime()] + 60)
        return run_on_a(draft)

    rig = Rig(until_next_minute)
    await rig.decide()
    rig.now += 30
    assert (await rig.decide()).cached
    rig.now += 60
    assert not (await rig.decide()).cached


async def test_probes_are_asked_once_for_all_who_wait() -> None:
    rig = Rig(asking("a"))
    done = await asyncio.gather(*(rig.decide(f"select {i}") for i in range(20)))
    assert rig.asked == [Question("a")]
    assert all(isinstance(d.decision, Plan) for d in done)


async def test_three_rounds_are_enough_and_a_fourth_is_refused() -> None:
    assert isinstance((await Rig(asking("a", "b", "c")).decide()).decision, Plan)
    refusal = (await Rig(asking("a", "b", "c", "d", "e")).decide()).decision
    assert isinstance(refusal, Refusal)
    assert refusal.code is RefusalCode.INTERNAL


async def test_a_probe_that_fails_or_hangs_refuses_and_is_not_cached() -> None:
    rig = Rig(asking("broken"))
    for _ in range(2):
        refusal = (await rig.decide()).decision
        assert isinstance(refusal, Refusal)
        assert refusal.code is RefusalCode.UNAVAILABLE
    assert len(rig.asked) == 2
    slow = Rig(asking("hangs"), probe_timeout_s=0.05)
    assert isinstance((await slow.decide()).decision, Refusal)


async def test_a_cancelled_asker_does_not_take_others_down() -> None:
    rig = Rig(asking("a"))
    one = asyncio.get_running_loop().create_task(rig.decide("one"))
    await asyncio.sleep(0)
    two = asyncio.get_running_loop().create_task(rig.decide("two"))
    await asyncio.sleep(0)
    one.cancel()
    done = await asyncio.gather(one, two, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert isinstance(done[1].decision, (Plan, Refusal)), "answered or refused, never lost"


async def test_the_cache_is_bounded_in_entries_and_bytes() -> None:
    rig = Rig(run_on_a, cache_entries=3)
    for i in range(10):
        await rig.decide(f"select {i}")
    await rig.decide("select 9")
    await rig.decide("select 0")
    assert rig.runs == 11
    small = Rig(run_on_a, cache_bytes=40_000)
    await small.decide("x" * 5_000)
    await small.decide("x" * 5_000)
    assert small.runs == 2, "an entry that would take more than a sixteenth of the cache is not kept"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), max_size=30))
def test_whoever_asks_gets_what_a_fresh_decision_would_give(asks: list[tuple[str, str]]) -> None:
    async def main() -> None:
        rig = Rig(run_on_a)
        for name, text in asks:
            done = await rig.decide(text, Principal(name))
            assert done.decision.text == f"for {name}"

    asyncio.run(main())
