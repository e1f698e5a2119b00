from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from gateway.admin.pages import HEADERS, duration, not_found_page, query_page, size
from gateway.store.records import QueryRecord

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def evil() -> QueryRecord:
    step = {"stage": EVIL, "effect": EVIL, "rule": EVIL, "detail": EVIL}
    return QueryRecord(
        id=EVIL, time=0.0, principal=EVIL, source=EVIL, wire=EVIL, kind=EVIL, fingerprint=EVIL, engine=EVIL,
        backend=EVIL, engine_query_id=EVIL, decision=EVIL, refusal=EVIL, rule=EVIL, outcome=EVIL,
        error_code=EVIL, relations=(EVIL,), trail=(step,),
    )  # fmt: skip


@pytest.mark.parametrize("html", [query_page(evil()), not_found_page(EVIL)])
def test_nothing_that_a_client_chose_becomes_markup(html: str) -> None:
    tags = Tags(html)
    assert tags.open == []
    assert not tags.seen & {"script", "img"}
    assert "onerror" not in tags.attributes


def test_the_policy_allows_the_one_style_and_nothing_else() -> None:
    style = re.search(r"<style>(.*?)</style>", query_page(evil()), re.S)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in HEADERS["Content-Security-Policy"]
    assert "style=" not in query_page(evil())


def test_a_page_tells_the_story_of_a_query() -> None:
    html = query_page(
        QueryRecord(
            "q1",
            1_700_000_000.0,
            principal="alice",
            outcome="refused",
            refusal="denied",
            rows=12345,
            total_ms=2500.0,
            trail=({"stage": "authorize", "effect": "refused", "rule": "deny-pii", "observed": True},),
        )
    )
    for words in ("2023-11-14 22:13:20 UTC", "alice", "refused", "12,345", "2.5 s", "would have", "deny-pii"):
        assert words in html
    assert "running" in query_page(QueryRecord("q1", 0.0))
    assert "No trail" in query_page(QueryRecord("q1", 0.0))


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (None, None),
        (0.25, "0.2 ms"),
        (12.4, "12 ms"),
        (1500, "1.5 s"),
        (150_000, "2 min 30 s"),
        (9e6, "2 h 30 min"),
    ],
)
def test_durations(ms: float | None, shown: str | None) -> None:
    assert duration(ms) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, None),
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (123_456_789, "123 MB"),
        (10**16, "10000 TB"),
    ],
)
def test_sizes(count: int | None, shown: str | None) -> None:
    assert size(count) == shown
