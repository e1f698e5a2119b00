"""off | observe | enforce, per feature and per principal: the mechanism by which a feature is adopted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.core.principal import Principal


class Mode(StrEnum):
    """`observe` records what would have happened and changes nothing."""

    OFF = "off"
    OBSERVE = "observe"
    ENFORCE = "enforce"


@dataclass(frozen=True, slots=True)
class ModeRule:
    """First match wins. An empty selector matches everyone; several selectors must all match."""

    mode: Mode
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    percent: int = 100

    def matches(self, feature: str, principal: Principal) -> bool:
        """Whether the rule speaks about this principal."""
        return (
            (not self.users or principal.name in self.users)
            and (not self.groups or not self.groups.isdisjoint(principal.groups))
            and (self.percent >= 100 or principal.percentile(feature) < self.percent)
        )


@dataclass(frozen=True, slots=True)
class Modes:
    """The mode of each feature; a feature without an entry is off."""

    rules: Mapping[str, tuple[ModeRule, ...]] = field(default_factory=dict)
    version: str = "0"

    def of(self, feature: str, principal: Principal) -> Mode:
        """The feature's mode for this principal."""
        for rule in self.rules.get(feature, ()):
            if rule.matches(feature, principal):
                return rule.mode
        return Mode.OFF
