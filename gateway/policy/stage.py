"""Stages *authorize* and *govern*. Until policies are loaded they change nothing and say so in the trail."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.core.stage import Draft, StageResult

FEATURE = "governance"


@dataclass(frozen=True, slots=True)
class Policies:
    """The compiled policies. `declared` is False only under an explicit `governance: off`."""

    declared: bool = False
    version: str = "off"


def authorize_stage(draft: Draft) -> StageResult:
    """Refuse what the principal may not name."""
    draft.read["policies"] = draft.snapshot[Policies].version
    return None


def govern_stage(draft: Draft) -> StageResult:
    """Replace each table reference by its filtered, masked subquery."""
    draft.read["policies"] = draft.snapshot[Policies].version
    return None
