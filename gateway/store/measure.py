"""Carries the audit's and the history's own counts into the metrics; call it every second or so."""

from __future__ import annotations

from gateway.store.audit import AuditLog
from gateway.store.history import HistoryWriter
from gateway.telemetry.metrics import Metrics


def measure_state(metrics: Metrics, audit: AuditLog, history: HistoryWriter | None) -> None:
    """Bring the state metrics up to date."""
    counts = audit.counts
    metrics.advance("gateway_audit_records_total", counts.written)
    metrics.advance("gateway_audit_failures_total", counts.failures)
    metrics.advance("gateway_audit_lost_total", counts.lost)
    metrics.advance("gateway_audit_unaudited_total", counts.unaudited)
    metrics.set("gateway_audit_healthy", float(audit.healthy))
    if history is not None:
        metrics.set("gateway_history_queue_depth", history.waiting)
