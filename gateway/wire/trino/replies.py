"""What is sent to clients in our own words: documents, short texts, challenges, the page of a query."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable

from gateway.wire.http.responder import Responder
from gateway.wire.trino.documents import QueryResults, Stats
from gateway.wire.trino.errors import Failure
from gateway.wire.trino.relay import Created, HeaderList
from gateway.wire.trino.results import Reply
from gateway.wire.trino.uris import info_uri

JSON = ("Content-Type", "application/json")
TEXT = ("Content-Type", "text/plain; charset=utf-8")
_HTML = ("Content-Type", "text/html; charset=utf-8")
_PAGE_POLICY: HeaderList = [
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
]


async def send_failure(responder: Responder, base: str, failure: Failure, query_id: str) -> None:
    """200 and an error document: every 4xx and 5xx is retried or garbled by some client."""
    document = QueryResults(query_id, info_uri(base, query_id), Stats("FAILED"), failure=failure)
    await responder.send(200, [JSON], document.encode())


async def send_created(responder: Responder, created: Created, client_id: str, base: str) -> None:
    """A backend's first document, under the id that the client knows."""
    await responder.send(200, [JSON, *_without_type(created.headers)], created.document(client_id, base))


async def send_page(responder: Responder, body: bytes) -> None:
    """HTML that runs nothing and is framed by nobody."""
    await responder.send(200, [_HTML, *_PAGE_POLICY], body)


def _without_type(headers: HeaderList) -> HeaderList:
    return [(name, value) for name, value in headers if name != "Content-Type"]


async def send_reply(responder: Responder, reply: Reply) -> None:
    if reply.status == 200:
        await responder.send(200, [JSON, *reply.headers], reply.body)
    elif reply.status == 204:
        await responder.send(204, [])
    else:
        text = "Query not found" if reply.status == 404 else "The page is gone: the query has moved on"
        await send_text(responder, reply.status, text)


async def send_text(responder: Responder, status: int, text: str) -> None:
    await responder.send(status, [TEXT], text.encode())


async def try_again(responder: Responder, reason: str) -> None:
    # 503 is the one status that Java, Go and Python clients all retry.
    await responder.send(503, [TEXT, ("Retry-After", "1")], f"{reason}; the client may try again".encode())


async def not_allowed(responder: Responder, methods: Iterable[str]) -> None:
    allowed = ", ".join(methods)
    await responder.send(405, [TEXT, ("Allow", allowed)], f"Method not allowed; use {allowed}".encode())


async def unauthorized(responder: Responder, text: str, retry_after: float | None = None) -> None:
    if retry_after is not None:
        headers = [TEXT, ("Retry-After", str(math.ceil(retry_after)))]
        await responder.send(429, headers, text.encode())
        return
    challenge = [("WWW-Authenticate", 'Basic realm="Trino"'), ("WWW-Authenticate", 'Bearer realm="Trino"')]
    await responder.send(401, [TEXT, *challenge], text.encode())


def plain_page(query_id: str) -> bytes:
    shown = html.escape(query_id)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Query {shown}</title>"
        "<style>body{font:16px system-ui;margin:3em}</style>"
        f"<h1>Query {shown}</h1><p>The gateway runs this query. Its owner gets its state from "
        f"<code>/v1/query/{shown}</code>.</p></html>"
    ).encode()
