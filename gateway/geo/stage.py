"""Stages *place* and *route*: which engines could run the statement, and which group does."""

from __future__ import annotations

from datetime import datetime

from gateway.core.decision import Refusal, RefusalCode
from gateway.core.facts import CurrentTime
from gateway.core.stage import Draft, StageResult
from gateway.geo.model import ENGINES_OF_WIRE, BackendSpec, Hours, Routing, RoutingRule, Topology

MINUTE = 60


def place_stage(draft: Draft) -> StageResult:
    """Every engine that speaks the wire is a candidate; sovereignty and freshness come with federation."""
    topology = draft.snapshot[Topology]
    draft.read["topology"] = topology.version
    kinds = ENGINES_OF_WIRE[draft.statement.wire]
    if any(backend.kind in kinds for backend in topology.backends):
        return None
    return Refusal(
        RefusalCode.NO_BACKEND,
        f"No backend is configured for the {draft.statement.wire.value} wire. Add one under `backends:` "
        "in the gateway's settings.",
        rule="topology",
    )


def route_stage(draft: Draft) -> StageResult:
    """The first matching rule's group, then its fallbacks; without a match the wire's default group."""
    topology, routing = draft.snapshot[Topology], draft.snapshot[Routing]
    draft.read["routing"] = routing.version
    rule = next((rule for rule in routing.rules if _matches(rule, draft)), None)
    group = rule.group if rule else topology.default_groups.get(draft.statement.wire, "")
    groups = (group, *(rule.fallback if rule else ()))
    usable = [b for name in groups for b in topology.in_group(name) if _speaks(b, draft)]
    if not usable:
        return Refusal(
            RefusalCode.NO_BACKEND,
            f"Group `{group}` has no backend that speaks the {draft.statement.wire.value} protocol.",
            rule=rule.name if rule else "default group",
        )
    draft.engine = usable[0].kind
    chosen = [backend for backend in usable if backend.kind is draft.engine]
    draft.group, draft.backends = chosen[0].group, tuple(backend.name for backend in chosen)
    draft.max_queue_seconds = rule.queue_seconds if rule else None
    draft.trail.add(
        "route", f"group `{draft.group}`", rule=rule.name if rule else None, detail=f"{len(chosen)} backends"
    )
    return None


def _speaks(backend: BackendSpec, draft: Draft) -> bool:
    return backend.kind in ENGINES_OF_WIRE[draft.statement.wire]


def _matches(rule: RoutingRule, draft: Draft) -> bool:
    when = rule.when
    if not when.holds(draft.statement, draft.principal, draft.kind, draft.relations):
        return False
    return when.hours is None or _within(when.hours, draft)


def _within(hours: Hours, draft: Draft) -> bool:
    now = draft.facts[CurrentTime(MINUTE)]
    draft.expires(now - now % MINUTE + MINUTE)
    local = datetime.fromtimestamp(now, hours.zone)
    return hours.covers(local.weekday(), local.hour * 60 + local.minute)
