"""W3C trace context, always; OpenTelemetry spans, when the extra `otel` is installed and switched on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Protocol

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE_MEMBER = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,256}")
MAX_STATE_CHARS = 512
MAX_STATE_MEMBERS = 32


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where in a distributed trace a request is (W3C Trace Context, level 1)."""

    trace_id: str
    span_id: str
    flags: int = 0
    state: str = ""

    @property
    def sampled(self) -> bool:
        return bool(self.flags & 1)

    def traceparent(self) -> str:
        """The header's value."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    def child(self) -> TraceContext:
        """The same trace with a new span of ours, to pass on."""
        return replace(self, span_id=_random_hex(8))

    def headers(self) -> list[tuple[str, str]]:
        """For an upstream request."""
        found = [("traceparent", self.traceparent())]
        return [*found, ("tracestate", self.state)] if self.state else found


def parse(traceparent: str | None, tracestate: str | None = None) -> TraceContext | None:
    """The client's context; None when there is none or it is malformed (the standard says: start anew)."""
    match = _TRACEPARENT.fullmatch(traceparent.strip()) if traceparent and len(traceparent) < 512 else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceContext(trace_id, span_id, int(flags, 16) & 1, _state(tracestate))


def start(sampled: bool = False) -> TraceContext:
    """A new trace."""
    return TraceContext(_random_hex(16), _random_hex(8), int(sampled))


def _state(text: str | None) -> str:
    if not text or len(text) > MAX_STATE_CHARS:
        return ""
    members = [member.strip() for member in text.split(",") if member.strip()]
    if len(members) > MAX_STATE_MEMBERS or not all(_STATE_MEMBER.fullmatch(member) for member in members):
        return ""
    return ",".join(members)


def _random_hex(count: int) -> str:
    while not any(data := os.urandom(count)):
        pass  # All zeros means "invalid" in the standard.
    return data.hex()


@dataclass(frozen=True, slots=True)
class Ended:
    """When a span began (Unix seconds), how long it took, and whether it ended badly."""

    started: float
    seconds: float
    failed: bool = False


class Tracer(Protocol):
    """What the gateway does with spans; attributes hold no statement and no principal."""

    def span(self, name: str, context: TraceContext | None, attributes: Mapping[str, str]) -> Any:
        """A context manager that yields the context to pass on."""
        ...

    def record(
        self, name: str, context: TraceContext | None, attributes: Mapping[str, str], end: Ended
    ) -> None:
        """A span that is over already: a query's life is in no single task's hands."""
        ...


class NoTracer:
    """Passes the client's context on unchanged: without spans of ours there is nothing to point at."""

    @contextmanager
    def span(
        self, name: str, context: TraceContext | None, attributes: Mapping[str, str]
    ) -> Iterator[TraceContext | None]:
        yield context

    def record(
        self, name: str, context: TraceContext | None, attributes: Mapping[str, str], end: Ended
    ) -> None:
        pass


class OtelTracer:
    """Spans through the OpenTelemetry SDK; `flush` sends what is left, for a bounded time."""

    def __init__(self, tracer: Any, api: Any, provider: Any = None) -> None:
        self._tracer = tracer
        self._api = api
        self._provider = provider

    def flush(self, timeout_s: float = 2.0) -> None:
        if self._provider is not None:
            self._provider.force_flush(int(timeout_s * 1000))

    @contextmanager
    def span(
        self, name: str, context: TraceContext | None, attributes: Mapping[str, str]
    ) -> Iterator[TraceContext | None]:
        parent = None if context is None else self._parent(context)
        with self._tracer.start_as_current_span(name, context=parent, attributes=dict(attributes)) as span:
            ours = span.get_span_context()
            state = context.state if context is not None else ""
            yield TraceContext(f"{ours.trace_id:032x}", f"{ours.span_id:016x}", int(ours.trace_flags), state)

    def record(
        self, name: str, context: TraceContext | None, attributes: Mapping[str, str], end: Ended
    ) -> None:
        parent = None if context is None else self._parent(context)
        span = self._tracer.start_span(
            name, context=parent, attributes=dict(attributes), start_time=int(end.started * 1e9)
        )
        if end.failed:
            span.set_status(self._api.StatusCode.ERROR)
        span.end(end_time=int((end.started + end.seconds) * 1e9))

    def _parent(self, context: TraceContext) -> Any:
        trace = self._api
        remote = trace.SpanContext(
            int(context.trace_id, 16), int(context.span_id, 16), True, trace.TraceFlags(context.flags)
        )
        return trace.set_span_in_context(trace.NonRecordingSpan(remote))


def tracer(otlp_endpoint: str | None, service: str = "lakehouse-gateway") -> Tracer:
    """A tracer that sends to `otlp_endpoint` (a collector's base URL, OTLP over HTTP); None traces nothing.

    Raises RuntimeError when the extra is not installed. Sending happens in a thread of its own and never
    delays a query; spans that a collector does not take are dropped.
    """
    if otlp_endpoint is None:
        return NoTracer()
    try:
        api = import_module("opentelemetry.trace")
        sdk = import_module("opentelemetry.sdk.trace")
        export = import_module("opentelemetry.sdk.trace.export")
        resources = import_module("opentelemetry.sdk.resources")
        otlp = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ImportError as error:
        raise RuntimeError(
            "telemetry.otlp_endpoint is set, but OpenTelemetry is not installed: "
            "install the gateway with the extra `otel`, or leave it out"
        ) from error
    provider = sdk.TracerProvider(resource=resources.Resource.create({"service.name": service}))
    exporter = otlp.OTLPSpanExporter(endpoint=f"{otlp_endpoint.rstrip('/')}/v1/traces", timeout=5)
    provider.add_span_processor(export.BatchSpanProcessor(exporter))
    return OtelTracer(provider.get_tracer(service), api, provider)
