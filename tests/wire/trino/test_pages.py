"""Bytes of a page in, however they are cut; facts out, and never a look into the data."""

import gzip

import orjson
import pytest

from gateway.wire.trino import pages
from gateway.wire.trino.pages import NotAPage, PageFacts, PageTap, error_document, read_head

ID = "20261124_080050_00004_kb4av"
NEXT = f"http://trino:8080/v1/statement/executing/{ID}/yabc/2"
STATS = (
    b'"stats":{"state":"RUNNING","queued":false,"progressPercentage":12.5,"processedRows":25,"processedBytes":300,'
    b'"physicalInputBytes":77,"rootStage":{"stageId":"0","state":"FINISHED","processedRows":1,"subStages":[]}}'
)


def page(
    data: bytes = b"", *, more: bool = True, tail: bytes = STATS, extra: bytes = b',"warnings":[]'
) -> bytes:
    head = f'{{"id":"{ID}","infoUri":"http://trino:8080/ui/query.html?{ID}"'
    if more:
        head += f',"partialCancelUri":"http://trino/p","nextUri":"{NEXT}"'
    rows = b',"columns":[{"name":"x"}],"data":[' + data + b"]" if data else b""
    return head.encode() + rows + b"," + tail + extra + b"}"


def facts_of(body: bytes, step: int, coding: str | None = None, *, want_tail: bool = True) -> PageFacts:
    tap = PageTap(coding, want_tail=want_tail)
    for start in range(0, len(body), step):
        tap.feed(body[start : start + step])
    assert tap.bytes_seen == len(body)
    return tap.finish()


EXPECTED = PageFacts(
    id=ID,
    next_uri=NEXT,
    state="RUNNING",
    fraction=0.125,
    processed_rows=25,
    processed_bytes=300,
    physical_input_bytes=77,
    seen_tail=True,
)


@pytest.mark.parametrize("step", [1, 7, 64, 1_000_000])
@pytest.mark.parametrize("coding", [None, "gzip"])
def test_facts_do_not_depend_on_how_the_bytes_are_cut(step: int, coding: str | None) -> None:
    body = page(b'["a",1],["b",2]')
    assert facts_of(gzip.compress(body) if coding else body, step, coding) == EXPECTED


def test_the_head_ends_before_the_columns() -> None:
    body = page(b"[1]")
    head = read_head(body)
    assert head is not None
    assert head.get("nextUri") == NEXT
    assert head.next_member == "columns"
    assert head.has_data
    assert body[head.end :].startswith(b',"columns"')


def test_a_head_is_written_anew_and_the_rest_kept() -> None:
    body = page(b'["x"]')
    head = read_head(body)
    assert head is not None
    changed = head.with_members({"nextUri": "https://gw/n", "id": "other"}) + body[head.end :]
    document, original = orjson.loads(changed), orjson.loads(body)
    assert document.pop("nextUri") == "https://gw/n"
    assert document.pop("id") == "other"
    assert document == {name: value for name, value in original.items() if name not in ("nextUri", "id")}


def test_a_document_with_nothing_but_a_head() -> None:
    head = read_head(b'{ "id" : "x" , "nextUri" : null }')
    assert head is not None
    assert head.members == (("id", "x"),)
    assert head.next_member == ""


def test_escapes_in_the_head_are_understood() -> None:
    head = read_head(rb'{"id":"a\"b","nextUri":"http:\/\/x\/","stats":{}}')
    assert head is not None
    assert head.get("id") == 'a"b'
    assert head.get("nextUri") == "http://x/"


@pytest.mark.parametrize(
    "body", [b"[]", b"<html>", b'"id"', b'{"data":[]}', b'{"error":1}', b',"id":"x",', b'{"id":"x"]']
)
def test_what_is_no_page_is_not_taken_for_one(body: bytes) -> None:
    with pytest.raises(NotAPage):
        read_head(body)
    assert facts_of(body, 3) == PageFacts()


def test_a_head_without_end_is_given_up() -> None:
    endless = b'{"id":"' + b"x" * (pages.HEAD_LIMIT + 10)
    with pytest.raises(NotAPage):
        read_head(endless)
    assert facts_of(endless, 5000) == PageFacts()


def test_data_that_looks_like_statistics_is_data() -> None:
    fake = (
        b'{"stats":{"state":"FAILED"},"error":{"message":"m","errorCode":1,"errorName":"X","errorType":"Y"}}'
    )
    quoted = orjson.dumps(fake.decode())
    assert facts_of(page(b"[" + fake + b"," + quoted + b"]"), 50) == EXPECTED


def test_a_big_page_costs_little_memory_and_its_tail_is_still_read() -> None:
    tap = PageTap()
    first, row, last = page(b"[1]").partition(b"[1]")
    tap.feed(first)
    for _ in range(200):
        tap.feed((row + b",") * 10_000)
    assert sum(map(len, tap._tail)) <= pages.TAIL_LIMIT + 50_000
    tap.feed(b"[1]" + last)
    assert tap.finish() == EXPECTED


def test_a_page_of_which_only_the_head_matters_is_not_decompressed_further() -> None:
    body = gzip.compress(page(b",".join(b"[%d]" % n for n in range(200_000))))
    facts = facts_of(body, 4096, "gzip", want_tail=False)
    assert facts == PageFacts(id=ID, next_uri=NEXT)


def test_the_last_page_is_read_whole_even_if_only_the_head_was_asked_for() -> None:
    facts = facts_of(page(more=False, tail=STATS.replace(b"RUNNING", b"FINISHED")), 100, want_tail=False)
    assert facts.last
    assert facts.state == "FINISHED"
    assert facts.seen_tail


def test_an_error_is_seen() -> None:
    error = (
        b',"error":{"message":"line 1:15: Table \\"x\\" does not exist","errorCode":46,"errorName":"TABLE_NOT_FOUND",'
        b'"errorType":"USER_ERROR","failureInfo":{"stack":["' + b"s" * 100_000 + b'"]}},"warnings":[]'
    )
    facts = facts_of(page(more=False, extra=error), 999)
    assert facts.error is not None
    assert (facts.error.name, facts.error.type) == ("TABLE_NOT_FOUND", "USER_ERROR")
    assert facts.error.message == 'line 1:15: Table "x" does not exist'
    assert "exist" not in repr(facts)


def test_broken_compression_gives_no_facts_and_no_exception() -> None:
    body = bytearray(gzip.compress(page(b"[1]")))
    body[30:40] = b"\xff" * 10
    assert facts_of(bytes(body), 11, "gzip") == PageFacts()
    assert facts_of(b"not gzip at all", 4, "gzip") == PageFacts()


def test_a_bomb_is_worked_off_in_steps() -> None:
    bomb = gzip.compress(page(b"[0]")[:-2] + b" " * 20_000_000)
    tap = PageTap("gzip")
    tap.feed(bomb)
    assert sum(map(len, tap._tail)) < 2 * pages.WHOLE_LIMIT


def test_slugs_stay_out_of_repr() -> None:
    assert "yabc" not in repr(facts_of(page(), 100))


def test_only_documents_with_an_error_are_decoded() -> None:
    assert error_document(b'{"id":"x","data":[["\\"error\\":"]]}') is None
    assert error_document(b'{"id":"x","data":[{"error":1}]}') is None
    assert error_document(b'{"id":"x","error":{"message":"m"}}') == {"id": "x", "error": {"message": "m"}}
    assert error_document(b'{"error":') is None
