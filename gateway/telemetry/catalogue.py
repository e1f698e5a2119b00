"""Every metric of the gateway, in one place. Names and labels here are an interface: dashboards hold them.

A label's values come from configuration or from closed sets of our own words, never from a client: no
label holds a principal, a statement, an address or a query id.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a metric behaves; the values are Prometheus' own words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Across(StrEnum):
    """What a gauge means over several processes."""

    SUM = "sum"
    MIN = "min"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric. `across` matters for gauges only: counters and histograms add up."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    across: Across = Across.SUM


LABELS = frozenset(
    {
        *("wire", "kind", "outcome", "decision", "code", "stage", "direction", "backend", "group", "engine"),
        *("cache", "result", "method", "feature", "process", "event", "dependency", "version"),
    }
)
"""The labels that may exist; a new one is a decision about privacy and cardinality."""

DECIDE_BUCKETS = (2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)
REQUEST_BUCKETS = (1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


def _counter(name: str, text: str, *labels: str) -> MetricSpec:
    return MetricSpec(name, Kind.COUNTER, text, labels)


def _gauge(name: str, text: str, *labels: str, across: Across = Across.SUM) -> MetricSpec:
    return MetricSpec(name, Kind.GAUGE, text, labels, across=across)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> MetricSpec:
    return MetricSpec(name, Kind.HISTOGRAM, text, labels, buckets)


QUERIES = (
    _counter("gateway_queries_total", "Queries that ended, by outcome.", "wire", "kind", "outcome"),
    _counter("gateway_refusals_total", "Statements refused, by reason.", "wire", "code"),
    _gauge("gateway_queries_running", "Queries being decided, queued or streamed now.", "wire"),
    _histogram("gateway_decide_seconds", "Time of each stage of a decision.", DECIDE_BUCKETS, "stage"),
    _histogram("gateway_request_seconds", "Arrival of a query to its last byte.", REQUEST_BUCKETS, "wire"),
    _histogram("gateway_first_byte_seconds", "Arrival to first byte of a result.", REQUEST_BUCKETS, "wire"),
    _counter("gateway_bytes_total", "Bytes exchanged with clients.", "wire", "direction"),
    _counter("gateway_http_rejected_total", "Requests refused as malformed or too large.", "wire", "code"),
    _gauge("gateway_connections", "Open client connections.", "wire"),
)

ENGINES = (
    _gauge("gateway_backend_up", "1 while the backend passes its probe.", "backend", across=Across.MIN),
    _gauge(
        "gateway_backend_draining", "1 while the backend takes no new query.", "backend", across=Across.MAX
    ),
    _gauge("gateway_backend_running", "Queries of this gateway on the backend.", "backend"),
    _counter("gateway_backend_errors_total", "Failures to reach or use a backend.", "backend", "event"),
    _gauge("gateway_queue_depth", "Queries waiting for a slot.", "group"),
    _histogram("gateway_queue_seconds", "Time that queries waited for a slot.", REQUEST_BUCKETS, "group"),
    _counter("gateway_queue_refused_total", "Queries refused because a queue was full.", "group"),
)

DECISIONS = (
    _counter("gateway_cache_requests_total", "Look-ups in a cache, by result.", "cache", "result"),
    _counter("gateway_decide_killed_total", "Decisions ended because they took too long."),
)

IDENTITY = (
    _counter("gateway_logins_total", "Log-ins, by method and result.", "method", "result"),
    _counter("gateway_login_limited_total", "Log-ins turned away by the rate limit.", "method"),
)

STATE = (
    _counter("gateway_config_reload_total", "Configuration loads, by result.", "result"),
    _gauge(
        "gateway_config_last_success_timestamp_seconds",
        "When a configuration last became active.",
        across=Across.MIN,
    ),
    _gauge(
        "gateway_config_stale",
        "1 while a refused configuration waits beside the last good one.",
        across=Across.MAX,
    ),
    _gauge("gateway_dependency_up", "1 while a dependency answers.", "dependency", across=Across.MIN),
    _gauge("gateway_metadata_age_seconds", "Age of the metadata in use.", "group", across=Across.MAX),
    _counter("gateway_audit_records_total", "Audit records written."),
    _counter("gateway_audit_failures_total", "Writes of the audit that failed."),
    _counter("gateway_audit_lost_total", "Audit records lost while the disk was away."),
    _counter("gateway_audit_unaudited_total", "Queries let through without an audit record."),
    _gauge("gateway_audit_healthy", "0 while the audit cannot be written.", across=Across.MIN),
    _counter("gateway_audit_chain_breaks_total", "Broken links found while reading the audit."),
    _counter("gateway_history_written_total", "History records written to the store."),
    _counter("gateway_history_lost_total", "History records dropped under overload."),
    _gauge("gateway_history_queue_depth", "History records waiting to be written."),
)

PROCESSES = (
    _gauge("gateway_process_up", "1 while a process of the gateway answers.", "process"),
    _gauge(
        "gateway_process_start_timestamp_seconds", "When a process started.", "process", across=Across.MAX
    ),
    _gauge("gateway_event_loop_lag_seconds", "How late the event loop runs.", "process", across=Across.MAX),
    _gauge("gateway_memory_bytes", "Resident memory of a process.", "process"),
    _counter("gateway_cpu_seconds_total", "CPU time of a process.", "process"),
    _gauge(
        "gateway_build_info", "Always 1; the label says which version runs.", "version", across=Across.MAX
    ),
)

CATALOGUE: tuple[MetricSpec, ...] = (*QUERIES, *ENGINES, *DECISIONS, *IDENTITY, *STATE, *PROCESSES)
