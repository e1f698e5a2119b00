"""Stage *metrics*: governed metrics to SQL. Identity until metrics are declared."""

from __future__ import annotations

from gateway.core.stage import Draft, StageResult

FEATURE = "metrics"


def metrics_stage(_draft: Draft) -> StageResult:
    """Nothing is declared, so nothing changes."""
    return None
