"""Pages for people, made on the server: pure functions from a record to HTML, with no script at all."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any

from gateway.store.records import QueryRecord

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2330;--soft:#667085;--line:#e4e7ec;--paper:#fff;--wash:#f7f8fa;
--good:#0a7d4f;--bad:#b42318;--warn:#b54708;--blue:#1d4ed8}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#98a2b3;--line:#2a3140;--paper:#12161f;
--wash:#181d28;--good:#4ade80;--bad:#f87171;--warn:#fbbf24;--blue:#7aa2ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--wash);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:56rem;margin:2.5rem auto;padding:0 1.25rem}
h1{font-size:1.3rem;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:.8rem;letter-spacing:.06em;text-transform:uppercase;color:var(--soft);margin:2rem 0 .6rem}
code{font:.92em ui-monospace,monospace;overflow-wrap:anywhere}
.sub{color:var(--soft);margin:0}
.card{background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:1rem 1.25rem}
.badge{display:inline-block;border:1px solid currentColor;border-radius:99px;padding:0 .6rem;font-size:.85rem}
.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}.run{color:var(--blue)}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(12rem,1fr));gap:.9rem 1.5rem;margin:0}
dt{color:var(--soft);font-size:.8rem}dd{margin:0;overflow-wrap:anywhere}
ol{list-style:none;margin:0;padding:0}
li{border-left:2px solid var(--line);padding:.1rem 0 1rem 1.1rem;position:relative}
li:last-child{padding-bottom:.1rem}
li::before{content:"";position:absolute;left:-5px;top:.5rem;width:8px;height:8px;border-radius:50%;
background:var(--soft)}
li.bad::before{background:var(--bad)}li.warn::before{background:var(--warn)}
.stage{font-weight:600;color:var(--ink)}.detail{color:var(--soft)}
"""

_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""To be sent with every page; the style is allowed by its hash and nothing else at all."""

_TONE = {
    "succeeded": "good",
    "failed": "bad",
    "refused": "bad",
    "cancelled": "warn",
    "disconnected": "warn",
    "unknown": "warn",
}


def query_page(record: QueryRecord, title: str = "Query") -> str:
    """A query's outcome, figures and trail. Contains no statement text: history has none."""
    state = record.outcome or "running"
    return _document(
        f"{title} {record.id}",
        f"<h1><code>{escape(record.id)}</code></h1>"
        f'<p class="sub"><span class="badge {_TONE.get(state, "run")}">{escape(state)}</span> '
        f"{_sentence(record)}</p>"
        f"<h2>Figures</h2>{_facts(_figures(record))}"
        f"<h2>Where it ran</h2>{_facts(_places(record))}"
        f'<h2>Why it was decided so</h2><div class="card">{_trail(record.trail or ())}</div>',
    )


def not_found_page(query_id: str) -> str:
    """For a query that is not known, or not the asker's."""
    return _document(
        "No such query",
        "<h1>No such query</h1>"
        f'<p class="sub">Nothing is known here of <code>{escape(query_id)}</code>. History may have been '
        "pruned, or the query belongs to somebody else.</p>",
    )


def _document(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )


def _sentence(record: QueryRecord) -> str:
    when = datetime.fromtimestamp(record.time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    who = f" by {escape(record.principal)}" if record.principal else ""
    source = f" from {escape(record.source)}" if record.source else ""
    error = f" — <code>{escape(record.error_code)}</code>" if record.error_code else ""
    return f"{when}{who}{source}{error}"


def _figures(record: QueryRecord) -> list[tuple[str, str | None]]:
    return [
        ("Total", duration(record.total_ms)),
        ("Queued", duration(record.queued_ms)),
        ("Decided in", duration(record.decide_ms)),
        ("First byte after", duration(record.first_byte_ms)),
        ("Rows", None if record.rows is None else f"{record.rows:,}"),
        ("Sent", size(record.bytes_out)),
        ("Scanned", size(record.bytes_scanned)),
    ]


def _places(record: QueryRecord) -> list[tuple[str, str | None]]:
    return [
        ("Wire", record.wire),
        ("Kind", record.kind),
        ("Decision", record.decision),
        ("Refused because", record.refusal),
        ("Rule", record.rule),
        ("Engine", record.engine),
        ("Backend", record.backend or record.backend_group),
        ("Engine's query id", record.engine_query_id),
        ("Relations", ", ".join(record.relations or ()) or None),
        ("Fingerprint", record.fingerprint or None),
    ]


def _facts(facts: Iterable[tuple[str, str | None]]) -> str:
    shown = [f"<div><dt>{escape(n)}</dt><dd>{escape(v)}</dd></div>" for n, v in facts if v is not None]
    return f'<div class="card"><dl>{"".join(shown) or "<div><dd>Nothing yet</dd></div>"}</dl></div>'


def _trail(steps: Iterable[Mapping[str, Any]]) -> str:
    shown = "".join(_step(step) for step in steps)
    return f"<ol>{shown}</ol>" if shown else '<p class="sub">No trail was kept.</p>'


def _step(step: Mapping[str, Any]) -> str:
    effect = str(step.get("effect", ""))
    tone = "warn" if step.get("observed") else "bad" if effect == "refused" else ""
    rule = f" by <code>{escape(str(step['rule']))}</code>" if step.get("rule") else ""
    detail = f'<div class="detail">{escape(str(step["detail"]))}</div>' if step.get("detail") else ""
    would = "would have " if step.get("observed") else ""
    stage = escape(str(step.get("stage", "")))
    return f'<li class="{tone}"><span class="stage">{stage}</span> {would}{escape(effect)}{rule}{detail}</li>'


def duration(ms: float | None) -> str | None:
    """Milliseconds for people."""
    if ms is None:
        return None
    if ms < 1000:
        return f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"
    seconds = ms / 1000
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    return (
        f"{minutes} min {int(seconds % 60)} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
    )


def size(count: int | None) -> str | None:
    """Bytes for people, in powers of 1000 as storage is sold."""
    if count is None:
        return None
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")
