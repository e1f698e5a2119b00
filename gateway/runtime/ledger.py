"""What a query leaves behind: the audit record first, then metrics and, where configured, its sealed text."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import Counter, Histogram

from gateway.core.decision import Answer, Plan, Refusal
from gateway.core.statement import StatementKind, Wire
from gateway.edge.contract import Outcome
from gateway.edge.live import LedgerUnavailable
from gateway.edge.query import LiveQuery, Settlement
from gateway.identity.events import LogIn, LogInEvent, OnLogIn
from gateway.store.audit import AuditLog, AuditUnavailable
from gateway.store.audit_records import Decided, Finished, LoginFailed, LoginSummary
from gateway.store.history import HistoryWriter
from gateway.store.records import QueryRecord
from gateway.store.vault import StatementText, TextPart
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tracing import Ended, NoTracer, Tracer, parse

UNTRACED = NoTracer()


class QueryLedger:
    """See `edge.live.Ledger`. History rows come from the audit's files (`AuditIngest`), so nothing about a
    query is written twice on the hot path.
    """

    def __init__(
        self, audit: AuditLog, metrics: Metrics, history: HistoryWriter | None, tracer: Tracer = UNTRACED
    ) -> None:
        self._tracer = tracer
        self._audit = audit
        self._metrics = metrics
        self._meters: dict[tuple[Wire, StatementKind, Outcome], _Meters] = {}
        self.history = history

    def decided(self, query: LiveQuery) -> None:
        """See `Ledger.decided`."""
        self._audit.append(_decided(query))
        result = "hit" if query.decided.cached else "miss"
        self._metrics.counter("gateway_cache_requests_total", cache="decision", result=result).inc()
        if self.history is not None:
            self._offer_texts(self.history, query)

    def _offer_texts(self, history: HistoryWriter, query: LiveQuery) -> None:
        history.offer(StatementText(query.id, TextPart.ORIGINAL, query.statement.text, query.opened_at))
        plan = query.plan
        if plan is not None and plan.rewritten:
            history.offer(StatementText(query.id, TextPart.EMITTED, plan.text, query.opened_at))

    async def commit(self) -> None:
        """See `Ledger.commit`."""
        try:
            await self._audit.commit()
        except AuditUnavailable as error:
            raise LedgerUnavailable(str(error)) from error

    def finished(self, query: LiveQuery, end: Settlement) -> None:
        """See `Ledger.finished`."""
        seen = query.seen
        self._audit.append(
            Finished(
                query_id=query.id,
                time=time.time(),
                outcome=end.outcome.value,
                backend=query.backend.name if query.backend else None,
                engine_query_id=query.engine_query_id,
                error_code=end.error_code,
                rows=seen.rows,
                bytes_out=seen.bytes_out,
                bytes_scanned=seen.bytes_scanned,
                queued_ms=_ms(end.queued_s),
                first_byte_ms=_ms(end.first_byte_s),
                total_ms=_ms(end.total_s),
            )
        )
        if end.error_text and self.history is not None:
            self.history.offer(StatementText(query.id, TextPart.ERROR, end.error_text, time.time()))
        self._measure(query, end)
        if not isinstance(self._tracer, NoTracer):
            self._trace(query, end)

    def _trace(self, query: LiveQuery, end: Settlement) -> None:
        attributes = {
            "gateway.query_id": query.id,
            "gateway.wire": query.statement.wire.value,
            "gateway.kind": query.decision.kind.value,
            "gateway.outcome": end.outcome.value,
            "gateway.fingerprint": query.decision.fingerprint,
            "gateway.backend": query.backend.name if query.backend else "",
        }
        failed = end.outcome in (Outcome.FAILED, Outcome.UNKNOWN)
        whole = Ended(query.opened_at, end.total_s, failed)
        self._tracer.record("gateway.query", parse(query.traceparent), attributes, whole)

    def _measure(self, query: LiveQuery, end: Settlement) -> None:
        metrics, decision, wire = self._metrics, query.decision, query.statement.wire
        key = (wire, decision.kind, end.outcome)
        meters = self._meters.get(key)
        if meters is None:
            meters = self._meters[key] = _meters(metrics, *key)
        meters.queries.inc()
        meters.seconds.observe(end.total_s)
        if end.first_byte_s is not None:
            meters.first_byte.observe(end.first_byte_s)
        if isinstance(decision, Refusal):
            metrics.counter("gateway_refusals_total", wire=wire.value, code=decision.code.value).inc()
        elif isinstance(decision, Plan) and end.queued_s is not None:
            metrics.histogram("gateway_queue_seconds", group=decision.group).observe(end.queued_s)
        meters.bytes_out.inc(query.seen.bytes_out)

    def count(self, name: str, labels: Mapping[str, str], by: float) -> None:
        """See `Ledger.count`."""
        self._metrics.count(name, labels, by)


@dataclass(frozen=True, slots=True)
class _Meters:
    """The children that every query of one wire, kind and outcome moves, looked up once."""

    queries: Counter
    seconds: Histogram
    first_byte: Histogram
    bytes_out: Counter


def _meters(metrics: Metrics, wire: Wire, kind: StatementKind, outcome: Outcome) -> _Meters:
    return _Meters(
        metrics.counter("gateway_queries_total", wire=wire.value, kind=kind.value, outcome=outcome.value),
        metrics.histogram("gateway_request_seconds", wire=wire.value),
        metrics.histogram("gateway_first_byte_seconds", wire=wire.value),
        metrics.counter("gateway_bytes_total", wire=wire.value, direction="out"),
    )


def log_in_listener(audit: AuditLog, metrics: Metrics) -> OnLogIn:
    """Tells audit and metrics of every log-in that was really checked."""

    def listen(event: LogInEvent) -> None:
        metrics.counter("gateway_logins_total", method=event.method, result=event.outcome.value).inc()
        if event.outcome is LogIn.THROTTLED:
            metrics.counter("gateway_login_limited_total", method=event.method).inc()
        now = time.time()
        if event.outcome is LogIn.SUCCEEDED:
            audit.append(LoginSummary(now, event.user or "", event.method, 1, now))
        else:
            audit.append(
                LoginFailed(
                    now, event.user or "", event.peer, event.method, event.reason or event.outcome.value
                )
            )

    return listen


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _decided(query: LiveQuery) -> Decided:
    decision, principal, statement = query.decision, query.principal, query.statement
    plan = decision if isinstance(decision, Plan) else None
    refusal = decision if isinstance(decision, Refusal) else None
    return Decided(
        query_id=query.id,
        time=query.opened_at,
        principal=principal.name,
        impersonator=principal.impersonator,
        groups=tuple(sorted(principal.groups)),
        wire=statement.wire.value,
        kind=decision.kind.value,
        decision="refusal" if refusal else "answer" if isinstance(decision, Answer) else "plan",
        source=statement.source,
        peer=query.peer,
        fingerprint=decision.fingerprint,
        emitted="" if plan is None or not plan.rewritten else "rewritten",
        relations=tuple(map(str, plan.relations)) if plan else (),
        refusal=refusal.code.value if refusal else None,
        rule=refusal.rule if refusal else None,
        engine=plan.engine.value if plan else None,
        backend_group=plan.group if plan else None,
        decide_ms=round(query.decided.seconds * 1000, 3),
        trail=decision.trail.steps,
    )


def query_record(query: LiveQuery, process: str) -> QueryRecord:
    """What is known of a query now, in the shape that history has."""
    plan, seen = query.plan, query.seen
    return QueryRecord(
        id=query.id,
        time=query.opened_at,
        process=process,
        principal=query.principal.name,
        groups=tuple(sorted(query.principal.groups)),
        wire=query.statement.wire.value,
        source=query.statement.source,
        kind=query.decision.kind.value,
        fingerprint=query.decision.fingerprint,
        relations=tuple(map(str, plan.relations)) if plan else None,
        engine=plan.engine.value if plan else None,
        backend_group=plan.group if plan else None,
        backend=query.backend.name if query.backend else None,
        engine_query_id=query.engine_query_id,
        rows=seen.rows,
        bytes_out=seen.bytes_out,
        bytes_scanned=seen.bytes_scanned,
        trail=tuple(query.decision.trail.as_list()),
    )
