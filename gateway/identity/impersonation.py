"""Who may act as whom. Nobody, unless a rule says so."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.settings.sections.identity import Impersonation


def _pattern(glob: str) -> str:
    """`*` and `?` as in file names, everything else literally (no character classes to trip over)."""
    return "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in re.sub(r"\*+", "*", glob))


@dataclass(frozen=True, slots=True)
class _Rule:
    who: frozenset[str]
    groups: frozenset[str]
    targets: re.Pattern[str]


class ImpersonationRules:
    """The compiled rules of `identity.impersonation`."""

    def __init__(self, rules: Iterable[Impersonation]) -> None:
        self._rules = tuple(
            _Rule(
                frozenset(rule.who),
                frozenset(rule.groups),
                re.compile("|".join(f"(?:{_pattern(glob)})" for glob in rule.may_act_as), re.DOTALL),
            )
            for rule in rules
        )

    def allow(self, name: str, groups: frozenset[str], target: str) -> bool:
        """Whether the authenticated `name` may act as `target`."""
        return any(
            (name in rule.who or not rule.groups.isdisjoint(groups)) and rule.targets.fullmatch(target)
            for rule in self._rules
        )
