"""The HTTP/1.1 we accept and emit, stricter than the parser under it.

llhttp parses; a grammar of our own over the same bytes must agree before anything is believed. Two
independent readings of one message leave little room for a third one at the next hop (request smuggling).
What llhttp 9 lets through and we do not: several spaces in the request line, empty lines in front, a missing
or repeated Host, fragments and user info in targets, HTTP/2.0 as a version, unlimited sizes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import httptools

from gateway.wire.http.message import HOP_BY_HOP, BadMessage, Headers, InvalidHeader

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_FIELD = rb"(?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)"
_REQUEST_LINE = re.compile(rb"([A-Z][A-Z-]{0,31}) ([\x21\x22\x24-\x7e\x80-\xff]++) HTTP/(\d)\.(\d)\r\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*+))?\r\n")
_FIELDS = re.compile(_FIELD + rb"*+\r\n")
TRAILER_LINE = re.compile(_FIELD)
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LENGTH = re.compile(r"[0-9]{1,18}")
_HOST = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
_ABSOLUTE = re.compile(r"https?://([^/?]*)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_HIGH_BYTES = re.compile(rb"[\x80-\xff]")
BARE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")

# "Name: " of field names that were found good, "" for hop-by-hop ones: their bytes are made once.
_PREFIXES: dict[str, str] = {}
_PREFIXES_MAX = 4096


Index = Mapping[str, list[str]]


class _Collector:
    """The callbacks httptools wants; it gives back what llhttp read."""

    __slots__ = ("fields", "url")

    def __init__(self) -> None:
        self.url = b""
        self.fields: list[tuple[str, str]] = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.decode("latin-1"), value.decode("latin-1").strip(" \t")))


@dataclass(slots=True)
class RequestHead:
    """A request head that passed every rule. `length` is None for a chunked body, 0 for none."""

    method: str
    target: str
    headers: Headers
    version: tuple[int, int]
    length: int | None
    keep_alive: bool
    expect_continue: bool


@dataclass(slots=True)
class ResponseHead:
    """A response head. `length` None and not `chunked` means: until the connection closes."""

    status: int
    reason: str
    headers: Headers
    version: tuple[int, int]
    length: int | None
    chunked: bool
    keep_alive: bool
    bodiless: bool


def parse_request_head(head: bytes, max_headers: int) -> RequestHead:
    """Read one complete head (up to and with the empty line). Raises BadMessage with a status."""
    line = _REQUEST_LINE.match(head)
    if line is None:
        raise BadMessage("the request line is not 'METHOD target HTTP/1.1' with single spaces and CRLF")
    version = (int(line[3]), int(line[4]))
    if version not in ((1, 1), (1, 0)):
        raise BadMessage("only HTTP/1.1 and HTTP/1.0 are spoken here", 505)
    if line[1] == b"CONNECT":
        raise BadMessage("CONNECT is not supported: this is no forward proxy", 501)
    _check_fields(head, line.end(), max_headers)
    if not line[2].isascii():
        head = head[: line.start(2)] + percent_encode_high(line[2]) + head[line.end(2) :]
    got = _Collector()
    parser = httptools.HttpRequestParser(got)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        raise BadMessage("Upgrade is not supported: send plain HTTP/1.1", 501) from None
    except httptools.HttpParserInvalidMethodError:
        raise BadMessage("the request method is unknown", 501) from None
    except httptools.HttpParserError as error:
        raise BadMessage(f"malformed request: {error}") from None
    headers = Headers(got.fields)
    index = headers.by_lower_name()
    target = _origin_form(got.url.decode("latin-1"), line[1] == b"OPTIONS", _host(index, version))
    return RequestHead(
        method=line[1].decode("ascii"),
        target=target,
        headers=headers,
        version=version,
        length=_request_length(index, version),
        keep_alive=_keep_alive(index, version),
        expect_continue=_expects_continue(index, version),
    )


def _check_fields(head: bytes, start: int, max_headers: int) -> None:
    if head.count(b"\n", start) - 1 > max_headers:
        raise BadMessage(f"more than {max_headers} header fields", 431)
    if _FIELDS.fullmatch(head, start) is None:
        raise BadMessage(
            "a header field is malformed: 'Name: value' ended by CRLF, no folding, "
            "no space before the colon, no control characters"
        )


def percent_encode_high(target: bytes) -> bytes:
    """Raw bytes over 0x7f (curl sends them as typed) as %XX, which means the same to every receiver."""
    return _HIGH_BYTES.sub(lambda byte: b"%%%02X" % byte[0][0], target)


def _host(index: Index, version: tuple[int, int]) -> str | None:
    hosts = index.get("host", ())
    if len(hosts) > 1 or (not hosts and version == (1, 1)):
        raise BadMessage("exactly one Host header is required")
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        raise BadMessage("the Host header is malformed")
    return hosts[0] if hosts else None


def _origin_form(target: str, is_options: bool, host: str | None) -> str:
    if target[0] == "/" or (target == "*" and is_options):
        return target
    absolute = _ABSOLUTE.match(target)
    if absolute is None:
        raise BadMessage("the request target must be a path that starts with '/'")
    if host is not None and absolute[1].lower() != host.lower():
        raise BadMessage("the target names another host than the Host header")
    if "@" in absolute[1] or not absolute[1]:
        raise BadMessage("the target must name a host and no user")
    rest = target[absolute.end() :]
    return rest if rest.startswith("/") else "/" + rest


def _request_length(index: Index, version: tuple[int, int]) -> int | None:
    if "transfer-encoding" in index:
        if version == (1, 0):
            raise BadMessage("Transfer-Encoding does not exist in HTTP/1.0")
        _only_chunked(index)
        return None
    return _content_length(index) or 0


def _only_chunked(index: Index) -> None:
    if "content-length" in index:
        raise BadMessage("both Content-Length and Transfer-Encoding: the end of the body is ambiguous")
    if [v.lower() for v in index["transfer-encoding"]] != ["chunked"]:
        raise BadMessage("the only Transfer-Encoding accepted is exactly 'chunked'")


def _content_length(index: Index) -> int | None:
    values = index.get("content-length")
    if not values:
        return None
    if len(values) > 1 or _LENGTH.fullmatch(values[0]) is None:
        raise BadMessage("Content-Length must be given once, as digits only")
    return int(values[0])


def _keep_alive(index: Index, version: tuple[int, int]) -> bool:
    values = index.get("connection")
    if not values:
        return version == (1, 1)
    tokens = {token.strip().lower() for value in values for token in value.split(",")}
    return "close" not in tokens and (version == (1, 1) or "keep-alive" in tokens)


def _expects_continue(index: Index, version: tuple[int, int]) -> bool:
    expect = index.get("expect")
    if not expect or version == (1, 0):
        return False
    if [value.lower() for value in expect] != ["100-continue"]:
        raise BadMessage("the only Expect understood is 100-continue", 417)
    return True


def parse_response_head(head: bytes, max_headers: int, *, head_request: bool) -> ResponseHead:
    """Read one complete response head. Raises BadMessage when its meaning is not certain."""
    line = _STATUS_LINE.match(head)
    if line is None:
        raise BadMessage("the status line is not 'HTTP/1.1 NNN reason' with CRLF")
    _check_fields(head, line.end(), max_headers)
    got = _Collector()
    parser = httptools.HttpResponseParser(got)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        raise BadMessage("the server switched protocols without being asked to") from None
    except httptools.HttpParserError as error:
        raise BadMessage(f"malformed response: {error}") from None
    headers = Headers(got.fields)
    status, version = int(line[2]), (1, int(line[1]))
    bodiless = head_request or status < 200 or status in (204, 304)
    index = headers.by_lower_name()
    length, chunked = _response_framing(index, version, bodiless)
    return ResponseHead(
        status=status,
        reason=(line[3] or b"").decode("latin-1"),
        headers=headers,
        version=version,
        length=length,
        chunked=chunked,
        keep_alive=_keep_alive(index, version) and (chunked or length is not None),
        bodiless=bodiless,
    )


def _response_framing(index: Index, version: tuple[int, int], bodiless: bool) -> tuple[int | None, bool]:
    chunked = "transfer-encoding" in index
    if chunked:
        if version == (1, 0):
            raise BadMessage("Transfer-Encoding does not exist in HTTP/1.0")
        _only_chunked(index)
    length = _content_length(index)
    return (0, False) if bodiless else (length, chunked)


def encode_head(first_line: str, headers: Iterable[tuple[str, str]], framing: str) -> bytes:
    """The bytes of a head: `headers` without hop-by-hop fields, then `framing` (our own lines, each with
    its CRLF). Raises InvalidHeader when a field could split the message."""
    return encode_fields(first_line + "\r\n", headers, framing + "\r\n")


def encode_fields(before: str, headers: Iterable[tuple[str, str]], after: str = "") -> bytes:
    """Validated `Name: value` lines between two trusted strings. Raises InvalidHeader."""
    lines: list[str] = []
    known = _PREFIXES.get
    for name, value in headers:
        prefix = known(name)
        if prefix is None:
            prefix = _learn_name(name)
        if prefix:
            lines.append(f"{prefix}{value}\r\n")
    text = "".join(lines)
    # One CR and one LF for each line that we ended ourselves; any other came in a value.
    if text.count("\r") != len(lines) or text.count("\n") != len(lines) or _CONTROL.search(text):
        raise InvalidHeader("a header value holds a line end or a control character; it was not sent")
    try:
        return f"{before}{text}{after}".encode("latin-1")
    except UnicodeEncodeError:
        raise InvalidHeader("a header value holds a character outside latin-1; encode it first") from None


def _learn_name(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise InvalidHeader("a header name holds characters that are not allowed; it was not sent")
    prefix = "" if name.lower() in HOP_BY_HOP else f"{name}: "
    if len(_PREFIXES) < _PREFIXES_MAX:
        _PREFIXES[name] = prefix
    return prefix


_TARGET = re.compile(r"(?:/|\*$)[\x21\x22\x24-\x7e]*")


def check_request_line(method: str, target: str) -> None:
    """For requests that we send: raises InvalidHeader when method or target could split the message."""
    if _NAME.fullmatch(method) is None or _TARGET.fullmatch(target) is None:
        raise InvalidHeader("the method or target holds characters that are not allowed; it was not sent")


def parse_fields(lines: bytes) -> list[tuple[str, str]]:
    """Complete header lines, each with its CRLF, before the head ends. Raises BadMessage."""
    _check_fields(lines + b"\r\n", 0, lines.count(b"\n"))
    pairs = (line.split(":", 1) for line in lines.decode("latin-1").split("\r\n")[:-1])
    return [(name, value.strip(" \t")) for name, value in pairs]
