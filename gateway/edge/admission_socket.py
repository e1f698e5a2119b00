"""One admission book for all proxy processes of a host: the parent keeps it, the others ask over a socket.

Lines of JSON over a Unix socket; every request has a number, and `release` of a number takes back whatever
came of it, granted or still waiting, so a grant that crosses a cancel is never lost. A process that dies
gives back everything, because its connection closes. A process that cannot reach the book uses one of its
own with its share of every limit: limits stay roughly right, fairness across processes is lost meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from gateway.core.tasks import Supervisor
from gateway.edge.admission import AdmissionBook, AdmissionLimits, AdmissionRefused, LocalAdmission, Tiers

log = logging.getLogger(__name__)
MAX_LINE = 1 << 20
RECONNECT_S = 0.5


class _Connection:
    """One process's requests, by number."""

    def __init__(self, book: AdmissionBook, writer: asyncio.StreamWriter) -> None:
        self._book = book
        self._writer = writer
        self._held: dict[int, tuple[str, str]] = {}
        self._waiting: dict[int, tuple[str, int]] = {}

    def handle(self, message: dict[str, Any]) -> None:
        match message["op"]:
            case "acquire":
                self._acquire(message["id"], message["principal"], tuple(map(tuple, message["tiers"])))
            case "release":
                self._release(message["id"])
            case "unavailable":
                self._book.set_unavailable(message["names"])

    def close(self) -> None:
        for number in [*self._waiting, *self._held]:
            self._release(number)

    def _acquire(self, number: int, principal: str, tiers: Tiers) -> None:
        def granted(backend: str) -> None:
            self._waiting.pop(number, None)
            self._held[number] = (principal, backend)
            self._send({"id": number, "backend": backend})

        try:
            outcome = self._book.request(principal, tiers, granted)
        except AdmissionRefused as error:
            self._send({"id": number, "refused": error.reason, "message": str(error)})
            return
        if isinstance(outcome, str):
            granted(outcome)
        else:
            self._waiting[number] = (principal, outcome)

    def _release(self, number: int) -> None:
        if (ticket := self._waiting.pop(number, None)) is not None:
            self._book.cancel(*ticket)
        elif (slot := self._held.pop(number, None)) is not None:
            self._book.release(*slot)

    def _send(self, message: dict[str, Any]) -> None:
        if not self._writer.is_closing():
            self._writer.write(orjson.dumps(message) + b"\n")


class AdmissionServer:
    """The parent's side: one book, one connection per proxy process."""

    def __init__(self, book: AdmissionBook, path: Path) -> None:
        self._book = book
        self._path = path
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; the socket is for the gateway's own user only."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path, limit=MAX_LINE)
        self._path.chmod(0o600)

    async def close(self) -> None:
        """Stop listening. Connected processes go on with their own books."""
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self._book, writer)
        try:
            while line := await reader.readline():
                connection.handle(orjson.loads(line))
                await writer.drain()
        except (ConnectionError, ValueError) as error:
            log.warning("admission: a process's connection ended: %s", error)
        finally:
            connection.close()
            writer.close()


class SocketAdmission:
    """A proxy process's side. See `admission.Admission`."""

    def __init__(self, path: Path, limits: AdmissionLimits, processes: int) -> None:
        self._path = path
        self._fallback = LocalAdmission(AdmissionBook(_share(limits, processes)))
        self._supervisor = Supervisor("admission")
        self._writer: asyncio.StreamWriter | None = None
        self._answers: dict[int, asyncio.Future[str]] = {}
        self._held: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        self._unavailable: list[str] = []
        self._number = 0

    def start(self) -> None:
        """Connect, and reconnect for ever."""
        self._supervisor.spawn(self._stay_connected(), "connection")

    async def close(self) -> None:
        """Drop the connection; the parent releases what is left."""
        await self._supervisor.close()
        if self._writer is not None:
            self._writer.close()

    async def _stay_connected(self) -> None:
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(self._path, limit=MAX_LINE)
            except OSError as error:
                log.warning("admission: the parent is not reachable (%s); using this process's share", error)
            else:
                self._tell({"op": "unavailable", "names": self._unavailable})
                await self._read(reader)
                self._lost()
            await asyncio.sleep(RECONNECT_S)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                message = orjson.loads(line)
                answer = self._answers.get(message["id"])
                if answer is None or answer.done():
                    continue  # its release is on the way already
                if "backend" in message:
                    answer.set_result(message["backend"])
                else:
                    answer.set_exception(AdmissionRefused(message["refused"], message["message"]))
        except (ConnectionError, ValueError) as error:
            log.warning("admission: connection to the parent ended: %s", error)

    def _lost(self) -> None:
        self._writer = None
        self._held.clear()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(AdmissionRefused("timeout", "the queue was lost; try again"))

    def try_acquire(self, principal: str, tiers: Tiers) -> str | None:
        """Only the process's own book can answer without I/O."""
        return None if self._writer is not None else self._fallback.try_acquire(principal, tiers)

    async def acquire(self, principal: str, tiers: Tiers, timeout_s: float) -> str:
        """See `Admission.acquire`."""
        if self._writer is None:
            return await self._fallback.acquire(principal, tiers, timeout_s)
        self._number += 1
        number = self._number
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._tell({"op": "acquire", "id": number, "principal": principal, "tiers": tiers})
        try:
            async with asyncio.timeout(timeout_s):
                backend = await answer
        except TimeoutError:
            self._tell({"op": "release", "id": number})
            raise AdmissionRefused("timeout", f"no slot came free within {timeout_s:g} s") from None
        except asyncio.CancelledError:
            self._tell({"op": "release", "id": number})
            raise
        finally:
            del self._answers[number]
        self._held[principal, backend].append(number)
        return backend

    def release(self, principal: str, backend: str) -> None:
        """See `Admission.release`. Slots of a lost connection were given back by its end."""
        held = self._held.get((principal, backend))
        if held:
            self._tell({"op": "release", "id": held.pop()})
            if not held:
                del self._held[principal, backend]
        else:
            self._fallback.release(principal, backend)

    def set_unavailable(self, names: Iterable[str]) -> None:
        """See `Admission.set_unavailable`."""
        self._unavailable = sorted(names)
        self._fallback.set_unavailable(self._unavailable)
        self._tell({"op": "unavailable", "names": self._unavailable})

    def _tell(self, message: dict[str, Any]) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(orjson.dumps(message) + b"\n")


def _share(limits: AdmissionLimits, processes: int) -> AdmissionLimits:
    def part(number: int) -> int:
        return max(1, number // processes)

    return AdmissionLimits(
        {name: part(limit) for name, limit in limits.per_backend.items()},
        part(limits.per_principal),
        part(limits.queued_per_principal),
        part(limits.queued_total),
    )
