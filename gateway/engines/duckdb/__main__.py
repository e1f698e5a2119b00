"""`python -m gateway.engines.duckdb --socket PATH --database FILE|:memory:`: the embedded Trino."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import re
import signal
import sys

from gateway.engines.duckdb.coordinator import Coordinator
from gateway.wire.http.loop import install
from gateway.wire.http.server import HttpServer

log = logging.getLogger("gateway.engines.duckdb")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_RESERVED = frozenset({"system", "temp", "trino"})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gateway.engines.duckdb", description=__doc__)
    parser.add_argument("--socket", help="path of a Unix socket to listen on")
    parser.add_argument(
        "--listen", metavar="HOST:PORT", help="listen on TCP as well; port 0 takes a free one"
    )
    parser.add_argument("--database", default=":memory:", help="DuckDB file, or :memory:")
    parser.add_argument("--catalog", default="energy", help="the catalog that shows the database")
    parser.add_argument(
        "--seed", type=float, metavar="SCALE", help="load the demo's data at this scale if it is not there"
    )
    parser.add_argument("--workers", type=int, default=8, help="queries that run at the same time")
    parser.add_argument("--threads", type=int, help="DuckDB's threads; its default is one per core")
    parser.add_argument("--memory-limit", help="DuckDB's memory limit, as 2GB")
    parser.add_argument("--watch-stdin", action="store_true", help="end when standard input closes")
    options = parser.parse_args()
    if _NAME.fullmatch(options.catalog) is None or options.catalog in _RESERVED:
        parser.error(f"--catalog must match {_NAME.pattern} and be none of {', '.join(sorted(_RESERVED))}")
    if not options.socket and not options.listen:
        parser.error("give --socket, --listen, or both")
    return options


async def serve(options: argparse.Namespace) -> None:
    """Listen until told to stop."""
    coordinator = Coordinator(
        options.database,
        options.catalog,
        workers=options.workers,
        threads=options.threads,
        memory_limit=options.memory_limit,
    )
    if options.seed is not None:
        from gateway.demo.data import load_duckdb

        await asyncio.to_thread(load_duckdb, coordinator.engine.root, options.catalog, scale=options.seed)
    coordinator.start()
    server = HttpServer(coordinator.handle, name="duckdb")
    if options.socket:
        await server.start(unix_path=options.socket)
    if options.listen:
        host, _, port = options.listen.rpartition(":")
        bound = await server.start(host or "127.0.0.1", int(port))
        print(f"listening on {host or '127.0.0.1'}:{bound}", flush=True)
    try:
        await _until_told(options.watch_stdin)
    finally:
        await server.drain(2.0)
        await coordinator.close()
        await server.close()


async def _until_told(watch_stdin: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if watch_stdin:
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        wait_end = loop.create_task(reader.read())
        wait_end.add_done_callback(lambda _: stop.set())
        await stop.wait()
        wait_end.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await wait_end
        return
    await stop.wait()


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    install()
    asyncio.run(serve(_arguments()))


if __name__ == "__main__":
    main()
