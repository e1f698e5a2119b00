"""A child process that runs one piece of pure work at a time and can be killed.

Big statements are decided there: text in, result out. A statement that costs too much CPU ends the child,
never the gateway. The child is started afresh (not forked, so no lock or socket is shared), bounded by
RLIMIT_CPU and RLIMIT_AS, and replaced by a warm spare when it dies.

    worker = KillableWorker()
    await worker.start()
    plan = await worker.run("gateway.edge.big:decide_pickled", payload, timeout_s=1.0)
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import math
import resource
import struct
import sys
from collections.abc import Callable

HEADER = struct.Struct(">BI")
"""One byte of status, four of length."""

OK, FAILED = 0, 1
MAX_MESSAGE = 64 * 1024 * 1024


class Killed(Exception):
    """The work was not finished: out of time, out of memory, or the child crashed."""


class WorkFailed(Exception):
    """The function raised; the message is the type of what it raised, without its text."""


class KillableWorker:
    """Runs `module:function` (bytes -> bytes) in a child, one call at a time, with one warm spare.

    `memory_bytes` bounds the child's address space. `run` is safe to call from many tasks: calls queue.
    """

    def __init__(self, *, memory_bytes: int = 2 << 30, preload: str = "gateway.sql.parse") -> None:
        self._memory = memory_bytes
        self._preload = preload
        self._lock = asyncio.Lock()
        self._children: list[asyncio.subprocess.Process] = []
        self._closed = False

    async def start(self) -> None:
        """Start the child and its spare."""
        while len(self._children) < 2:
            self._children.append(await self._spawn())

    async def close(self) -> None:
        """Kill what runs; a call in flight ends as Killed."""
        self._closed = True
        children, self._children = self._children, []
        for child in children:
            await _end(child)

    async def run(
        self, function: str, payload: bytes, timeout_s: float, *, cpu_s: float | None = None
    ) -> bytes:
        """The function's result. Raises Killed, WorkFailed, or ValueError for a payload over 64 MiB.

        `timeout_s` bounds the wall time of this call alone, not the time spent waiting for calls before it;
        `cpu_s` (else the same) the CPU time, rounded up to whole seconds and enforced by the kernel. A busy
        machine needs more of the first than of the second.
        """
        if len(payload) > MAX_MESSAGE:
            raise ValueError(f"payload of {len(payload)} bytes is over {MAX_MESSAGE}")
        async with self._lock:
            if self._closed:
                raise Killed("the worker is closed")
            child = self._children.pop(0) if self._children else await self._spawn()
            try:
                async with asyncio.timeout(timeout_s):
                    status, reply = await _call(child, function, payload, cpu_s or timeout_s)
            except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
                await self._replace(child)
                raise Killed(f"stopped after {timeout_s} s, or out of memory") from error
            except BaseException:
                await self._replace(child)
                raise
            self._children.insert(0, child)
        if status != OK:
            raise WorkFailed(reply.decode("utf-8", "replace"))
        return reply

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the idle children, first the one that runs next."""
        return tuple(child.pid for child in self._children)

    async def _replace(self, child: asyncio.subprocess.Process) -> None:
        await _end(child)
        if not self._closed:
            await self.start()

    async def _spawn(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway.sql.child",
            str(self._memory),
            self._preload,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )


async def _call(
    child: asyncio.subprocess.Process, function: str, payload: bytes, cpu_s: float
) -> tuple[int, bytes]:
    assert child.stdin is not None
    assert child.stdout is not None
    name = function.encode()
    seconds = max(math.ceil(cpu_s), 1)
    child.stdin.write(HEADER.pack(seconds, len(name)) + name + HEADER.pack(0, len(payload)) + payload)
    await child.stdin.drain()
    status, length = HEADER.unpack(await child.stdout.readexactly(HEADER.size))
    if length > MAX_MESSAGE:
        raise ConnectionError("the child's answer is too large")
    return status, await child.stdout.readexactly(length)


async def _end(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    await child.wait()


def main() -> None:
    """The child: read a call, run it, answer, until the pipe closes."""
    memory, preload = int(sys.argv[1]), sys.argv[2]
    importlib.import_module(preload)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    # Whatever a library prints must not end up between the answers.
    sys.stdout = sys.stderr
    while True:
        head = source.read(HEADER.size)
        if len(head) < HEADER.size:
            return
        seconds, length = HEADER.unpack(head)
        name = source.read(length).decode()
        _, length = HEADER.unpack(source.read(HEADER.size))
        payload = source.read(length)
        _allow_cpu(seconds)
        status, reply = _perform(name, payload)
        sink.write(HEADER.pack(status, len(reply)) + reply)
        sink.flush()


def _allow_cpu(seconds: int) -> None:
    """Allow this many more seconds of CPU; the kernel kills the process after them."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = math.ceil(usage.ru_utime + usage.ru_stime)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = used + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (limit if hard < 0 else min(limit, hard), hard))


def _perform(name: str, payload: bytes) -> tuple[int, bytes]:
    try:
        module, _, attribute = name.partition(":")
        function: Callable[[bytes], bytes] = getattr(importlib.import_module(module), attribute)
        return OK, function(payload)
    except MemoryError:
        return FAILED, b"MemoryError"
    except Exception as error:  # noqa: BLE001 - reported to the caller by its type; the child goes on
        return FAILED, type(error).__name__.encode()


if __name__ == "__main__":
    main()
