"""How processes of one host hand their metrics to the one that is scraped: a Unix socket each.

<run dir>/<process>.metrics     connect, read a snapshot until the end
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.telemetry.merge import Merger
from gateway.telemetry.metrics import Metrics, ProcessSnapshot

SUFFIX = ".metrics"
MAX_SNAPSHOT_BYTES = 16 << 20
TIMEOUT_S = 1.0


class SnapshotSocket:
    """Offers this process's snapshot to whoever may open the socket (mode 0600)."""

    def __init__(self, run_dir: Path, metrics: Metrics) -> None:
        self.path = run_dir / f"{metrics.process}{SUFFIX}"
        self._metrics = metrics
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))
        self.path.chmod(0o600)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                writer.write(self._metrics.snapshot().encode())
                await writer.drain()
        except (OSError, TimeoutError):
            pass  # The reader went away or does not read: its loss.
        finally:
            writer.close()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self.path.unlink(missing_ok=True)


class Collector:
    """Reads all processes' snapshots at a scrape and renders their sum.

    Also call `collect` every few seconds: it bounds what a killed process takes with it.
    """

    def __init__(self, run_dir: Path, own: Metrics | None = None) -> None:
        self._run_dir = run_dir
        self._own = own
        self._merger = Merger()
        self._known: set[str] = set()
        self._lock = asyncio.Lock()

    async def scrape(self) -> bytes:
        """The text exposition, fresh."""
        await self.collect()
        return self._merger.render()

    async def collect(self) -> None:
        """Ask every process, at most a second each and all at once."""
        async with self._lock:
            if self._own is not None:
                self._merger.update(self._own.snapshot())
            paths = {path.name.removesuffix(SUFFIX): path for path in self._run_dir.glob(f"*{SUFFIX}")}
            if self._own is not None:
                paths.pop(self._own.process, None)
            answers = await asyncio.gather(*(self._ask(path) for path in paths.values()))
            for process, answer in zip(paths, answers, strict=True):
                if answer is None:
                    self._merger.silent(process)
                else:
                    self._merger.update(answer)
            for process in self._known - set(paths):
                self._merger.gone(process)
            self._known = set(paths)

    async def _ask(self, path: Path) -> ProcessSnapshot | None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(str(path))
                try:
                    return ProcessSnapshot.decode(await _read_all(reader))
                finally:
                    writer.close()
        except (OSError, TimeoutError, ValueError):
            return None


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    parts, size = [], 0
    while part := await reader.read(1 << 16):
        size += len(part)
        if size > MAX_SNAPSHOT_BYTES:
            raise ValueError("the snapshot is too large")
        parts.append(part)
    return b"".join(parts)
