"""Routing: first match wins, fallbacks, time of day in its zone, and what the trail says."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from gateway.core.decide import decide
from gateway.core.decision import EngineKind, Plan, Refusal
from gateway.core.facts import NO_FACTS, CurrentTime, Facts
from gateway.core.modes import Modes
from gateway.core.principal import Principal
from gateway.core.snapshot import Snapshot
from gateway.core.stage import Draft, Stage
from gateway.core.statement import RelationName, Statement, StatementKind, Wire
from gateway.geo.model import BackendSpec, Condition, Hours, Routing, RoutingRule, Topology
from gateway.geo.stage import place_stage, route_stage

BACKENDS = (
    BackendSpec("adhoc-1", EngineKind.TRINO, "adhoc"),
    BackendSpec("adhoc-2", EngineKind.TRINO, "adhoc"),
    BackendSpec("batch-1", EngineKind.TRINO, "batch"),
    BackendSpec("fast-1", EngineKind.CLICKHOUSE, "fast"),
)
TOPOLOGY = Topology(BACKENDS, {Wire.TRINO: "adhoc", Wire.CLICKHOUSE: "fast"}, "t1")
RELATIONS = (RelationName("lake", "market", "lmp_5min"),)


def route(
    *rules: RoutingRule,
    statement: Statement = Statement("select 1", Wire.TRINO),
    principal: Principal = Principal("anna", frozenset({"desk-west"})),
    kind: StatementKind = StatementKind.QUERY,
    facts: Facts = NO_FACTS,
    topology: Topology = TOPOLOGY,
) -> object:
    def seen(draft: Draft) -> None:
        draft.kind, draft.relations = kind, RELATIONS

    stages = [Stage("parse", seen), Stage("place", place_stage), Stage("route", route_stage)]
    snapshot = Snapshot([Modes(), topology, Routing(rules, "r1")])
    return decide(statement, principal, snapshot, facts, stages)


def to_batch(**when: object) -> RoutingRule:
    return RoutingRule("to batch", Condition(**when), "batch")  # type: ignore[arg-type]


def test_without_a_rule_the_default_group_in_configured_order() -> None:
    plan = route()
    assert isinstance(plan, Plan)
    assert plan.backends == ("adhoc-1", "adhoc-2")


@pytest.mark.parametrize(
    ("when", "group"),
    [
        ({"users": ("an*",)}, "batch"),
        ({"users": ("bob",)}, "adhoc"),
        ({"groups": ("desk-*",)}, "batch"),
        ({"groups": ("ops",)}, "adhoc"),
        ({"tables": ("lake.market.*",)}, "batch"),
        ({"tables": ("lake.weather.*",)}, "adhoc"),
        ({"kinds": frozenset({StatementKind.QUERY})}, "batch"),
        ({"kinds": frozenset({StatementKind.INSERT})}, "adhoc"),
        ({"wires": frozenset({Wire.CLICKHOUSE})}, "adhoc"),
        ({"sources": ("airflow",)}, "adhoc"),
        ({"users": ("anna",), "groups": ("ops",)}, "adhoc"),
        ({}, "batch"),
    ],
)
def test_conditions(when: dict[str, object], group: str) -> None:
    plan = route(to_batch(**when))
    assert isinstance(plan, Plan)
    assert plan.group == group


def test_source_and_client_tags_come_from_the_statement() -> None:
    statement = Statement("select 1", Wire.TRINO, source="airflow", client_tags=("nightly", "etl"))
    for when in ({"sources": ("air*",)}, {"client_tags": ("etl",)}):
        plan = route(to_batch(**when), statement=statement)
        assert isinstance(plan, Plan)
        assert plan.group == "batch"


def test_the_first_match_wins_and_is_named_in_the_trail() -> None:
    plan = route(to_batch(), RoutingRule("never", Condition(), "adhoc"))
    assert isinstance(plan, Plan)
    assert [step.rule for step in plan.trail.steps if step.stage == "route"] == ["to batch"]


def test_fallback_backends_follow_those_of_the_group() -> None:
    plan = route(RoutingRule("r", Condition(), "batch", fallback=("adhoc",), queue_seconds=5))
    assert isinstance(plan, Plan)
    assert plan.backends == ("batch-1", "adhoc-1", "adhoc-2")
    assert plan.max_queue_seconds == 5


def test_a_group_of_another_engine_is_not_used() -> None:
    refusal = route(RoutingRule("wrong way", Condition(), "fast"))
    assert isinstance(refusal, Refusal)
    assert "`fast`" in refusal.message
    assert refusal.rule == "wrong way"


def test_a_wire_without_any_engine_is_refused_in_words() -> None:
    refusal = route(
        topology=Topology(BACKENDS[:3], {}, "t"), statement=Statement("select 1", Wire.CLICKHOUSE)
    )
    assert isinstance(refusal, Refusal)
    assert "clickhouse" in refusal.message


NIGHT = Hours(22 * 60, 6 * 60, zone=ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize(
    ("utc", "group"),
    [
        (datetime(2026, 1, 15, 20, 59, tzinfo=UTC), "adhoc"),
        (datetime(2026, 1, 15, 21, 0, tzinfo=UTC), "batch"),  # 22:00 in winter
        (datetime(2026, 7, 15, 20, 0, tzinfo=UTC), "batch"),  # 22:00 in summer
        (datetime(2026, 7, 15, 4, 0, tzinfo=UTC), "adhoc"),
    ],
)
def test_hours_follow_their_zone_through_daylight_saving(utc: datetime, group: str) -> None:
    now = utc.timestamp()
    plan = route(to_batch(hours=NIGHT), facts=Facts({CurrentTime(60): now}))
    assert isinstance(plan, Plan)
    assert plan.group == group
    assert plan.valid_until == now + 60


def test_a_window_past_midnight_belongs_to_the_day_it_starts_on() -> None:
    friday_night = Hours(22 * 60, 6 * 60, days=frozenset({4}))
    assert friday_night.covers(4, 23 * 60)
    assert friday_night.covers(5, 5 * 60)
    assert not friday_night.covers(5, 23 * 60)
    assert not friday_night.covers(4, 5 * 60)
