"""Records and a writer that the audit tests share."""

from __future__ import annotations

from gateway.core.trail import Step
from gateway.store.audit_records import Decided, Finished


def decided(
    query_id: str, *, principal: str = "alice", decision: str = "plan", time: float = 1000.0
) -> Decided:
    return Decided(
        query_id=query_id,
        time=time,
        principal=principal,
        wire="trino",
        kind="query",
        decision=decision,
        groups=("analysts",),
        source="trino-cli",
        peer="127.0.0.1:5000",
        fingerprint="f" * 16,
        emitted="e" * 16,
        relations=("lake.curated.lmp",),
        engine="trino",
        backend_group="default",
        decide_ms=0.4,
        trail=(Step("parse", "query"), Step("route", "chose", rule="default", detail="trino-a")),
    )


def finished(query_id: str, *, outcome: str = "succeeded", time: float = 1001.0) -> Finished:
    return Finished(
        query_id=query_id,
        time=time,
        outcome=outcome,
        backend="trino-a",
        engine_query_id=f"engine-{query_id}",
        rows=10,
        bytes_out=2048,
        total_ms=12.5,
    )
