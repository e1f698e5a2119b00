"""Backends in groups, and the routing rules that choose among groups. Pure data, part of the snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from gateway.core.decision import EngineKind
from gateway.core.principal import Principal
from gateway.core.statement import RelationName, Statement, StatementKind, Wire

ENGINES_OF_WIRE: Mapping[Wire, frozenset[EngineKind]] = {
    Wire.TRINO: frozenset({EngineKind.TRINO, EngineKind.DUCKDB}),
    Wire.CLICKHOUSE: frozenset({EngineKind.CLICKHOUSE, EngineKind.CHDB}),
}
"""Engines that speak a wire's protocol themselves; any other needs a hand-off."""


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """One configured end point. Whether it is healthy, drained or loaded is the edge's business."""

    name: str
    kind: EngineKind
    group: str
    region: str = ""


@dataclass(frozen=True, slots=True)
class Topology:
    """All configured backends and the default group of each wire."""

    backends: tuple[BackendSpec, ...]
    default_groups: Mapping[Wire, str]
    version: str

    def in_group(self, group: str) -> tuple[BackendSpec, ...]:
        """The group's backends in the order of configuration."""
        return tuple(backend for backend in self.backends if backend.group == group)


@dataclass(frozen=True, slots=True)
class Hours:
    """A daily window in a time zone, minutes from midnight, end exclusive; it may wrap past midnight."""

    start: int
    end: int
    days: frozenset[int] = frozenset(range(7))
    """Monday is 0. A window that wraps belongs to the day on which it starts."""
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))

    def covers(self, weekday: int, minute: int) -> bool:
        """Whether this local weekday and minute lie in the window."""
        if self.start <= self.end:
            return weekday in self.days and self.start <= minute < self.end
        late = weekday in self.days and minute >= self.start
        early = (weekday - 1) % 7 in self.days and minute < self.end
        return late or early


@dataclass(frozen=True, slots=True)
class Condition:
    """What a rule asks of a statement. Empty fields ask nothing; filled ones must all hold."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    client_tags: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    kinds: frozenset[StatementKind] = frozenset()
    wires: frozenset[Wire] = frozenset()
    hours: Hours | None = None

    def holds(
        self,
        statement: Statement,
        principal: Principal,
        kind: StatementKind,
        relations: tuple[RelationName, ...],
    ) -> bool:
        """Everything but the time of day, which the caller asks for as a fact."""
        return (
            (not self.wires or statement.wire in self.wires)
            and (not self.kinds or kind in self.kinds)
            and _any(self.users, (principal.name,))
            and _any(self.groups, principal.groups)
            and _any(self.sources, (statement.source or "",))
            and _any(self.client_tags, statement.client_tags)
            and _any(self.tables, map(str, relations))
        )


def _any(patterns: tuple[str, ...], values: object) -> bool:
    if not patterns:
        return True
    found = list(values)  # type: ignore[call-overload]
    return any(fnmatchcase(value, pattern) for value in found for pattern in patterns)


@dataclass(frozen=True, slots=True)
class RoutingRule:
    """When the condition holds, run in `group`, else in the first of `fallback` that can."""

    name: str
    when: Condition
    group: str
    fallback: tuple[str, ...] = ()
    queue_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Routing:
    """The rules in order; the first match wins."""

    rules: tuple[RoutingRule, ...] = ()
    version: str = "0"
