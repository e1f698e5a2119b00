"""Requests that another hop could read differently are refused, and the connection ends there."""

from __future__ import annotations

import pytest

from tests.wire.http.raw import Stage, echo

H = b"Host: a\r\n"
TE = b"Transfer-Encoding: chunked\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "length and chunked": (400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3\r\n" + TE + b"\r\n0\r\n\r\n"),
    "two lengths": (400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
    "same length twice": (400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    "length list": (400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3, 3\r\n\r\nabc"),
    "length plus": (400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: +3\r\n\r\nabc"),
    "length minus": (400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: -3\r\n\r\nabc"),
    "length inner space": (400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3 3\r\n\r\nabc"),
    "length hex": (400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 0x3\r\n\r\nabc"),
    "length empty": (400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length:\r\n\r\nabc"),
    "length huge": (400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 99999999999999999999\r\n\r\nabc"),
    "length arabic digit": (400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: \xb2\r\n\r\nabc"),
    "folding": (400, b"GET / HTTP/1.1\r\n" + H + b"X: a\r\n b\r\n\r\n"),
    "folding by tab": (400, b"GET / HTTP/1.1\r\n" + H + b"X: a\r\n\tb\r\n\r\n"),
    "folded first line": (400, b"GET / HTTP/1.1\r\n " + H + b"\r\n"),
    "bare LF in head": (400, b"GET / HTTP/1.1\r\n" + H + b"X: a\nY: b\r\n\r\n"),
    "bare LF all over": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "bare CR in value": (400, b"GET / HTTP/1.1\r\n" + H + b"X: a\rY: b\r\n\r\n"),
    "bare CR before head end": (400, b"GET / HTTP/1.1\r\n" + H + b"\r\r\n\r\n"),
    "space before colon": (400, b"GET / HTTP/1.1\r\n" + H + b"X : a\r\n\r\n"),
    "space before name": (400, b"GET / HTTP/1.1\r\n X: a\r\n" + H + b"\r\n"),
    "no colon": (400, b"GET / HTTP/1.1\r\n" + H + b"X\r\n\r\n"),
    "empty name": (400, b"GET / HTTP/1.1\r\n" + H + b": a\r\n\r\n"),
    "NUL in value": (400, b"GET / HTTP/1.1\r\n" + H + b"X: a\x00b\r\n\r\n"),
    "control in value": (400, b"GET / HTTP/1.1\r\n" + H + b"X: a\x0bb\r\n\r\n"),
    "DEL in value": (400, b"GET / HTTP/1.1\r\n" + H + b"X: a\x7fb\r\n\r\n"),
    "high byte in name": (400, b"GET / HTTP/1.1\r\n" + H + b"X\xe9: a\r\n\r\n"),
    "NUL in target": (400, b"GET /\x00 HTTP/1.1\r\n" + H + b"\r\n"),
    "tab in target": (400, b"GET /\ta HTTP/1.1\r\n" + H + b"\r\n"),
    "fragment": (400, b"GET /a#b HTTP/1.1\r\n" + H + b"\r\n"),
    "space in target": (400, b"GET /a b HTTP/1.1\r\n" + H + b"\r\n"),
    "two spaces": (400, b"GET  / HTTP/1.1\r\n" + H + b"\r\n"),
    "trailing space": (400, b"GET / HTTP/1.1 \r\n" + H + b"\r\n"),
    "no version": (400, b"GET /\r\n\r\n"),
    "lower-case method": (400, b"get / HTTP/1.1\r\n" + H + b"\r\n"),
    "unknown method": (501, b"BREW / HTTP/1.1\r\n" + H + b"\r\n"),
    "HTTP/2.0": (505, b"GET / HTTP/2.0\r\n" + H + b"\r\n"),
    "HTTP/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/0.9": (505, b"GET / HTTP/0.9\r\n" + H + b"\r\n"),
    "no host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two hosts": (400, b"GET / HTTP/1.1\r\n" + H + H + b"\r\n"),
    "host with path": (400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "host with user": (400, b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    "identity encoding": (400, b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: identity\r\n\r\n"),
    "gzip, chunked": (400, b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "chunked twice": (400, b"POST / HTTP/1.1\r\n" + H + TE + TE + b"\r\n0\r\n\r\n"),
    "chunked with parameter": (400, b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    "xchunked": (400, b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "chunked by vertical tab": (400, b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "chunked in 1.0": (400, b"POST / HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "other absolute host": (400, b"GET http://b/ HTTP/1.1\r\n" + H + b"\r\n"),
    "absolute with user": (400, b"GET http://u@a/ HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    "absolute other scheme": (400, b"GET ftp://a/ HTTP/1.1\r\n" + H + b"\r\n"),
    "relative target": (400, b"GET a HTTP/1.1\r\n" + H + b"\r\n"),
    "star": (400, b"GET * HTTP/1.1\r\n" + H + b"\r\n"),
    "CONNECT": (501, b"CONNECT a:80 HTTP/1.1\r\n" + H + b"\r\n"),
    "upgrade": (501, b"GET / HTTP/1.1\r\n" + H + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
    "other expectation": (417, b"POST / HTTP/1.1\r\n" + H + b"Expect: magic\r\nContent-Length: 1\r\n\r\na"),
    "empty lines first": (400, b"\r\n\r\nGET / HTTP/1.1\r\n" + H + b"\r\n"),
    "TLS to a plain port": (400, b"\x16\x03\x01\x02\x00\x01\x00"),
    "PROXY v1 from nobody": (400, b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\n" + H + b"\r\n"),
    "PROXY v2 from nobody": (400, b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + b"\x01" * 12),
    "chunk size minus": (400, CHUNKED + b"-1\r\nabc\r\n0\r\n\r\n"),
    "chunk size plus": (400, CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n"),
    "chunk size 0x": (400, CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n"),
    "chunk size space before": (400, CHUNKED + b" 3\r\nabc\r\n0\r\n\r\n"),
    "chunk size space after": (400, CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n"),
    "chunk size underscore": (400, CHUNKED + b"1_0\r\nabc\r\n0\r\n\r\n"),
    "chunk size overflow": (400, CHUNKED + b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
    "chunk size empty": (400, CHUNKED + b"\r\nabc\r\n0\r\n\r\n"),
    "chunk bare LF": (400, CHUNKED + b"3\nabc\r\n0\r\n\r\n"),
    "chunk data bare LF": (400, CHUNKED + b"3\r\nabc\n0\r\n\r\n"),
    "chunk too short": (400, CHUNKED + b"2\r\nabc\r\n0\r\n\r\n"),
    "chunk extension LF": (400, CHUNKED + b"3;a=\n\r\nabc\r\n0\r\n\r\n"),
    "chunk extension CR": (400, CHUNKED + b"3;a=\rb\r\nabc\r\n0\r\n\r\n"),
    "long chunk extension": (400, CHUNKED + b"3;" + b"a" * 600 + b"\r\nabc\r\n0\r\n\r\n"),
    "endless chunk extension": (400, CHUNKED + b"3;" + b"a" * 600),
    "many chunk extensions": (400, CHUNKED + (b"1;" + b"a" * 400 + b"\r\nx\r\n") * 60 + b"0\r\n\r\n"),
    "trailer folded": (400, CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n"),
    "trailer no colon": (400, CHUNKED + b"0\r\nGET / HTTP/1.1\r\n\r\n"),
    "trailers too large": (400, CHUNKED + b"0\r\n" + b"A: " + b"b" * 17000 + b"\r\n\r\n"),
    "too many fields": (431, b"GET / HTTP/1.1\r\n" + H + b"X: a\r\n" * 1001 + b"\r\n"),
    "fields too large": (431, b"GET / HTTP/1.1\r\n" + H + b"X: " + b"a" * 262200 + b"\r\n\r\n"),
    "fields too large, endless": (431, b"GET / HTTP/1.1\r\n" + H + b"X: " + b"a" * 262200),
    "target too long": (414, b"GET /" + b"a" * 1048700 + b" HTTP/1.1\r\n" + H + b"\r\n"),
    "target too long, endless": (414, b"GET /" + b"a" * 1048700),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_with_close_and_nothing_after(stage: Stage, name: str) -> None:
    status, request = REFUSED[name]
    await stage.serve(echo)
    client = await stage.connect()
    # A request smuggled behind the refused one must get no answer.
    client.send(
        request + (b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n" if request.endswith(b"\r\n\r\n") else b"")
    )
    got, headers, body = await client.answer()
    assert got == status, body
    assert headers["connection"] == "close"
    assert str(status).encode() in body
    assert await client.ended()


@pytest.mark.parametrize("name", ["length and chunked", "folding", "chunk size plus", "trailer folded"])
async def test_refused_byte_by_byte(stage: Stage, name: str) -> None:
    status, request = REFUSED[name]
    await stage.serve(echo)
    client = await stage.connect()
    for i in range(len(request)):
        client.send(request[i : i + 1])
        await client.writer.drain()
    got, headers, _ = await client.answer()
    assert (got, headers["connection"]) == (status, "close")


ACCEPTED = {
    "absolute form": (b"GET http://A:1/x?y HTTP/1.1\r\nHost: a:1\r\n\r\n", b"GET /x?y 0 "),
    "absolute form without path": (b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / 0 "),
    "raw utf-8 target": ("GET /?q='é' HTTP/1.1\r\nHost: a\r\n\r\n".encode(), b"GET /?q='%C3%A9' 0 "),
    "quotes and pipes": (b'GET /?q="|{}^` HTTP/1.1\r\nHost: a\r\n\r\n', b'GET /?q="|{}^` 0 '),
    "one empty line first": (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / 0 "),
    "options star": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"OPTIONS * 0 "),
    "Chunked in capitals": (CHUNKED.replace(b"chunked", b"Chunked") + b"3\r\nabc\r\n0\r\n\r\n", b"POST / 3 abc"),
    "extension and trailer": (CHUNKED + b"3;a=b\r\nabc\r\n00\r\nA: b\r\n\r\n", b"POST / 3 abc"),
    "many small chunks": (CHUNKED + b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n", b"POST / 5000 " + b"x" * 5000),
    "length with spaces around": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:  3 \r\n\r\nabc", b"POST / 3 abc"),
    "empty host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", b"GET / 0 "),
    "IPv6 host": (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", b"GET / 0 "),
    "long target": (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /" + b"a" * 100_000 + b" 0 "),
    "long field": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 200_000 + b"\r\n\r\n", b"GET / 0 "),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
@pytest.mark.parametrize("step", [0, 1, 7])
async def test_accepted_however_it_is_cut(stage: Stage, name: str, step: int) -> None:
    request, expected = ACCEPTED[name]
    await stage.serve(echo)
    client = await stage.connect()
    step = step if step and len(request) < 2000 else 4096 if step else len(request)
    for i in range(0, len(request), step):
        client.send(request[i : i + step])
        await client.writer.drain()
    status, _, body = await client.answer()
    assert status == 200, body
    assert body == expected
    client.send(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await client.answer())[2] == b"GET /next 0 "
