"""The request that an engine gets: built anew from what was understood, in one fixed shape."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.core.statement import Pairs
from gateway.wire.clickhouse.body import Gathered
from gateway.wire.clickhouse.multipart import ExternalTable, build_form
from gateway.wire.clickhouse.query_string import encode, encode_pairs
from gateway.wire.clickhouse.request import ClickHouseRequest
from gateway.wire.http.upstream import RequestBody

MAX_GET_QUERY = 16 * 1024
"""Longer texts of GET requests go in a body, with `readonly`, which is what GET means to ClickHouse."""


_FIXED_IN_SESSIONS = (("dialect", "clickhouse"), ("implicit_table_at_top_level", ""))
"""What SET in a session must not change, because decisions read texts as ClickHouse's own language."""


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """What to send. `length`: bytes of a streamed body, where known."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: RequestBody
    length: int | None = None


def build(
    asked: ClickHouseRequest,
    gathered: Gathered,
    tables: tuple[ExternalTable, ...],
    text: str,
    *,
    query_id: str,
    session_id: str | None,
    added_settings: Pairs,
    engine_headers: list[tuple[str, str]],
    client_host: str,
) -> UpstreamRequest:
    """`text` is what to run (the plan's), `query_id` and `session_id` are the engine's."""
    as_get = asked.method != "POST" and not gathered.has_data and len(text) <= MAX_GET_QUERY
    settings = _settings(asked, added_settings, force_readonly=asked.method != "POST" and not as_get)
    pairs = _parameters(asked, settings, query_id, session_id)
    headers = _headers(asked, engine_headers, client_host)
    if as_get:
        return UpstreamRequest(asked.method, _target(pairs, text), headers, None)
    method = "HEAD" if asked.method == "HEAD" else "POST"
    if tables:
        pairs += asked.external
        kind, form = build_form(_bytes(text), tables)
        return UpstreamRequest(method, _target(pairs), [*headers, ("Content-Type", kind)], form)
    if gathered.as_sent:
        if asked.native_body:
            pairs.append(("decompress", "1"))
        if asked.content_encoding:
            headers.append(("Content-Encoding", asked.content_encoding))
        body: RequestBody = gathered.data if gathered.rest is None else gathered.rest
        length = gathered.length if gathered.rest is not None else None
        return UpstreamRequest(method, _target(pairs, text), headers, body, length)
    return UpstreamRequest(method, _target(pairs), headers, _text_and_data(text, gathered))


def _text_and_data(text: str, gathered: Gathered) -> RequestBody:
    start = _bytes(text)
    if gathered.has_data:
        # Untouched text keeps its own white space before the data; after a new one a line end is what
        # ClickHouse skips between FORMAT and data.
        start += gathered.data if text == gathered.text else b"\n" + gathered.data
    return start if gathered.rest is None else _joined(start, gathered.rest)


async def _joined(start: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield start
    async for piece in rest:
        yield piece


def _settings(asked: ClickHouseRequest, added: Pairs, *, force_readonly: bool) -> Pairs:
    if not added and not force_readonly:
        return asked.settings
    merged = dict(asked.settings)
    if force_readonly and merged.get("readonly", "0") == "0":
        merged["readonly"] = "2"
    merged.update(added)  # what the gateway adds wins
    return tuple(sorted(merged.items()))


def _parameters(
    asked: ClickHouseRequest, settings: Pairs, query_id: str, session_id: str | None
) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    if asked.database is not None:
        pairs.append(("database", asked.database))
    if asked.default_format is not None:
        pairs.append(("default_format", asked.default_format))
    pairs.append(("query_id", query_id))
    if session_id is not None:
        pairs.append(("session_id", session_id))
        pairs += _FIXED_IN_SESSIONS
    pairs += asked.control
    pairs += settings
    pairs += [("param_" + name, value) for name, value in asked.parameters]
    pairs += [("role", role) for role in asked.roles]
    return pairs


def _target(pairs: list[tuple[str, str]], text: str | None = None) -> str:
    target = "/?" + encode_pairs(pairs)
    return target if text is None else f"{target}&query={encode(text)}"


def _headers(
    asked: ClickHouseRequest, engine_headers: list[tuple[str, str]], client_host: str
) -> list[tuple[str, str]]:
    headers = [*engine_headers]
    if client_host:
        headers.append(("X-Forwarded-For", client_host))
    if asked.user_agent:
        headers.append(("User-Agent", asked.user_agent))  # query_log shows client products by it
    if asked.accept_encoding:
        headers.append(("Accept-Encoding", asked.accept_encoding))
    if asked.origin:
        headers.append(("Origin", "null"))  # only its presence matters, with add_http_cors_header
    if asked.trace is not None:
        headers.append(("traceparent", asked.trace))
    return headers


_KEPT = frozenset(
    name.lower()
    for name in (
        "X-ClickHouse-Summary",
        "X-ClickHouse-Progress",
        "X-ClickHouse-Format",
        "X-ClickHouse-Timezone",
        "X-ClickHouse-Server-Display-Name",
        "X-ClickHouse-Exception-Code",
        "X-ClickHouse-Exception-Tag",
        "Content-Type",
        "Content-Encoding",
        "Vary",
        "Access-Control-Allow-Origin",
        "Access-Control-Expose-Headers",
    )
)
_QUERY_ID = "x-clickhouse-query-id"


def answer_headers(fields: list[tuple[str, str]], client_query_id: str) -> list[tuple[str, str]]:
    """An engine's response fields by allow-list, with the client's own query id in place of the engine's."""
    kept = []
    for field in fields:
        name = field[0].lower()
        if name in _KEPT:
            kept.append(field)
        elif name == _QUERY_ID:
            kept.append((field[0], client_query_id))
    return kept


def header_text(text: str) -> str:
    """Text for a header field, which carries bytes as latin-1."""
    return text if text.isascii() else _bytes(text).decode("latin-1")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
