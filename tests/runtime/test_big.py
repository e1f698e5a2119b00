"""Big statements in the killable child: the same decisions, and an end for hostile ones."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from gateway.core.decide import decide
from gateway.core.decision import EngineKind, Plan, Refusal, RefusalCode
from gateway.core.facts import NO_FACTS
from gateway.core.modes import Modes
from gateway.core.principal import Principal
from gateway.core.snapshot import Snapshot
from gateway.core.statement import Statement, Wire
from gateway.geo.model import BackendSpec, Routing, Topology
from gateway.pipeline import STAGES
from gateway.policy.stage import Policies
from gateway.runtime.big import BigDecisions
from gateway.sql.limits import SqlLimits
from gateway.sql.stage import SqlRules

ANNA = Principal("anna", frozenset({"desk-west"}))
TOPOLOGY = Topology((BackendSpec("a", EngineKind.TRINO, "trino"),), {Wire.TRINO: "trino"}, "t")
PARTS = [Modes(), TOPOLOGY, Routing(), Policies(), SqlRules()]
SNAPSHOT = Snapshot([*PARTS, SqlLimits()])


@pytest.fixture
async def big() -> AsyncIterator[BigDecisions]:
    decisions = BigDecisions(5.0)
    await decisions.start()
    yield decisions
    await decisions.close()


def long_statement(columns: int) -> Statement:
    names = ", ".join(f"lmp + {i} AS c{i}" for i in range(columns))
    return Statement(f"SELECT {names} FROM lake.market.lmp_5min", Wire.TRINO)


async def test_a_big_statement_is_decided_as_a_small_one_would_be(big: BigDecisions) -> None:
    statement = long_statement(1_500)
    elsewhere = await big.decide(statement, ANNA, SNAPSHOT, NO_FACTS)
    assert isinstance(elsewhere, Plan)
    assert elsewhere == decide(statement, ANNA, SNAPSHOT, NO_FACTS, STAGES)


async def test_what_takes_too_long_is_refused_and_the_next_one_is_served() -> None:
    decisions = BigDecisions(0.001)
    await decisions.start()
    try:
        refusal = await decisions.decide(long_statement(3_000), ANNA, SNAPSHOT, NO_FACTS)
        assert isinstance(refusal, Refusal)
        assert refusal.code is RefusalCode.TOO_COMPLEX
        decisions._cpu_s = 10.0
        assert isinstance(await decisions.decide(long_statement(500), ANNA, SNAPSHOT, NO_FACTS), Plan)
    finally:
        await decisions.close()


@pytest.mark.parametrize(
    "text",
    [
        "SELECT " + "(" * 20_000 + "1" + ")" * 20_000,
        "SELECT 1 WHERE " + " AND ".join(f"a{i} = {i}" for i in range(30_000)),
        "SELECT " + " || ".join(["'x'"] * 40_000),
        "SELECT CASE " * 5_000,
        "SELECT " + "NOT " * 50_000 + "true",
    ],
    ids=["parentheses", "and-chain", "concat-chain", "case", "not-chain"],
)
async def test_hostile_shapes_end_in_bounded_time(big: BigDecisions, text: str) -> None:
    await big.decide(long_statement(300), ANNA, SNAPSHOT, NO_FACTS)  # warm
    started = time.process_time(), time.monotonic()
    decision = await big.decide(Statement(text, Wire.TRINO), ANNA, SNAPSHOT, NO_FACTS)
    assert isinstance(decision, (Plan, Refusal))
    assert time.process_time() - started[0] < 1.0, "this process did not do the work"
