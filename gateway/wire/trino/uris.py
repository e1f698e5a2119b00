"""The URIs of the statement protocol: what they may look like, whose they are, and how ours are written.

    /v1/statement/queued/{id}/{slug}/{token}
    /v1/statement/executing/{id}/{slug}/{token}
    /v1/statement/executing/partialCancel/{id}/{stage}/{slug}/{token}

The slug is the credential of a query: nothing here puts it into an exception or a log. Where a query had
to move to another backend after its client learnt an id, the slug segment carries where it went:
`at.{id there}.{slug there}`. Our URIs therefore need no memory, and any process can serve them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

# `QueryIdGenerator`: date, time, counter, and a suffix of five from an alphabet without 0, 1, l and o.
# The length of the counter is not promised, so it may grow.
_ID = r"[0-9]{8}_[0-9]{6}_[0-9]{5,9}_[a-z0-9]{5}"
_SLUG = r"[A-Za-z0-9_-]{1,128}"
QUERY_ID = re.compile(_ID)
_MOVED = re.compile(rf"at\.(?P<id>{_ID})\.(?P<slug>{_SLUG})")
_PAGE = re.compile(
    rf"/v1/statement/(?:(?P<phase>queued|executing)|executing/partialCancel(?=/))/"
    rf"(?P<id>{_ID})/(?:(?P<stage>[0-9]{{1,9}})/)?(?P<slug>at\.{_ID}\.{_SLUG}|{_SLUG})/(?P<token>[0-9]{{1,18}})"
)
_QUERY = re.compile(r"[A-Za-z0-9.%=&+_-]{0,512}")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]{1,255}")
_PAGE_PARAMETERS = frozenset({"maxWait", "targetResultSize"})


class BadUri(ValueError):
    """Not a URI of the statement protocol. The text never quotes it: it may hold a slug."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of one query, or the cancelling of one of its stages (`stage` is set).

    `id` is what the client knows the query by; `engine_id` is what its backend calls it.
    """

    phase: str
    id: str
    slug: str
    token: int
    stage: int | None = None
    moved_to: str | None = None

    def __repr__(self) -> str:
        return f"Page({self.phase} {self.id} -> {self.engine_id} token={self.token})"

    @property
    def engine_id(self) -> str:
        return self.moved_to or self.id

    @property
    def suffix(self) -> str:
        """The five characters that name the coordinator (one start of it)."""
        return suffix_of(self.engine_id)

    @classmethod
    def parse(cls, path: str) -> Self | None:
        """The page that a raw request path names; None for any other path. Nothing is decoded."""
        match = _PAGE.fullmatch(path)
        if match is None or (match["phase"] is None) != (match["stage"] is not None):
            return None
        slug, moved_to = match["slug"], None
        if moved := _MOVED.fullmatch(slug):
            slug, moved_to = moved["slug"], moved["id"]
        stage = None if match["stage"] is None else int(match["stage"])
        return cls(match["phase"] or "executing", match["id"], slug, int(match["token"]), stage, moved_to)

    def engine_path(self) -> str:
        """The path under which the backend knows the page."""
        return self._path(self.engine_id, self.slug)

    def client_path(self) -> str:
        """The path under which clients ask us for the page."""
        slug = f"at.{self.moved_to}.{self.slug}" if self.moved_to else self.slug
        return self._path(self.id, slug)

    def _path(self, query_id: str, slug: str) -> str:
        if self.stage is not None:
            return f"/v1/statement/executing/partialCancel/{query_id}/{self.stage}/{slug}/{self.token}"
        return f"/v1/statement/{self.phase}/{query_id}/{slug}/{self.token}"

    def known_as(self, client_id: str) -> Page:
        """The same page of the backend, under the id that the client knows."""
        moved = None if client_id == self.engine_id else self.engine_id
        return Page(self.phase, client_id, self.slug, self.token, self.stage, moved)


def suffix_of(query_id: str) -> str:
    return query_id[-5:]


def is_query_id(text: str) -> bool:
    return QUERY_ID.fullmatch(text) is not None


def page_of_uri(uri: str) -> Page:
    """The page that a backend's own absolute URI names. Raises BadUri for anything else."""
    path = _path_of(uri)
    page = Page.parse(path)
    if page is None or page.moved_to is not None:
        raise BadUri("the backend named a next page that is not one of the statement protocol")
    return page


def _path_of(uri: str) -> str:
    origin = _ORIGIN.match(uri)
    if origin is None:
        raise BadUri("the backend named a next page that is not an http address")
    return uri[origin.end() :].partition("?")[0]


def page_query(raw: str) -> str:
    """The part of a page request's query string that may go upstream: `maxWait`, `targetResultSize`."""
    if not raw or _QUERY.fullmatch(raw) is None:
        return ""
    kept = [part for part in raw.split("&") if part.partition("=")[0] in _PAGE_PARAMETERS]
    return "&".join(kept)


def info_uri(base: str, query_id: str) -> str:
    """Where our page of a query is; the same form as Trino's own, so both may serve it."""
    return f"{base}/ui/query.html?{query_id}"
