"""Our reading of heads and chunks against llhttp's, on generated input; and against every way to cut it."""

from __future__ import annotations

import itertools

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.http.chunked import ChunkedDecoder
from gateway.wire.http.grammar import encode_head, parse_request_head
from gateway.wire.http.message import BadMessage, Headers, InvalidHeader

MANY = settings(max_examples=400, deadline=None)


class Oracle:
    """What llhttp alone makes of a whole request."""

    def __init__(self) -> None:
        self.url = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.strip(b" \t")))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True

    @classmethod
    def read(cls, request: bytes) -> Oracle | None:
        oracle = cls()
        try:
            httptools.HttpRequestParser(oracle).feed_data(request)
        except httptools.HttpParserError:
            return None
        return oracle


def decode(body: bytes, cuts: list[int]) -> tuple[bytes, bytes] | None:
    """Data and what follows it, None where refused or unfinished."""
    decoder = ChunkedDecoder()
    out = b""
    edges = sorted({cut % (len(body) + 1) for cut in cuts} | {0, len(body)})
    for start, end in itertools.pairwise(edges):
        if decoder.done:
            return out, decoder.rest + body[start:]
        try:
            out += b"".join(decoder.feed(body[start:end]))
        except BadMessage:
            return None
    return (out, decoder.rest) if decoder.done else None


chunk_bytes = st.lists(
    st.sampled_from(
        [b"0", b"3", b"03", b"a", b"A", b"\r\n", b"\n", b"\r", b"abc", b";x=y", b"; ", b" ", b"\t", b"3\r\nabc\r\n",
         b"0\r\n\r\n", b"0\r\n", b"T: 1\r\n", b":", b"\x00", b"-", b"+", b"x", b"ffffffffffffffff", b"\x80"]
    ),
    max_size=12,
).map(b"".join)  # fmt: skip
PREFIX = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@MANY
@given(st.one_of(chunk_bytes, st.binary(max_size=40)), st.lists(st.integers(0, 100), max_size=5))
def test_chunks_that_we_accept_llhttp_reads_the_same(body: bytes, cuts: list[int]) -> None:
    whole = decode(body, [])
    assert decode(body, cuts) == whole
    assert decode(body, list(range(100))) == whole
    if whole is not None:
        data, rest = whole
        oracle = Oracle.read(PREFIX + body[: len(body) - len(rest)])
        assert oracle is not None
        assert (oracle.complete, oracle.body) == (True, data)


@MANY
@given(
    st.lists(st.binary(min_size=1, max_size=50), max_size=6),
    st.lists(st.integers(0, 300), max_size=8),
    st.binary(),
)
def test_what_was_chunked_comes_back(parts: list[bytes], cuts: list[int], rest: bytes) -> None:
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    assert decode(body + rest, cuts) == (b"".join(parts), rest)


head_bytes = st.lists(
    st.sampled_from(
        [b"GET", b"POST", b" ", b"/", b"/a?b=c", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\n", b"\r", b"Host: a\r\n",
         b"Host:b\r\n", b"X: y\r\n", b"X", b":", b" z", b"\t", b"Content-Length: 3\r\n", b"Content-Length: 03\r\n",
         b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding:\tchunked \r\n", b"Connection: close, x\r\n",
         b"\x00", b"\x7f", b"\xe9", b"http://a/", b"*", b"GET / HTTP/1.1\r\nHost: a\r\n"]
    ),
    max_size=10,
).map(b"".join)  # fmt: skip


@MANY
@given(st.one_of(head_bytes, head_bytes.map(lambda b: b"GET / HTTP/1.1\r\nHost: a\r\n" + b)))
def test_heads_that_we_accept_llhttp_reads_the_same(head: bytes) -> None:
    head += b"\r\n\r\n"
    head = head[: head.index(b"\r\n\r\n") + 4]
    try:
        parsed = parse_request_head(head, 100)
    except BadMessage:
        return
    ending = b"" if parsed.length is not None else b"3\r\nabc\r\n0\r\n\r\n"
    oracle = Oracle.read(head + (ending or b"x" * (parsed.length or 0)))
    assert oracle is not None
    assert oracle.complete
    assert len(oracle.body) == (3 if parsed.length is None else parsed.length)
    assert [(n.decode("latin-1"), v.decode("latin-1")) for n, v in oracle.fields] == list(
        parsed.headers.items()
    )
    assert len(parsed.headers.get_all("host")) <= 1
    assert parsed.target.startswith("/")


@MANY
@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=12)), max_size=4))
def test_no_header_that_we_send_can_split_the_message(pairs: list[tuple[str, str]]) -> None:
    try:
        head = encode_head("HTTP/1.1 200 OK", pairs, "Content-Length: 0\r\n")
    except InvalidHeader:
        return
    lines = head.split(b"\r\n")
    assert len(lines) <= len(pairs) + 4
    assert head.count(b"\r") == head.count(b"\n") == len(lines) - 1
    assert head.endswith(b"\r\n\r\n")


def test_headers_keep_repeats_order_and_case() -> None:
    headers = Headers([("A", "1"), ("b", "2"), ("a", "3")])
    assert headers.get("a") == "1"
    assert headers.get_all("A") == ["1", "3"]
    assert "B" in headers
    assert headers.get("c") is None
    copy = headers.copy()
    copy.set("A", "9")
    assert list(copy.items()) == [("b", "2"), ("A", "9")]
    assert list(headers.items()) == [("A", "1"), ("b", "2"), ("a", "3")]
    copy.remove("absent")
    copy.add("b", "4")
    assert copy.get_all("b") == ["2", "4"]


def test_end_to_end_drops_what_connection_names() -> None:
    headers = Headers(
        [("Connection", "close, X-Secret"), ("X-Secret", "1"), ("TE", "trailers"), ("X-Kept", "2")]
    )
    assert headers.end_to_end() == [("X-Kept", "2")]


def test_header_values_stay_out_of_logs() -> None:
    assert "hunter2" not in repr(Headers([("Authorization", "Basic hunter2")]))


def test_limits_of_fields() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 9 + b"\r\n"
    assert len(parse_request_head(head, 10).headers) == 10
    with pytest.raises(BadMessage) as caught:
        parse_request_head(head, 9)
    assert caught.value.status == 431
