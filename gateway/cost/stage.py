"""Stage *price*: what the statement will cost, with a bound and its basis.

Identity until the feature's rules are loaded.
"""

from __future__ import annotations

from gateway.core.stage import Draft, StageResult

FEATURE = "cost"


def price_stage(_draft: Draft) -> StageResult:
    """Nothing is declared, so nothing changes."""
    return None
