"""`python -m gateway.engines.chdb --socket PATH [--database DIRECTORY|:memory:] [--watch-stdin]`."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from pathlib import Path

from gateway.engines.chdb.runs import Runner
from gateway.engines.chdb.server import ChdbServer
from gateway.wire.http import loop
from gateway.wire.http.server import HttpServer


def main() -> None:
    """Serve until told to stop, or until standard input closes (the gateway is gone)."""
    parser = argparse.ArgumentParser(prog="gateway.engines.chdb", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="the Unix socket to listen on")
    parser.add_argument("--database", default=":memory:", help="a directory, or :memory:")
    parser.add_argument("--threads", type=int, default=4, help="statements that run at a time")
    parser.add_argument("--watch-stdin", action="store_true", help="end when standard input closes")
    options = parser.parse_args()
    loop.install()
    asyncio.run(_serve(options))


async def _serve(options: argparse.Namespace) -> None:
    runner = Runner(options.database, options.threads)
    handler = ChdbServer(runner)
    server = HttpServer(handler.handle, name="chdb")
    await server.start(unix_path=options.socket)
    options.socket.chmod(0o600)
    stop = asyncio.Event()
    running = asyncio.get_running_loop()
    running.add_signal_handler(signal.SIGTERM, stop.set)
    running.add_signal_handler(signal.SIGINT, stop.set)
    if options.watch_stdin:
        running.add_reader(0, lambda: stop.set() if not _read_stdin() else None)
    await stop.wait()
    await server.close()
    await handler.close()
    runner.close()


def _read_stdin() -> bytes:
    return os.read(0, 4096)


if __name__ == "__main__":
    main()
