"""A decision as the API and `gateway explain` show it."""

from __future__ import annotations

from typing import Any

from gateway.admin.contract import Explained
from gateway.core.decision import Answer, Decision, Plan, Refusal


def explained(decision: Decision) -> Explained:
    """Everything that the decision says, JSON-ready."""
    match decision:
        case Plan():
            return Explained(
                decision="plan",
                text=decision.text,
                rewritten=decision.rewritten,
                engine=decision.engine.value,
                group=decision.group,
                backends=decision.backends,
                settings=dict(decision.settings),
                relations=tuple(str(name) for name in decision.relations),
                **_common(decision),
            )
        case Answer():
            columns = tuple((column.name, column.type) for column in decision.columns)
            return Explained(decision="answer", columns=columns, **_common(decision))
        case Refusal():
            return Explained(
                decision="refusal",
                code=decision.code.value,
                message=decision.message,
                rule=decision.rule,
                position=None if decision.position is None else str(decision.position),
                fixes=tuple(fix.hint for fix in decision.fixes),
                **_common(decision),
            )


def _common(decision: Decision) -> dict[str, Any]:
    return {
        "kind": decision.kind.value,
        "fingerprint": decision.fingerprint,
        "trail": tuple(decision.trail.as_list()),
        "read_set": dict(decision.read_set.versions),
        "valid_until": decision.valid_until,
    }
