"""HTTP/1.1 clients that cost less than what they measure: one blocking connection, or many on one loop."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Callable
from typing import cast

from benchmarks.targets import Target

TIMEOUT_S = 120.0
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"


Turn = Callable[[bytes], bytes | None]
"""From the last answer (empty at first) to the next request; None ends the connection."""


class BadAnswer(RuntimeError):
    """A target did not answer as the work needs it; the text is the start of what it said."""


def request(method: str, path: str, target: Target, body: bytes = b"") -> bytes:
    """The bytes of one request with the target's own headers."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in target.headers)
    length = f"Content-Length: {len(body)}\r\n" if method == "POST" else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\nAccept: */*\r\n{fields}{length}\r\n"
    return head.encode() + body


class Connection:
    """One keep-alive connection, used by one exchange after the other."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._socket = socket.create_connection((target.host, target.port), timeout=TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(1 << 20)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def ask(self, wire: bytes, expect: bytes = b"200") -> bytes:
        """Send a request, return the body of its answer. Raises BadAnswer for another status."""
        self._socket.sendall(wire)
        answer = self._receive(b"")
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer = self._receive(answer)
        head, body = answer[: end + 2], answer[end + 4 :]
        length = _LENGTH.search(head)
        if length is not None:
            wanted = int(length[1])
            while len(body) < wanted:
                body = self._receive(body)
        elif head[9:12] not in (b"204", b"304"):
            body = self._chunks(body)
        if head[9:12] != expect:
            raise BadAnswer(f"{self.target.name} said {head[:15]!r} {body[:300]!r}")
        return body

    def drain(self, wire: bytes, least: int) -> tuple[int, float]:
        """Send a request and read an answer of at least `least` bytes without keeping it: (bytes, seconds)."""
        total, tail = 0, b""
        began = time.perf_counter()
        self._socket.sendall(wire)
        while size := self._socket.recv_into(self._buffer):
            if not total and self._buffer[9:12] != b"200":
                raise BadAnswer(f"{self.target.name} said {bytes(self._buffer[: min(size, 600)])!r}")
            total += size
            tail = (tail + bytes(self._buffer[max(0, size - 7) : size]))[-7:]
            if total >= least and tail == _LAST_CHUNK:
                break
        if total < least:
            raise BadAnswer(f"{self.target.name} ended the stream after {total} bytes of {least}")
        return total, time.perf_counter() - began

    def _receive(self, so_far: bytes) -> bytes:
        size = self._socket.recv_into(self._buffer)
        if not size:
            raise BadAnswer(f"{self.target.name} closed the connection after {so_far[:300]!r}")
        return so_far + bytes(memoryview(self._buffer)[:size])

    def _chunks(self, data: bytes) -> bytes:
        """The body of a chunked answer whose first bytes are `data`."""
        pieces: list[bytes] = []
        at = 0
        while True:
            while (line := data.find(b"\r\n", at)) < 0:
                data, at = self._receive(data[at:]), 0
            size = int(data[at:line].partition(b";")[0], 16)
            start, end = line + 2, line + 2 + size
            if len(data) < end + 2:
                parts, have = [data[start:]], len(data) - start
                while have < size + 2:
                    parts.append(self._receive(b""))
                    have += len(parts[-1])
                data, start, end = b"".join(parts), 0, size
            if not size:
                return b"".join(pieces)
            pieces.append(data[start:end])
            at = end + 2


class _Busy(asyncio.Protocol):
    """One connection that sends the next request as soon as the last is answered."""

    def __init__(self, turn: Turn, over: asyncio.Future[None]) -> None:
        self._turn, self._over = turn, over
        self._answer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next(b"")

    def data_received(self, data: bytes) -> None:
        answer = self._answer = self._answer + data if self._answer else data
        end = answer.find(b"\r\n\r\n")
        if end < 0:
            return
        status = answer[9:12]
        length = _LENGTH.search(answer, 0, end + 2)
        whole = len(answer) >= end + 4 + int(length[1]) if length else answer.endswith(_LAST_CHUNK)
        if not whole and status != b"204":
            return
        if status not in (b"200", b"204"):
            self._fail(answer[:300])
            return
        self._answer = b""
        self._next(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(b"nothing more: the connection was closed")

    def _next(self, answer: bytes) -> None:
        wire = self._turn(answer)
        if wire is not None:
            self._transport.write(wire)
            return
        if not self._over.done():
            self._over.set_result(None)
        self._transport.close()

    def _fail(self, said: bytes) -> None:
        if not self._over.done():
            self._over.set_exception(BadAnswer(f"under load it said {said!r}"))


async def flood(target: Target, turn: Turn, connections: int) -> float:
    """Busy connections until `turn` has nothing more to send; returns the seconds it took."""
    loop = asyncio.get_running_loop()
    ends = [loop.create_future() for _ in range(connections)]
    opened: list[asyncio.Transport] = []
    began = time.perf_counter()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            for end in ends:
                transport, _ = await loop.create_connection(
                    lambda end=end: _Busy(turn, end),  # type: ignore[misc]
                    target.host,
                    target.port,
                )
                opened.append(transport)
            await asyncio.gather(*ends)
        return time.perf_counter() - began
    finally:
        for transport in opened:
            transport.abort()
