"""How far governance and each feature go, and where their files are."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from gateway.core.modes import Mode, ModeRule
from gateway.settings.kinds import ExistingDirectory, Items, NonEmpty, Section, Shorthand, wrong

ModeWord = Annotated[Mode, Field(strict=False)]


MODE_ALONE = Shorthand(type="string", enum=[mode.value for mode in Mode])


def mode_alone(value: Any) -> Any:
    """`governance: off` is short for `governance: {mode: off}`."""
    return {"mode": value} if isinstance(value, str) else value


class Governance(Section):
    """Row filters, masks, scopes. Must be written: no policies at all is a choice, never an accident."""

    mode: ModeWord
    """off, observe (record what would happen, change nothing) or enforce."""
    policies: ExistingDirectory | None = None
    """The directory of the policies; needed unless mode is off."""

    @model_validator(mode="after")
    def _policies_or_off(self) -> Self:
        if self.mode is not Mode.OFF and self.policies is None:
            raise wrong(f"is missing; mode {self.mode.value} needs a directory of policies", "policies")
        return self


class FeatureMode(Section):
    """One rule of a feature's mode; the first that matches a principal counts."""

    mode: ModeWord
    """off, observe or enforce."""
    users: Items[NonEmpty] = ()
    """Only for these principals; empty means all."""
    groups: Items[NonEmpty] = ()
    """Only for members of one of these groups; empty means all."""
    percent: Annotated[int, Field(ge=0, le=100)] = 100
    """Only for this share of principals; who is in it stays the same."""

    def as_rule(self) -> ModeRule:
        """The same, as the core knows it."""
        return ModeRule(self.mode, frozenset(self.users), frozenset(self.groups), self.percent)


def _rules_of_a_mode(value: Any) -> Any:
    return [{"mode": value}] if isinstance(value, str) else [value] if isinstance(value, dict) else value


FeatureModes = Annotated[Items[FeatureMode], BeforeValidator(_rules_of_a_mode), MODE_ALONE]
"""`enforce`, or a list of rules."""


class Rules(Section):
    """Routing, rollups, placement and the other rules."""

    directory: ExistingDirectory | None = None
    """The directory of the rule files; null has no rules."""
