from __future__ import annotations

import gzip
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.telemetry.tracing import Ended, NoTracer, OtelTracer, TraceContext, parse, start, tracer

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_context_is_read_and_written_back() -> None:
    context = parse(f"00-{TRACE}-{SPAN}-01", "congo=t61rcWkgMzE, rojo=00f067aa0ba902b7")
    assert context == TraceContext(TRACE, SPAN, 1, "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")
    assert context.sampled
    assert context.headers() == [
        ("traceparent", f"00-{TRACE}-{SPAN}-01"),
        ("tracestate", "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"),
    ]
    child = context.child()
    assert child.trace_id == TRACE
    assert child.span_id != SPAN
    assert parse(child.traceparent()) is not None


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "garbage",
        f"00-{TRACE}-{SPAN}",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\r\nX-Injected: 1",
        f"01-{TRACE}-{SPAN}-01-" + "x" * 1000,
    ],
)
def test_a_malformed_context_is_no_context(header: str | None) -> None:
    assert parse(header) is None


def test_a_future_version_is_read_as_far_as_it_is_known() -> None:
    context = parse(f"cc-{TRACE}-{SPAN}-01-what-the-future-holds")
    assert context is not None
    assert context.traceparent() == f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize("state", ["UPPER=1", "a=b\r\nX: y", "x" * 600, "noequals", ",".join(["a=b"] * 33)])
def test_a_bad_state_is_dropped_and_the_trace_kept(state: str) -> None:
    context = parse(f"00-{TRACE}-{SPAN}-00", state)
    assert context is not None
    assert context.state == ""


@given(st.text(), st.text())
def test_no_input_makes_a_header_that_could_be_split(traceparent: str, tracestate: str) -> None:
    context = parse(traceparent, tracestate) or parse(f"00-{TRACE}-{SPAN}-01", tracestate)
    assert context is not None
    for _, value in context.headers():
        assert value.isascii()
        assert value.isprintable()


def test_without_tracing_the_clients_context_passes_through() -> None:
    context = start()
    with NoTracer().span("query", context, {}) as passed:
        assert passed is context
    assert isinstance(tracer(None), NoTracer)


def test_spans_join_the_clients_trace() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    ours = OtelTracer(provider.get_tracer("test"), trace)
    with ours.span("query", TraceContext(TRACE, SPAN, 1, "a=b"), {"wire": "trino"}) as passed:
        assert passed is not None
    span = exporter.get_finished_spans()[0]
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == SPAN
    assert (passed.trace_id, passed.state, passed.sampled) == (TRACE, "a=b", True)
    assert passed.span_id == f"{span.context.span_id:016x}"
    with ours.span("query", None, {}) as fresh:
        assert fresh is not None
        assert fresh.trace_id != TRACE


def test_switched_on_without_the_extra_is_an_error_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(RuntimeError, match="extra `otel`"):
        tracer("http://127.0.0.1:1")


def test_spans_are_sent_to_the_collector() -> None:
    """A real exporter and a real HTTP server in place of a collector."""
    seen: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        ours = tracer(f"http://127.0.0.1:{server.server_port}/")
        assert isinstance(ours, OtelTracer)
        with ours.span("query", TraceContext(TRACE, SPAN, 1), {"wire": "trino"}):
            pass
        ours.flush(10)
    finally:
        server.shutdown()
        server.server_close()
    assert [path for path, _ in seen] == ["/v1/traces"]
    assert bytes.fromhex(TRACE) in gunzipped(seen[0][1])


def gunzipped(body: bytes) -> bytes:
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body


def test_a_span_that_is_over_is_recorded_under_the_clients_trace() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    ours = OtelTracer(provider.get_tracer("test"), trace, provider)
    end = Ended(1_700_000_000.0, 2.5, True)
    ours.record("gateway.query", parse(f"00-{TRACE}-{SPAN}-01"), {"gateway.wire": "trino"}, end)
    (span,) = exporter.get_finished_spans()
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, SPAN)
    assert span.end_time - span.start_time == 2_500_000_000
    assert span.status.is_ok is False
