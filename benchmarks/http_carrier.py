"""The HTTP carrier alone: a relay without policy against a trivial raw engine, compared with direct.

Three processes (engine, relay, load), so that the relay's CPU can be told apart. `--json` prints rows of
{work, target, metric, value, unit}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing as mp
import resource
import socket
import statistics
import time
from collections.abc import AsyncIterator, Callable
from multiprocessing.connection import Connection
from typing import cast

from gateway.wire.http.client import UpstreamPool
from gateway.wire.http.loop import loop_factory
from gateway.wire.http.message import Request
from gateway.wire.http.responder import Responder
from gateway.wire.http.server import HttpServer

SMALL_BODY = b'{"id":"20261124_000000_00001_abcde","stats":{"state":"QUEUED"}}' + b" " * 400
SMALL = (
    b"HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 00:00:00 GMT\r\nContent-Type: application/json\r\n"
    b"X-Content-Type-Options: nosniff\r\nVary: Accept-Encoding\r\nContent-Length: %d\r\n\r\n"
    % len(SMALL_BODY)
) + SMALL_BODY
REQUEST = (
    b"POST /v1/statement HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: trino-python-client/0.340\r\n"
    b"Accept: */*\r\nAccept-Encoding: gzip\r\nX-Trino-User: bench\r\nX-Trino-Catalog: tpch\r\n"
    b"X-Trino-Schema: tiny\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 8\r\n\r\nselect 1"
)
STREAM_REQUEST = b"GET /stream HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"
CHUNK = b"100000\r\n" + bytes(1 << 20) + b"\r\n"


class Engine(asyncio.Protocol):
    """Answers small requests from memory and streams `chunks` MiB on /stream."""

    def __init__(self, chunks: int) -> None:
        self.chunks = self.left = chunks
        self.transport: asyncio.Transport
        self.ready = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not data.startswith(b"GET /stream"):
            self.transport.write(SMALL)
            return
        self.transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.left = self.chunks
        self._more()

    def pause_writing(self) -> None:
        self.ready = False

    def resume_writing(self) -> None:
        self.ready = True
        self._more()

    def _more(self) -> None:
        while self.ready and self.left:
            self.left -= 1
            self.transport.write(CHUNK)
            if not self.left:
                self.transport.write(b"0\r\n\r\n")


async def serve_engine(pipe: Connection, chunks: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Engine(chunks), "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def serve_relay(pipe: Connection, engine_port: int) -> None:
    pool = UpstreamPool("127.0.0.1", engine_port)

    async def relay(request: Request, responder: Responder) -> None:
        if request.path == "/usage":
            usage = resource.getrusage(resource.RUSAGE_SELF)
            figures = [usage.ru_utime + usage.ru_stime, usage.ru_maxrss]
            await responder.send(200, [], json.dumps(figures).encode())
            return
        body: bytes | AsyncIterator[bytes] | None = None
        if request.body.has_body:
            body = await request.body.read(1 << 20)
        response = await pool.request(
            request.method, request.target, request.headers.end_to_end(), body, head_timeout_s=30.0
        )
        async with response:
            await response.pipe_to(responder)

    server = HttpServer(relay, name="bench")
    pipe.send(await server.start("127.0.0.1", 0))
    await asyncio.Event().wait()


def run_process(work: Callable[..., object], *args: object) -> tuple[mp.process.BaseProcess, int]:
    context = mp.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_in_loop, args=(work, theirs, *args), daemon=True)
    process.start()
    return process, int(ours.recv())


def _in_loop(work: Callable[..., object], *args: object) -> None:
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(work(*args))  # type: ignore[arg-type]


def small_requests(port: int, count: int) -> list[float]:
    """Seconds of each of `count` requests on one connection."""
    times = []
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            began = time.perf_counter()
            sock.sendall(REQUEST)
            answer = sock.recv(65536)
            while not answer.endswith(SMALL_BODY):
                answer += sock.recv(65536)
            times.append(time.perf_counter() - began)
    return times


class Load(asyncio.Protocol):
    """One busy connection of many."""

    def __init__(self, count: int, over: asyncio.Future[None]) -> None:
        self.left = count
        self.over = over
        self.got = 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        if not data.endswith(SMALL_BODY):
            return
        self.left -= 1
        if self.left:
            self.transport.write(REQUEST)
        else:
            self.transport.close()
            self.over.set_result(None)


async def loaded(port: int, connections: int, each: int) -> float:
    """Requests each second over several connections."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    futures = [loop.create_future() for _ in range(connections)]
    for future in futures:
        await loop.create_connection(lambda future=future: Load(each, future), "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*futures)
    return connections * each / (time.perf_counter() - began)


def stream(port: int, megabytes: int) -> float:
    """MB/s of one chunked stream."""
    buffer = bytearray(1 << 20)
    total = 0
    tail = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        began = time.perf_counter()
        sock.sendall(STREAM_REQUEST)
        while size := sock.recv_into(buffer):
            total += size
            tail = (tail + buffer[max(0, size - 7) : size])[-7:]
            if total > megabytes << 20 and tail == b"\r\n0\r\n\r\n":
                break
        return total / 1e6 / (time.perf_counter() - began)


def usage(port: int) -> tuple[float, int]:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"GET /usage HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := sock.recv(65536):
            answer += data
    cpu, peak_kib = json.loads(answer.rpartition(b"\r\n\r\n")[2])
    return float(cpu), int(peak_kib)


def measure(requests: int, megabytes: int, rounds: int) -> list[dict[str, object]]:
    engine, engine_port = run_process(serve_engine, megabytes)
    proxy, relay_port = run_process(serve_relay, engine_port)
    rows: list[dict[str, object]] = []

    def row(work: str, target: str, metric: str, value: float, unit: str) -> None:
        rows.append(
            {"work": work, "target": target, "metric": metric, "value": round(value, 3), "unit": unit}
        )

    try:
        small_requests(relay_port, 300)
        direct_us, relay_us, cpu_us = [], [], []
        for _ in range(rounds):
            direct_us.append(statistics.median(small_requests(engine_port, requests)) * 1e6)
            before, _ = usage(relay_port)
            relay_us.append(statistics.median(small_requests(relay_port, requests)) * 1e6)
            cpu_us.append((usage(relay_port)[0] - before) / requests * 1e6)
        row("small request", "direct", "p50", statistics.median(direct_us), "us")
        row("small request", "carrier", "p50", statistics.median(relay_us), "us")
        added = statistics.median(r - d for r, d in zip(relay_us, direct_us, strict=True))
        row("small request", "carrier", "added p50", added, "us")
        row("small request", "carrier", "cpu", statistics.median(cpu_us), "us")
        before, _ = usage(relay_port)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            rate = runner.run(loaded(relay_port, 16, requests // 4))
        row("small request, 16 connections", "carrier", "rate", rate, "1/s")
        busy = (usage(relay_port)[0] - before) / (16 * (requests // 4)) * 1e6
        row("small request, 16 connections", "carrier", "cpu", busy, "us")
        idle_peak = usage(relay_port)[1]
        before, _ = usage(relay_port)
        pairs = [(stream(engine_port, megabytes), stream(relay_port, megabytes)) for _ in range(rounds)]
        per_gigabyte = (usage(relay_port)[0] - before) / (rounds * megabytes / 1024)
        name = f"{megabytes} MiB stream"
        row(name, "direct", "throughput", statistics.median(d for d, _ in pairs), "MB/s")
        row(name, "carrier", "throughput", statistics.median(r for _, r in pairs), "MB/s")
        row(name, "carrier", "ratio to direct", statistics.median(r / d for d, r in pairs), "x")
        row(name, "carrier", "cpu per GiB", per_gigabyte, "s")
        row(name, "carrier", "peak memory over idle", (usage(relay_port)[1] - idle_peak) / 1024, "MiB")
    finally:
        for process in (proxy, engine):
            process.terminate()
            process.join()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a few seconds")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.requests, args.megabytes, args.rounds = 1000, 256, 1
    for row in measure(args.requests, args.megabytes, args.rounds):
        if args.json:
            print(json.dumps(row))
        else:
            print(f"{row['work']:32} {row['target']:8} {row['metric']:22} {row['value']:>12} {row['unit']}")


if __name__ == "__main__":
    main()
