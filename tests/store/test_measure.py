from __future__ import annotations

from pathlib import Path

from gateway.store.audit import AuditLog
from gateway.store.measure import measure_state
from gateway.telemetry.metrics import Metrics
from tests.store.audit_samples import decided
from tests.store.test_audit import file_size_limit


def value(metrics: Metrics, name: str) -> float:
    return metrics.snapshot().samples[name][0].value


async def test_a_failing_audit_shows_in_the_metrics(tmp_path: Path) -> None:
    metrics = Metrics()
    audit = AuditLog(tmp_path, "proxy-0", on_failure="continue")
    audit.open()
    measure_state(metrics, audit, None)
    assert value(metrics, "gateway_audit_healthy") == 1
    with file_size_limit(50):
        audit.append(decided("q0"))
        await audit.commit()
        measure_state(metrics, audit, None)
    assert value(metrics, "gateway_audit_healthy") == 0
    assert value(metrics, "gateway_audit_failures_total") == 1
    assert value(metrics, "gateway_audit_unaudited_total") == 1
    await audit.commit()
    measure_state(metrics, audit, None)
    assert value(metrics, "gateway_audit_healthy") == 1
    assert value(metrics, "gateway_audit_records_total") == 2
    await audit.close()
