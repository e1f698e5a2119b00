"""The state of one locally answered query: tokens, paging, cancelling, expiry; no sockets and no clock."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.core.decision import Answer, Column, Refusal, RefusalCode
from gateway.core.statement import Position, StatementKind
from gateway.wire.trino.documents import ResultColumn
from gateway.wire.trino.errors import TABLE_NOT_FOUND, Failure
from gateway.wire.trino.results import (
    Chunk,
    LocalQuery,
    Reply,
    ResultLimits,
    State,
    answer_query,
    chunks_of,
    refusal_reply,
    refuse_query,
)
from gateway.wire.trino.types import BIGINT
from gateway.wire.trino.uris import Page

BASE = "http://h:1"
ID = "20200101_000000_00000_abcde"
COLUMNS = [ResultColumn("a", BIGINT)]


def document(reply: Reply | None) -> dict[str, Any]:
    assert reply is not None
    assert reply.status == 200
    found: dict[str, Any] = json.loads(reply.body)
    return found


class Walk:
    """A client of one query that follows its URIs."""

    def __init__(self, limits: ResultLimits | None = None) -> None:
        self.news = 0
        self.query = LocalQuery(ID, now=0.0, limits=limits, changed=self.changed, key=b"k" * 20)
        self.page = self.following(document(self.query.created(BASE)))

    def changed(self) -> None:
        self.news += 1

    def following(self, found: dict[str, Any]) -> Page | None:
        uri = found.get("nextUri")
        return None if uri is None else Page.parse(uri.removeprefix(BASE))

    def ask(self, page: Page | None = None, *, now: float = 0.0, **more: Any) -> Reply | None:
        wanted = page or self.page
        assert wanted is not None
        if wanted.phase == "queued":
            return self.query.queued(wanted.token, wanted.slug, BASE, now, **more)
        return self.query.executing(wanted.token, wanted.slug, BASE, now, **more)

    def step(self, **more: Any) -> dict[str, Any]:
        found = document(self.ask(**more))
        self.page = self.following(found)
        return found

    def rows(self) -> list[Any]:
        collected: list[Any] = []
        while self.page is not None:
            collected += self.step(waited=True).get("data", [])
        return collected

    def produce(self, *rows: bytes) -> None:
        for chunk in chunks_of(rows, 1):
            self.query.offer(chunk)


@pytest.fixture
def walk() -> Walk:
    return Walk()


def test_queued_until_it_begins(walk: Walk) -> None:
    assert walk.page is not None
    assert walk.page.phase == "queued"
    assert walk.ask() is None
    assert walk.step(waited=True)["stats"]["state"] == "QUEUED"
    assert walk.page.token == 2
    walk.query.begin(COLUMNS, now=1.0)
    walk.step()
    assert (walk.page.phase, walk.page.token) == ("executing", 0)


def test_rows_then_an_end_without_rows(walk: Walk) -> None:
    walk.query.begin(COLUMNS, now=1.0)
    walk.step()
    assert walk.ask() is None
    walk.produce(b"[1]", b"[2]")
    first = walk.step()
    assert first["data"] == [[1], [2]]
    assert "partialCancelUri" in first
    walk.query.finish(update_count=2, now=2.0)
    last = walk.step()
    assert "data" not in last
    assert last["updateCount"] == 2
    assert last["stats"]["state"] == "FINISHED"
    assert walk.page is None


def test_an_empty_page_when_patience_ends(walk: Walk) -> None:
    walk.query.begin(COLUMNS, now=1.0)
    walk.step()
    empty = walk.step(waited=True)
    assert "data" not in empty
    assert walk.page is not None
    assert walk.page.token == 1


def test_the_last_page_again_older_ones_gone_later_ones_not_found(walk: Walk) -> None:
    walk.query.begin(COLUMNS, now=1.0)
    queued = walk.page
    walk.step()
    zero = walk.page
    walk.produce(b"[1]")
    once = walk.ask()
    assert walk.ask() == once
    walk.step()
    walk.produce(b"[2]")
    walk.step()
    assert zero is not None
    assert walk.ask(zero) == Reply(410)
    ahead = Page("executing", ID, walk.query._slug("executing", 7), 7)
    assert walk.ask(ahead) == Reply(404)
    assert document(walk.ask(queued))["nextUri"].endswith(f"/{zero.token}")


def test_pages_end_at_the_size_that_is_asked_for() -> None:
    walk = Walk(ResultLimits(page_bytes=10, max_page_bytes=40))
    walk.query.begin(COLUMNS, now=1.0)
    walk.step()
    walk.produce(*[b"[%d]" % i for i in range(100, 200)])
    walk.query.finish(now=2.0)
    assert len(walk.step()["data"]) == 2
    assert len(walk.step(target_bytes=20)["data"]) == 4
    assert len(walk.step(target_bytes=10**9)["data"]) == 8
    assert len(walk.rows()) == 100 - 14


def test_a_row_larger_than_a_page_is_a_page() -> None:
    walk = Walk(ResultLimits(page_bytes=4))
    walk.query.begin(COLUMNS, now=1.0)
    walk.step()
    walk.produce(b'["' + b"x" * 100 + b'"]', b"[2]")
    assert len(walk.step()["data"]) == 1


def test_the_producer_is_told_to_wait() -> None:
    walk = Walk(ResultLimits(page_bytes=5, buffer_bytes=10))
    walk.query.begin(COLUMNS, now=1.0)
    walk.step()
    while walk.query.has_room:
        walk.produce(b"[111]")
    before = walk.news
    walk.step()
    assert walk.query.has_room
    assert walk.news > before


def test_a_wrong_slug_opens_nothing(walk: Walk) -> None:
    assert walk.page is not None
    slug = walk.page.slug
    for wrong in ("", slug[:-1], slug[:-1] + ("0" if slug[-1] != "0" else "1"), "é" * len(slug)):
        assert walk.query.queued(1, wrong, BASE, 0.0) == Reply(404)
    assert walk.query.executing(1, slug, BASE, 0.0) == Reply(404), "the slug of one page is none of another"


def test_cancelled_while_it_runs(walk: Walk) -> None:
    walk.query.begin(COLUMNS, now=1.0)
    walk.step()
    walk.produce(b"[1]")
    walk.query.cancel(2.0)
    assert walk.step()["error"]["errorName"] == "USER_CANCELED"
    walk.produce(b"[2]")
    walk.query.finish(now=3.0)
    assert walk.query.state is State.FAILED


def test_cancelled_before_it_ran(walk: Walk) -> None:
    walk.query.cancel(1.0)
    assert walk.step()["error"]["errorName"] == "USER_CANCELED"
    assert walk.page is None


def test_enough_rows_is_no_error(walk: Walk) -> None:
    walk.query.begin(COLUMNS, now=1.0)
    walk.step()
    walk.produce(b"[1]")
    walk.query.partial_cancel()
    walk.produce(b"[2]")
    walk.query.finish(now=2.0)
    assert walk.rows() == [[1]]
    assert walk.query.state is State.FINISHED


def test_nobody_polls(walk: Walk) -> None:
    walk.query.begin(COLUMNS, now=1.0)
    assert not walk.query.expire(299.0)
    walk.query.touch(299.0)
    assert not walk.query.expire(500.0)
    assert walk.query.state is State.RUNNING
    assert not walk.query.expire(600.0)
    assert walk.query.state is State.FAILED
    assert walk.query.failure is not None
    assert walk.query.failure.code.name == "ABANDONED_QUERY"
    assert walk.query.expire(700.0)


def test_a_finished_query_is_kept_for_a_while(walk: Walk) -> None:
    walk.query.begin(COLUMNS, now=1.0)
    walk.query.finish(now=1.0)
    walk.rows()
    assert not walk.query.expire(29.0)
    assert walk.query.expire(31.0)


def test_the_first_failure_counts(walk: Walk) -> None:
    walk.query.fail(Failure(TABLE_NOT_FOUND, "gone", Position(1, 2)), now=1.0)
    walk.query.cancel(2.0)
    assert walk.step()["error"]["errorName"] == "TABLE_NOT_FOUND"


def test_an_answer_of_the_gateway(walk: Walk) -> None:
    answer = Answer(
        columns=(Column("x", "decimal(5,2)"), Column("y", "no such type")),
        rows=((1, "a"), (None, None)),
        kind=StatementKind.SHOW,
        update_type="USE",
        warnings=("look here",),
    )
    answer_query(walk.query, answer, now=1.0, headers=(("X-Trino-Set-Schema", "s"),))
    reply = walk.ask()
    walk.step()
    assert reply is not None
    found = walk.ask()
    assert found is not None
    assert found.headers == (("X-Trino-Set-Schema", "s"),)
    page = walk.step()
    assert page["data"] == [["1.00", "a"], [None, None]]
    assert [column["type"] for column in page["columns"]] == ["decimal(5, 2)", "varchar"]
    assert page["warnings"][0]["message"] == "look here"
    assert walk.step()["updateType"] == "USE"


def test_refusals(walk: Walk) -> None:
    refusal = Refusal(RefusalCode.DENIED, "no", Position(2, 5))
    refuse_query(walk.query, refusal, now=1.0)
    assert walk.step()["error"]["errorLocation"] == {"lineNumber": 2, "columnNumber": 5}
    direct = document(refusal_reply(ID, BASE, refusal))
    assert direct["error"]["errorName"] == "PERMISSION_DENIED"
    assert "nextUri" not in direct


def test_rows_are_never_split() -> None:
    rows = [b"[%d]" % i for i in range(50)]
    chunks = chunks_of(rows, 16)
    assert sum(chunk.rows for chunk in chunks) == 50
    assert json.loads(b"[" + b",".join(chunk.data for chunk in chunks) + b"]") == [[i] for i in range(50)]
    assert chunks_of([], 16) == []
    assert isinstance(chunks[0], Chunk)
