"""ClickHouse's HTTP interface over `Runner`. It talks to one client only: the gateway, on a Unix socket.

The gateway has already checked names, settings and sizes; here the request is only understood.
"""

from __future__ import annotations

import re
import secrets
from urllib.parse import parse_qsl

import orjson

from gateway.core.tasks import Supervisor
from gateway.engines.chdb.failures import BAD_ARGUMENTS, Failure
from gateway.engines.chdb.runs import DEFAULT_SESSION_S, Asked, Result, Runner, split
from gateway.wire.clickhouse.coding import decoder_for, native_block
from gateway.wire.http.message import BodyTooLarge, Request
from gateway.wire.http.responder import Responder

MAX_BODY_BYTES = 256 * 1024 * 1024
_KILL = re.compile(
    r"^\s*KILL\s+QUERY\s+WHERE\s+query_id\s*(?:=|IN)\s*\(?\s*(.+?)\s*\)?\s*(?:SYNC|ASYNC|TEST)?\s*"
    r"(?:FORMAT\s+\w+\s*)?;?\s*$",
    re.IGNORECASE | re.DOTALL,
)
_TEXT = re.compile(r"'((?:[^'\\]|\\.)*)'")
_CONTROL = frozenset(
    {
        "query", "database", "default_format", "query_id", "session_id", "session_timeout", "session_check",
        "compress", "decompress", "user", "password", "quota_key", "buffer_size", "wait_end_of_query",
        "client_protocol_version", "stacktrace", "role", "http_native_compression_disable_checksumming_on_decompress",
        "close_session",
    }
)  # fmt: skip
_CONTENT_TYPES = {
    "json": "application/json; charset=UTF-8",
    "jsoncompact": "application/json; charset=UTF-8",
    "jsonstrings": "application/json; charset=UTF-8",
    "jsoneachrow": "application/x-ndjson; charset=UTF-8",
    "csv": "text/csv; charset=UTF-8; header=absent",
    "csvwithnames": "text/csv; charset=UTF-8; header=present",
    "tabseparated": "text/tab-separated-values; charset=UTF-8",
    "native": "application/octet-stream",
    "rowbinary": "application/octet-stream",
    "parquet": "application/octet-stream",
}


class ChdbServer:
    """`handle` is the handler of an HttpServer."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._supervisor = Supervisor("chdb")

    async def close(self) -> None:
        """Stop background KILLs."""
        await self._supervisor.close()

    async def handle(self, request: Request, responder: Responder) -> None:
        """Answer one request."""
        if request.path in ("/ping", "/replicas_status"):
            await responder.send(200, [("Content-Type", "text/html; charset=UTF-8")], b"Ok.\n")
            return
        if request.path != "/":
            await responder.send(404, [("Content-Type", "text/plain")], b"There is no handle\n")
            return
        given = dict(
            parse_qsl(request.query, keep_blank_values=True, encoding="utf-8", errors="surrogateescape")
        )
        query_id = given.get("query_id") or secrets.token_hex(16)
        try:
            asked = await _asked(request, given, query_id)
            if (ids := _killed(asked.statement)) is not None:
                await self._answer_kill(ids, query_id, responder)
                return
            async with self._runner.connection(
                given.get("session_id"),
                float(given.get("session_timeout", DEFAULT_SESSION_S)),
                must_exist=given.get("session_check") == "1",
            ) as connection:
                responder.on_disconnect(lambda: self._supervisor.spawn(self._runner.kill(query_id), "kill"))
                result = await self._runner.run(connection, asked)
                await _send(responder, asked, result, query_id, native=given.get("compress") == "1")
        except Failure as failure:
            await _send_failure(responder, failure, query_id)

    async def _answer_kill(self, ids: list[str], query_id: str, responder: Responder) -> None:
        for killed in ids:
            await self._runner.kill(killed)
        await responder.send(200, _headers("TabSeparated", query_id), b"")


def _killed(statement: bytes) -> list[str] | None:
    """Ids of a KILL QUERY by id; they are ours, not the library's."""
    match = _KILL.match(statement[:4_000].decode("utf-8", "replace"))
    return _TEXT.findall(match[1]) if match else None


async def _asked(request: Request, given: dict[str, str], query_id: str) -> Asked:
    try:
        body = await request.body.read(MAX_BODY_BYTES)
    except BodyTooLarge:
        raise Failure.saying(
            BAD_ARGUMENTS,
            "BAD_ARGUMENTS",
            f"The embedded engine takes bodies of up to {MAX_BODY_BYTES} bytes",
        ) from None
    if (request.headers.get("Content-Type") or "").startswith("multipart/"):
        raise Failure.saying(48, "NOT_IMPLEMENTED", "The embedded engine takes no external tables")
    decoder = decoder_for(request.headers.get("Content-Encoding") or "", given.get("decompress") == "1")
    if decoder is not None:
        body = b"".join(decoder.feed(body))
        decoder.finish()
    text = given.get("query", "").encode("utf-8", "surrogateescape")
    return Asked(
        statement=text + b"\n" + body if text and body else text or body,
        query_id=query_id,
        default_format=given.get("default_format") or "TabSeparated",
        database=given.get("database"),
        settings=tuple((n, v) for n, v in given.items() if n not in _CONTROL and not n.startswith("param_")),
        parameters=tuple((n[6:], v) for n, v in given.items() if n.startswith("param_")),
        readonly=request.method != "POST",
    )


def _headers(output_format: str, query_id: str) -> list[tuple[str, str]]:
    return [
        ("Content-Type", _CONTENT_TYPES.get(output_format.lower(), "text/plain; charset=UTF-8")),
        ("X-ClickHouse-Server-Display-Name", "embedded"),
        ("X-ClickHouse-Query-Id", query_id.encode("utf-8", "surrogateescape").decode("latin-1")),
        ("X-ClickHouse-Format", output_format),
        ("X-ClickHouse-Timezone", "UTC"),
    ]


async def _send(responder: Responder, asked: Asked, result: Result, query_id: str, *, native: bool) -> None:
    tag = secrets.token_hex(8)
    summary = {
        "read_rows": str(result.rows_read),
        "read_bytes": str(result.bytes_read),
        "result_rows": str(result.rows),
        "elapsed_ns": str(int(result.elapsed * 1e9)),
    }
    headers = _headers(asked.output_format, query_id)
    headers += [("X-ClickHouse-Summary", orjson.dumps(summary).decode()), ("X-ClickHouse-Exception-Tag", tag)]
    encode = native_block if native else bytes
    if result.rest is None and len(result.first) <= 1 << 20:
        await responder.send(200, headers, encode(result.first) if result.first else b"")
        return
    await responder.start(200, headers)
    for piece in split(result.first):
        await responder.write(encode(piece))
    try:
        if result.rest is not None:
            async for chunk in result.rest:
                for piece in split(chunk):
                    await responder.write(encode(piece))
    except Failure as failure:
        # As ClickHouse 25.11+ marks an error behind a result that has begun, and then cuts.
        text, mark = failure.text.encode(), tag.encode()
        parts = (b"", b"__exception__", mark, text + b"\n%d %s" % (len(text), mark), b"__exception__", b"")
        await responder.write(encode(b"\r\n".join(parts)))
        responder.abort()
        return
    await responder.end()


async def _send_failure(responder: Responder, failure: Failure, query_id: str) -> None:
    headers = [*_headers("TabSeparated", query_id), ("X-ClickHouse-Exception-Code", str(failure.code))]
    headers[0] = ("Content-Type", "text/plain; charset=UTF-8")
    await responder.send(failure.status, headers, failure.text.rstrip().encode() + b"\n")
