"""Cheap deadlines for many connections: one timer looks at all of them, none has a timer of its own.

A loop timer for each request costs 2-3 us; setting a float costs nothing. The price is precision: a
deadline fires up to one tick late.
"""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from typing import Protocol

NEVER = float("inf")


class Swept(Protocol):
    """Something with two deadlines on the loop's clock; `on_deadline` must move the one that passed."""

    read_due: float
    write_due: float

    def on_deadline(self, now: float) -> None: ...


class Sweeper:
    """Calls `on_deadline` of members whose deadline has passed, at most `tick_s` late."""

    def __init__(self, tick_s: float) -> None:
        self._tick = tick_s
        self._members: set[Swept] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, member: Swept) -> None:
        self._members.add(member)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._tick, self._sweep)

    def discard(self, member: Swept) -> None:
        self._members.discard(member)
        if not self._members and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._tick, self._sweep)
        now = loop.time()
        for member in tuple(self._members):
            if member.read_due <= now or member.write_due <= now:
                member.on_deadline(now)


def tick_for(*timeouts_s: float | None) -> float:
    """A tick fine enough for the shortest of the given time-outs, between 20 and 250 ms."""
    known = [t for t in timeouts_s if t is not None]
    return min(0.25, max(0.02, min(known, default=1.0) / 4))


def unsent_bytes(transport: asyncio.Transport) -> int:
    """What the other side has not taken yet, ours and the kernel's part together.

    The kernel holds megabytes and takes more from us only in big steps: a reader of 10 kB/s looks stuck for
    minutes if only our own buffer is watched. Where the kernel does not tell (SIOCOUTQ is Linux), ours counts.
    """
    size = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if sock is None:
        return size
    try:
        return size + int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0])
    except OSError:
        return size
