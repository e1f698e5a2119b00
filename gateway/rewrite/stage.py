"""Stage *alternatives*: equivalent, cheaper sources for what the statement reads.

Identity until the feature's rules are loaded.
"""

from __future__ import annotations

from gateway.core.stage import Draft, StageResult

FEATURE = "rewrite"


def alternatives_stage(_draft: Draft) -> StageResult:
    """Nothing is declared, so nothing changes."""
    return None
