"""PROXY protocol v1 and v2, receiving side (haproxy.org, proxy-protocol.txt)."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket

_V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_MAX = 4096
_V1_MAX = 107
_V1 = re.compile(rb"PROXY (TCP[46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (\d{1,5}) (\d{1,5})\r\n")

Address = tuple[str, int]


class ProxyHeaderError(Exception):
    """The connection does not start with a valid PROXY header."""


def parse_v1(line: bytes) -> Address | None:
    """The client of a v1 line (with its CRLF); None for UNKNOWN. Raises ProxyHeaderError."""
    if line.startswith(b"PROXY UNKNOWN") and line[13:14] in (b" ", b"\r"):
        return None
    match = _V1.fullmatch(line)
    if match is None:
        raise ProxyHeaderError("malformed v1 line")
    want = 4 if match[1] == b"TCP4" else 6
    try:
        source, target = (ipaddress.ip_address(match[i].decode("ascii")) for i in (2, 3))
    except ValueError:
        raise ProxyHeaderError("malformed address in the v1 line") from None
    port = int(match[4])
    if source.version != want or target.version != want or port > 65535 or int(match[5]) > 65535:
        raise ProxyHeaderError("address or port of the v1 line does not fit its family")
    return str(source), port


def parse_v2(head: bytes, payload: bytes) -> Address | None:
    """The client of a v2 header: `head` is its first 16 bytes. None for LOCAL (the proxy itself, a health
    check) and for families without an address. Raises ProxyHeaderError."""
    version, command = head[12] >> 4, head[12] & 0x0F
    if version != 2 or command > 1:
        raise ProxyHeaderError("unknown version or command in the v2 header")
    if command == 0:
        return None
    family = head[13]
    if family == 0x11 and len(payload) >= 12:
        return str(ipaddress.IPv4Address(payload[:4])), int.from_bytes(payload[8:10], "big")
    if family == 0x21 and len(payload) >= 36:
        return str(ipaddress.IPv6Address(payload[:16])), int.from_bytes(payload[32:34], "big")
    if family == 0x00:
        return None
    raise ProxyHeaderError("the v2 header is for no TCP connection, or too short")


async def read_proxy_header(sock: socket.socket) -> Address | None:
    """Take exactly the header off `sock` (non-blocking), not a byte more: TLS may follow at once.

    Raises ProxyHeaderError; the caller bounds the time."""
    first = await _exactly(sock, 12)
    if first == _V2_SIGNATURE:
        head = first + await _exactly(sock, 4)
        size = int.from_bytes(head[14:16], "big")
        if size > _V2_MAX:
            raise ProxyHeaderError(f"a v2 header of {size} bytes")
        return parse_v2(head, await _exactly(sock, size))
    if not first.startswith(b"PROXY "):
        raise ProxyHeaderError("neither v1 nor v2")
    line = bytearray(first)
    while not line.endswith(b"\r\n"):
        if len(line) >= _V1_MAX:
            raise ProxyHeaderError("v1 line too long")
        # One byte at a time: under 100 calls for each connection, and nothing of what follows is taken.
        line += await _exactly(sock, 1)
    return parse_v1(bytes(line))


async def _exactly(sock: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < count:
        more = await loop.sock_recv(sock, count - len(data))
        if not more:
            raise ProxyHeaderError("the connection ended inside the header")
        data += more
    return data
