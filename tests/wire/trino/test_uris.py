"""What is a page of the protocol, and what only looks like one."""

import pytest

from gateway.wire.trino.uris import BadUri, Page, info_uri, page_of_uri, page_query

ID = "20261124_080050_00004_kb4av"
THERE = "20261124_080101_00000_zz9zz"
SLUG = "y076cfd7b0c0ac351893f0dec7ee075f047eb4bc0"


@pytest.mark.parametrize("phase", ["queued", "executing"])
def test_a_page_is_parsed_and_written_back(phase: str) -> None:
    path = f"/v1/statement/{phase}/{ID}/{SLUG}/17"
    page = Page.parse(path)
    assert page == Page(phase, ID, SLUG, 17)
    assert page.suffix == "kb4av"
    assert page.engine_path() == page.client_path() == path


def test_a_partial_cancel_names_a_stage() -> None:
    path = f"/v1/statement/executing/partialCancel/{ID}/3/{SLUG}/17"
    page = Page.parse(path)
    assert page == Page("executing", ID, SLUG, 17, stage=3)
    assert page.engine_path() == path


def test_a_query_that_moved_keeps_the_id_its_client_knows() -> None:
    page = page_of_uri(f"http://10.0.0.1:8080/v1/statement/queued/{THERE}/{SLUG}/1").known_as(ID)
    assert page.client_path() == f"/v1/statement/queued/{ID}/at.{THERE}.{SLUG}/1"
    again = Page.parse(page.client_path())
    assert again == page
    assert again.id == ID
    assert again.suffix == "zz9zz"
    assert again.engine_path() == f"/v1/statement/queued/{THERE}/{SLUG}/1"


def test_a_query_that_stayed_has_nothing_added_to_its_uris() -> None:
    page = page_of_uri(f"https://trino/v1/statement/executing/{ID}/{SLUG}/0").known_as(ID)
    assert page.client_path() == f"/v1/statement/executing/{ID}/{SLUG}/0"


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/statement/queued/{ID}/{SLUG}/1/",
        f"/v1/statement/queued/{ID}/{SLUG}",
        f"/v1/statement/queued//{ID}/{SLUG}/1",
        f"/v1/statement/queued/{ID}/{SLUG}/-1",
        f"/v1/statement/queued/{ID}/{SLUG}/1e3",
        f"/v1/statement/queued/{ID}/{SLUG}/9999999999999999999",
        f"/v1/statement/queued/{ID}/{SLUG}%2f..%2fadmin/1",
        f"/v1/statement/queued/{ID}/../{ID}/{SLUG}/1",
        f"/v1/statement/queued/..%2f{ID}/{SLUG}/1",
        f"/v1/statement/queued/{ID}%00/{SLUG}/1",
        f"/v1/statement/queued/{ID}/{SLUG}/1\n",
        f"/v1/statement/queued/{ID.upper()}/{SLUG}/1",
        f"/v1/statement/queued/{ID}/3/{SLUG}/1",
        f"/v1/statement/executing/partialCancel/{ID}/{SLUG}/1",
        f"/v1/statement/executing/partialCancel{ID}/3/{SLUG}/1",
        f"/v1/statement/queued/partialCancel/{ID}/3/{SLUG}/1",
        f"/v1/statement/queued/{ID}/at.{THERE}/1",
        f"/v1/statement/queued/{ID}/at.{THERE}.at.{THERE}.{SLUG}/1",
        f"/v1/statement/queued/{ID}/at.{THERE}.{SLUG}.x/1",
        f"/v1/statement/queued/{ID}/{'y' * 129}/1",
        f"/V1/statement/queued/{ID}/{SLUG}/1",
        "/v1/statement",
        "/v1/spooled/download/x",
    ],
)
def test_anything_else_is_not_a_page(path: str) -> None:
    assert Page.parse(path) is None


@pytest.mark.parametrize(
    "uri",
    [
        f"/v1/statement/queued/{ID}/{SLUG}/1",
        f"ftp://host/v1/statement/queued/{ID}/{SLUG}/1",
        f"http://user@host/v1/statement/queued/{ID}/{SLUG}/1",
        f"http://host/prefix/v1/statement/queued/{ID}/{SLUG}/1",
        f"http://host/v1/statement/queued/{ID}/at.{THERE}.{SLUG}/1",
        "http://host/",
    ],
)
def test_a_backend_cannot_name_anything_but_a_page(uri: str) -> None:
    with pytest.raises(BadUri) as caught:
        page_of_uri(uri)
    assert SLUG not in str(caught.value)


def test_a_page_does_not_show_its_slug() -> None:
    page = Page.parse(f"/v1/statement/queued/{ID}/at.{THERE}.{SLUG}/1")
    assert SLUG not in repr(page)


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ("", ""),
        ("maxWait=1s", "maxWait=1s"),
        ("targetResultSize=1MB&maxWait=10ms", "targetResultSize=1MB&maxWait=10ms"),
        ("slug=x&maxWait=1s&user=root", "maxWait=1s"),
        ("maxWait=1s HTTP/1.1", ""),
        ("maxWait=1s#x", ""),
        ("maxWait=" + "1" * 600, ""),
    ],
)
def test_only_known_parameters_go_upstream(raw: str, kept: str) -> None:
    assert page_query(raw) == kept


def test_the_page_of_a_query_is_where_trino_has_it() -> None:
    assert info_uri("https://gw", ID) == f"https://gw/ui/query.html?{ID}"
