"""Why a decision is what it is: ordered steps, one structure for explain, audit, portal and errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a stage did or declined to do.

    `rule` names the policy, rule or check that acted; `observed` marks what *observe* mode would have done.
    No literals of the statement belong in `detail`: trails are shown and stored.
    """

    stage: str
    effect: str
    rule: str | None = None
    detail: str | None = None
    observed: bool = False

    def __str__(self) -> str:
        words = [f"{self.stage}:", "would have" if self.observed else "", self.effect]
        words += [f"by `{self.rule}`" if self.rule else "", f"({self.detail})" if self.detail else ""]
        return " ".join(word for word in words if word)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; absent fields are left out."""
        step: dict[str, Any] = {"stage": self.stage, "effect": self.effect}
        step |= {k: v for k, v in (("rule", self.rule), ("detail", self.detail)) if v is not None}
        return step | ({"observed": True} if self.observed else {})


@dataclass(frozen=True, slots=True)
class Trail:
    """The ordered steps of one decision."""

    steps: tuple[Step, ...] = ()

    def as_list(self) -> list[dict[str, Any]]:
        """JSON-ready steps, in order."""
        return [step.as_dict() for step in self.steps]


NO_TRAIL = Trail()


@dataclass(slots=True)
class TrailBuilder:
    """Collects steps while one decision is being made."""

    steps: list[Step] = field(default_factory=list)

    def add(self, stage: str, effect: str, *, rule: str | None = None, detail: str | None = None) -> None:
        self.steps.append(Step(stage, effect, rule, detail))

    def build(self) -> Trail:
        return Trail(tuple(self.steps))
