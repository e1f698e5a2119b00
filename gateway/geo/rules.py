"""`rules/routing.yaml`: its declarations, and their compilation into `Routing`.

The file also holds its own cases: a statement's facts and the group that it must end in. They are run by
`gateway check`, so a rule that shadows another is found before it is live.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field, model_validator

from gateway.core.principal import Principal
from gateway.core.statement import RelationName, Statement, StatementKind, Wire
from gateway.geo.model import Condition, Hours, Routing, RoutingRule
from gateway.settings.document import must_read
from gateway.settings.explain import place
from gateway.settings.kinds import Duration, Items, Name, NonEmpty, Section, wrong
from gateway.settings.load import load_file
from gateway.settings.problems import SettingsError, did_you_mean

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DayName = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def _hours(text: str) -> str:
    if not _HOURS.fullmatch(text) or text.endswith(tuple(f"24:{m:02}" for m in range(1, 60))):
        raise wrong("expected a daily window such as 08:00-18:00 or 22:00-06:00")
    return text


def _zone(text: str) -> str:
    if text not in available_timezones():
        near = did_you_mean(text, available_timezones())
        raise wrong(f"expected a time zone such as Europe/Berlin or UTC, found '{text[:40]}'{near}")
    return text


Globs = Items[NonEmpty]
"""Patterns with `*`, `?` and `[…]`; one that fits is enough."""


class When(Section):
    """What a statement must be. Everything that is given must hold; a list holds if one entry does."""

    users: Globs = ()
    """Principals."""
    groups: Globs = ()
    """Groups of the principal."""
    sources: Globs = ()
    """What the client calls itself (`X-Trino-Source`, User-Agent product on ClickHouse)."""
    client_tags: Globs = ()
    """Trino client tags."""
    tables: Globs = ()
    """Tables it names, as `catalog.schema.table` (`database.table` on ClickHouse)."""
    kinds: Items[Annotated[StatementKind, Field(strict=False)]] = ()
    """Kinds of statement: query, insert, create, …"""
    wires: Items[Annotated[Wire, Field(strict=False)]] = ()
    """trino, clickhouse."""
    hours: Annotated[NonEmpty, AfterValidator(_hours)] | None = None
    """A daily window, end exclusive; it may pass midnight."""
    days: Items[DayName] = ()
    """Days on which the window begins; needs `hours`."""
    time_zone: Annotated[NonEmpty, AfterValidator(_zone)] = "UTC"
    """The zone of `hours`."""

    @model_validator(mode="after")
    def _days_need_hours(self) -> When:
        if self.days and self.hours is None:
            raise wrong("needs hours; for the whole day write hours: 00:00-24:00", "days")
        return self

    def compiled(self) -> Condition:
        """The same, as the stage knows it."""
        return Condition(
            self.users,
            self.groups,
            self.sources,
            self.client_tags,
            self.tables,
            frozenset(self.kinds),
            frozenset(self.wires),
            self._window(),
        )

    def _window(self) -> Hours | None:
        match = _HOURS.fullmatch(self.hours) if self.hours else None
        if match is None:
            return None
        start_hour, start_minute, end_hour, end_minute = map(int, match.groups())
        days = frozenset(_DAYS.index(day) for day in self.days) or frozenset(range(7))
        start, end = start_hour * 60 + start_minute, end_hour * 60 + end_minute
        return Hours(start, end, days, ZoneInfo(self.time_zone))


class Rule(Section):
    """When this, run there. The first rule that matches counts."""

    name: NonEmpty
    """Shown in the trail, in `gateway explain` and in refusals."""
    when: When = When()
    """Left out, the rule matches everything."""
    group: Name
    """The group that runs it."""
    fallback: Items[Name] = ()
    """Groups to use, in this order, while no backend of `group` is healthy."""
    queue: Duration | None = None
    """The longest wait for a slot; null takes `limits.queue_seconds`."""


class Case(Section):
    """One statement's facts and the rule that must decide it."""

    name: NonEmpty
    """What the case shows."""
    user: NonEmpty = "somebody"
    """The principal."""
    groups: Items[NonEmpty] = ()
    """Its groups."""
    source: str = ""
    """What the client calls itself."""
    client_tags: Items[NonEmpty] = ()
    """Its tags."""
    tables: Items[NonEmpty] = ()
    """Tables of the statement."""
    kind: Annotated[StatementKind, Field(strict=False)] = StatementKind.QUERY
    """Kind of the statement."""
    wire: Annotated[Wire, Field(strict=False)] = Wire.TRINO
    """The protocol it comes by."""
    at: Annotated[str, Field(pattern=r"^(mon|tue|wed|thu|fri|sat|sun) ([01]\d|2[0-3]):[0-5]\d$")] | None = (
        None
    )
    """Local day and time in the rule's zone, such as `fri 23:15`; null leaves timed rules out."""
    rule: str | None
    """The rule that must match; null for none."""


