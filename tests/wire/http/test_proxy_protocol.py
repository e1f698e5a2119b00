"""PROXY protocol: from trusted peers it is required, from others it is refused."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct

import pytest

from gateway.wire.http.message import Request
from gateway.wire.http.proxy_protocol import ProxyHeaderError, parse_v1, parse_v2
from gateway.wire.http.responder import Responder
from gateway.wire.http.server import HttpServer, ServerLimits, in_networks
from tests.wire.http.raw import Stage

LOCAL = [ipaddress.ip_network("127.0.0.0/8")]
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(command: int, family: int, payload: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(payload)) + payload


V2_IPV4 = socket.inet_aton("1.2.3.4") + socket.inet_aton("5.6.7.8") + struct.pack("!HH", 111, 222)
V2_IPV6 = ipaddress.ip_address("2001:db8::1").packed * 2 + struct.pack("!HH", 333, 444)


async def whoami(request: Request, responder: Responder) -> None:
    peer = request.peer
    await responder.send(200, [], f"{peer.host} {peer.port} {peer.via}".encode())


async def listen(stage: Stage, trusted: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> HttpServer:
    server = HttpServer(whoami, ServerLimits(), "proxied")
    stage.adopt(server)
    stage.port = await server.start("127.0.0.1", 0, proxy_protocol_from=trusted)
    return server


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 111 222\r\n", b"1.2.3.4 111 127.0.0.1"),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 333 444\r\n", b"2001:db8::1 333 127.0.0.1"),
        (v2(1, 0x11, V2_IPV4), b"1.2.3.4 111 127.0.0.1"),
        (v2(1, 0x11, V2_IPV4 + b"\x03\x00\x04abcd"), b"1.2.3.4 111 127.0.0.1"),
        (v2(1, 0x21, V2_IPV6), b"2001:db8::1 333 127.0.0.1"),
    ],
)
@pytest.mark.parametrize("drip", [False, True])
async def test_the_client_is_the_one_the_proxy_names(
    stage: Stage, header: bytes, expected: bytes, drip: bool
) -> None:
    await listen(stage, LOCAL)
    client = await stage.connect()
    for i in range(0, len(header + GET), 1 if drip else 1000):
        client.send((header + GET)[i : i + (1 if drip else 1000)])
        if drip:
            await asyncio.sleep(0)
    for _ in range(2):
        status, _, body = await client.answer()
        assert (status, body) == (200, expected)
        client.send(GET)


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", v2(0, 0x00, b""), v2(1, 0x00, b"x" * 10)])
async def test_health_checks_of_the_proxy_are_its_own(stage: Stage, header: bytes) -> None:
    await listen(stage, LOCAL)
    client = await stage.connect()
    client.send(header + GET)
    assert (await client.answer())[2].startswith(b"127.0.0.1 ")


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 111\r\n",
        b"PROXY TCP4 1.2.3.400 5.6.7.8 111 222\r\n",
        b"PROXY TCP4 2001:db8::1 5.6.7.8 111 222\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 111 99999\r\n",
        b"PROXY TCP4 1.2.3.4  5.6.7.8 111 222\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 111 222\n",
        b"PROXY " + b"a" * 200 + b"\r\n",
        v2(2, 0x11, V2_IPV4),
        v2(1, 0x11, b"\x01\x02"),
        v2(1, 0x31, b"x" * 216),
        v2(1, 0x12, V2_IPV4),
        v2(1, 0x11, b"x" * 5000),
    ],
)
async def test_a_trusted_peer_must_send_a_valid_header(stage: Stage, header: bytes) -> None:
    await listen(stage, LOCAL)
    client = await stage.connect()
    client.send(header + GET)
    assert await client.ended()


async def test_other_peers_must_send_none(stage: Stage) -> None:
    await listen(stage, [ipaddress.ip_network("10.0.0.0/8")])
    client = await stage.connect()
    client.send(GET)
    assert (await client.answer())[2].startswith(b"127.0.0.1 ")
    for header in (b"PROXY TCP4 1.2.3.4 5.6.7.8 111 222\r\n", v2(1, 0x11, V2_IPV4)):
        client = await stage.connect()
        client.send(header + GET)
        assert (await client.answer())[0] == 400
        assert await client.ended()


def test_parsers_are_total() -> None:
    line = b"PROXY TCP4 1.2.3.4 5.6.7.8 111 222\r\n"
    for size in range(len(line)):
        with pytest.raises(ProxyHeaderError):
            parse_v1(line[:size])
        head = SIGNATURE + b"\x21\x11" + size.to_bytes(2, "big")
        if size < 12:
            with pytest.raises(ProxyHeaderError):
                parse_v2(head, V2_IPV4[:size])


def test_networks() -> None:
    assert in_networks("::ffff:127.0.0.1", LOCAL)
    assert in_networks("fe80::1%eth0", [ipaddress.ip_network("fe80::/10")])
    assert not in_networks("128.0.0.1", LOCAL)
    assert not in_networks("127.0.0.1", [])
