"""The loop around `decide`: cache, probes (bounded, single flight), and the child for big statements."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.core.decide import decide
from gateway.core.decision import Decision, Need, Refusal, RefusalCode
from gateway.core.facts import NO_FACTS, CurrentTime, Facts, Probe
from gateway.core.principal import Principal
from gateway.core.snapshot import Snapshot
from gateway.core.stage import Stage
from gateway.core.statement import Statement

MAX_ROUNDS = 3
"""Rounds of probes for one decision (DESIGN §1); a fourth `Need` is a refusal."""


class SnapshotSource(Protocol):
    """Holds the current snapshot; swapped atomically by refreshers."""

    @property
    def current(self) -> Snapshot: ...


@dataclass(frozen=True, slots=True)
class DeciderLimits:
    """`cache_bytes` counts statement and plan texts; `big_bytes` is where the child process takes over."""

    probe_timeout_s: float = 5.0
    cache_entries: int = 10_000
    cache_bytes: int = 64 * 1024 * 1024
    big_bytes: int = 8 * 1024


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision, what it cost to reach it, and the facts with which it can be replayed."""

    decision: Decision
    snapshot: Snapshot
    facts: Facts = NO_FACTS
    cached: bool = False
    seconds: float = 0.0


AnswerProbe = Callable[[Probe[Any], Snapshot], Awaitable[Any]]
DecideElsewhere = Callable[[Statement, Principal, Snapshot, Facts], Awaitable[Decision | Need]]


class Decider:
    """Decides statements for the edge.

    The cache key is exact: the whole statement value, the whole principal and the snapshot's versions. Two
    principals never share an entry (invariant: equal keys are equal inputs, and `decide` is pure).
    """

    def __init__(
        self,
        snapshots: SnapshotSource,
        stages: tuple[Stage, ...],
        answer_probe: AnswerProbe,
        limits: DeciderLimits,
        *,
        elsewhere: DecideElsewhere | None = None,
        on_stage: Callable[[str, float], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._snapshots = snapshots
        self._stages = stages
        self._answer_probe = answer_probe
        self._limits = limits
        self._elsewhere = elsewhere
        self._on_stage = on_stage
        self._clock = clock
        self._cache: OrderedDict[tuple[Statement, Principal], tuple[Decided, int]] = OrderedDict()
        self._cached_snapshot: Snapshot | None = None
        self._bytes = 0
        self._flights: dict[Probe[Any], asyncio.Future[Any]] = {}

    @property
    def snapshot(self) -> Snapshot:
        """The current snapshot."""
        return self._snapshots.current

    def remembered(self, statement: Statement, principal: Principal) -> Decided | None:
        """The cached decision if it still holds; never waits."""
        snapshot = self._snapshots.current
        if snapshot is not self._cached_snapshot:
            self._forget(snapshot)
            return None
        entry = self._cache.get((statement, principal))
        if entry is None:
            return None
        until = entry[0].decision.valid_until
        if until is not None and self._clock() >= until:
            return None
        self._cache.move_to_end((statement, principal))
        return entry[0]

    async def decide(self, statement: Statement, principal: Principal) -> Decided:
        """The decision, from cache or made now. Never raises for anything a client sent."""
        started = time.perf_counter()
        known = self.remembered(statement, principal)
        if known is not None:
            seconds = time.perf_counter() - started
            return Decided(known.decision, known.snapshot, known.facts, True, seconds)
        snapshot, facts = self._snapshots.current, NO_FACTS
        for _round in range(MAX_ROUNDS + 1):
            decision = await self._once(statement, principal, snapshot, facts)
            if not isinstance(decision, Need):
                done = Decided(decision, snapshot, facts, False, time.perf_counter() - started)
                self._remember(statement, principal, done)
                return done
            try:
                facts = facts.with_answers(await self._answers(decision.probes, snapshot))
            except ProbeFailed as error:
                return Decided(_unanswered(error), snapshot, facts, False, time.perf_counter() - started)
        return Decided(
            Refusal(
                RefusalCode.INTERNAL,
                f"The decision asked for more facts than {MAX_ROUNDS} rounds could give. This is a defect of "
                "the gateway; its log has the probes.",
                rule="probe rounds",
            ),
            snapshot,
            facts,
        )

    async def _once(
        self, statement: Statement, principal: Principal, snapshot: Snapshot, facts: Facts
    ) -> Decision | Need:
        if self._elsewhere is not None and len(statement.text) > self._limits.big_bytes:
            return await self._elsewhere(statement, principal, snapshot, facts)
        return decide(statement, principal, snapshot, facts, self._stages, self._stage_timer())

    def _stage_timer(self) -> Callable[[str], None] | None:
        observe = self._on_stage
        if observe is None:
            return None
        last = time.perf_counter()

        def tick(stage: str) -> None:
            nonlocal last
            now = time.perf_counter()
            observe(stage, now - last)
            last = now

        return tick

    async def _answers(self, probes: tuple[Probe[Any], ...], snapshot: Snapshot) -> dict[Probe[Any], Any]:
        answers = await asyncio.gather(*(self._answer(probe, snapshot) for probe in probes))
        return dict(zip(probes, answers, strict=True))

    async def _answer(self, probe: Probe[Any], snapshot: Snapshot) -> Any:
        if isinstance(probe, CurrentTime):
            now = self._clock()
            return now - now % probe.resolution
        flight = self._flights.get(probe)
        if flight is None:
            flight = asyncio.get_running_loop().create_future()
            flight.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._flights[probe] = flight
            try:
                async with asyncio.timeout(self._limits.probe_timeout_s):
                    flight.set_result(await self._answer_probe(probe, snapshot))
            except TimeoutError:
                flight.set_exception(ProbeFailed(probe, "no answer in time"))
            except ProbeFailed as error:
                flight.set_exception(error)
            finally:
                del self._flights[probe]
                if not flight.done():
                    flight.set_exception(ProbeFailed(probe, "the probe was cancelled"))
        return await asyncio.shield(flight)

    def _remember(self, statement: Statement, principal: Principal, done: Decided) -> None:
        if done.snapshot is not self._cached_snapshot:
            if done.snapshot is not self._snapshots.current:
                return
            self._forget(done.snapshot)
        plan_text = getattr(done.decision, "text", "")
        size = 1_000 + 2 * (len(statement.text) + len(plan_text))
        if size > self._limits.cache_bytes // 16:
            return
        replaced = self._cache.pop((statement, principal), None)
        self._bytes += size - (replaced[1] if replaced else 0)
        self._cache[statement, principal] = (done, size)
        while len(self._cache) > self._limits.cache_entries or self._bytes > self._limits.cache_bytes:
            _, (_, freed) = self._cache.popitem(last=False)
            self._bytes -= freed

    def _forget(self, snapshot: Snapshot) -> None:
        self._cache.clear()
        self._bytes = 0
        self._cached_snapshot = snapshot


class ProbeFailed(Exception):
    """A probe has no answer; the statement is refused, since guessing would not be safe."""

    def __init__(self, probe: Probe[Any], why: str) -> None:
        super().__init__(f"{probe.describe()}: {why}")


def _unanswered(error: ProbeFailed) -> Refusal:
    return Refusal(
        RefusalCode.UNAVAILABLE,
        f"The gateway could not find out what it must know to decide ({error}). Try again; if it stays, "
        "ask your operator to look at the engine's health.",
        rule="probe",
    )