class RoutingFile(Section):
    """`routing.yaml`."""

    version: Literal[1]
    """The version of this format."""
    rules: Items[Rule]
    """In order; the first that matches counts."""
    cases: Items[Case] = ()
    """Run by `gateway check`."""


def load_routing(path: Path, groups: frozenset[str]) -> Routing:
    """The compiled rules. Raises SettingsError: also for a group nobody configured and a case that fails."""
    declared = load_file(path, RoutingFile)
    root = must_read(path)
    problems = [*_unknown_groups(declared, groups), *_same_names(declared), *_failed_cases(declared)]
    if problems:
        raise SettingsError(place(str(path), root, location, message) for location, message in problems)
    return compiled(declared)


def compiled(declared: RoutingFile) -> Routing:
    """The rules as the stage knows them; the version is a digest of what they say."""
    rules = tuple(
        RoutingRule(r.name, r.when.compiled(), r.group, r.fallback, r.queue) for r in declared.rules
    )
    digest = blake2b(declared.model_dump_json().encode(), digest_size=8).hexdigest()
    return Routing(rules, version=digest)


_Complaint = tuple[tuple[int | str, ...], str]


def _unknown_groups(declared: RoutingFile, groups: frozenset[str]) -> list[_Complaint]:
    def unknown(name: str) -> str:
        return f"no backend is in a group '{name}'{did_you_mean(name, groups)}"

    found: list[_Complaint] = []
    for index, rule in enumerate(declared.rules):
        if rule.group not in groups:
            found.append((("rules", index, "group"), unknown(rule.group)))
        found += [
            (("rules", index, "fallback", n), unknown(name))
            for n, name in enumerate(rule.fallback)
            if name not in groups
        ]
    return found


def _same_names(declared: RoutingFile) -> list[_Complaint]:
    seen: dict[str, int] = {}
    return [
        (("rules", index, "name"), f"the name '{rule.name}' is taken by rules[{seen[rule.name]}]")
        for index, rule in enumerate(declared.rules)
        if seen.setdefault(rule.name, index) != index
    ]


def _failed_cases(declared: RoutingFile) -> list[_Complaint]:
    found: list[_Complaint] = []
    for index, case in enumerate(declared.cases):
        got = _decided_by(declared.rules, case)
        if got != case.rule:
            found.append((("cases", index, "rule"), f"expected {case.rule!r}, but {got!r} matches first"))
    return found


def _decided_by(rules: tuple[Rule, ...], case: Case) -> str | None:
    statement = Statement("", case.wire, source=case.source, client_tags=case.client_tags)
    principal = Principal(case.user, frozenset(case.groups))
    relations = tuple(relation_name(table) for table in case.tables)
    for rule in rules:
        condition = rule.when.compiled()
        if condition.holds(statement, principal, case.kind, relations) and _covers(condition.hours, case.at):
            return rule.name
    return None


def _covers(hours: Hours | None, at: str | None) -> bool:
    if hours is None or at is None:
        return hours is None
    day, _, time = at.partition(" ")
    hour, _, minute = time.partition(":")
    return hours.covers(_DAYS.index(day), int(hour) * 60 + int(minute))


def relation_name(dotted: str) -> RelationName:
    """`lake.market.lmp` or `market.lmp` (no catalog) as a name."""
    parts = dotted.split(".", 2)
    return RelationName(*([""] * (3 - len(parts)) + parts))
