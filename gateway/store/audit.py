"""The audit log: an append-only, hash-chained file per process, written before a result's first byte.

Two strengths (`sync`): `os` hands records to the operating system (they survive kill -9 of the gateway,
not a power cut); `fsync` waits for the disk, many queries sharing one wait. `on_failure` says what happens
when writing fails: `refuse` queries, or `continue`, counted and logged. Either way records that could not
be written are kept, within a bound, and written when the disk is back; past the bound their number is
itself written as a `gap` record.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import orjson

from gateway.store.audit_chain import (
    FORMAT,
    GAP_KIND,
    SEGMENT_KIND,
    START,
    Link,
    Malformed,
    body_of,
    check_stream_name,
    line_of,
    link_hash,
    segment_file,
)
from gateway.store.audit_files import end_of_stream, head_path
from gateway.store.audit_records import AuditRecord, encode

log = logging.getLogger(__name__)

MAX_STREAMS_PER_NAME = 64

GATHER_S = 0.01
"""How long a record that nobody waits for may wait for others, in seconds: one write for all of them. What a
kill loses of it are ends of queries, which are then reported as unknown."""

RETRY_S = 1.0
"""Seconds between tries to write what a failed disk left waiting. Without them a gateway that says it is not
ready would get no query any more, and so never learn that the disk is back."""


class AuditUnavailable(Exception):
    """The audit cannot be written, and the operator chose that nothing runs without it."""


class Sync(StrEnum):
    """How far a record must have got before `commit` returns."""

    OS = "os"
    FSYNC = "fsync"


class OnFailure(StrEnum):
    """What a failed write means for queries."""

    REFUSE = "refuse"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True)
class AuditLimits:
    """Bounds: a segment's size (bytes) and age (seconds), unwritten records (bytes), a commit's wait (s)."""

    segment_bytes: int = 64 << 20
    segment_age_s: float = 3600.0
    pending_bytes: int = 8 << 20
    commit_timeout_s: float = 10.0


@dataclass(slots=True)
class AuditCounts:
    """What the metrics show."""

    written: int = 0
    failures: int = 0
    lost: int = 0
    unaudited: int = 0
    """Commits let through although the record was not written (`continue` only)."""


_Pending = tuple[str, bytes]


class AuditLog:
    """One process's audit stream. Used from one event loop (or, without a loop, from one thread).

    `append` then `await commit()` before the first result byte. Records that need no waiting (a query's
    end, a log-in) are only appended; they are written with the next commit, or a moment later (`GATHER_S`).
    """

    def __init__(
        self,
        directory: Path,
        process_name: str,
        *,
        sync: Sync | str = Sync.OS,
        on_failure: OnFailure | str = OnFailure.REFUSE,
        limits: AuditLimits = AuditLimits(),
        key: bytes = b"",
        clock: Callable[[], float] = time.time,
    ) -> None:
        if len(key) > 64:
            raise ValueError("the audit key may have at most 64 bytes")
        self._directory = directory
        self._name = check_stream_name(process_name)
        self._sync = Sync(sync)
        self._on_failure = OnFailure(on_failure)
        self._limits = limits
        self._key = key
        self._clock = clock
        self.counts = AuditCounts()
        self.stream = process_name
        self._link: Link = START
        self._lock_fd = self._file_fd = self._head_fd = -1
        self._file_size = 0
        self._file_opened = 0.0
        self._pending: list[_Pending] = []
        self._pending_bytes = 0
        self._unsaid_losses = 0
        self._flush_due = self._retry_due = False
        self._failure: OSError | None = None
        self._group: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[int] | None = None
        self._thread: ThreadPoolExecutor | None = None

    # -- life ---------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take a stream of this name and start a segment that continues it. Raises AuditUnavailable.

        If a process that is still draining holds the name, or its newest file is damaged, the next free
        one (`name-2`, …) is used.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_stream()
            head = head_path(self._directory, self.stream)
            self._head_fd = os.open(head, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._start_segment("start")
        except (OSError, ValueError) as error:
            self._close_files()
            raise AuditUnavailable(
                f"the audit directory {self._directory} cannot be used: {error}. "
                "Give the gateway's user write access to it, or set audit.directory"
            ) from error
        if self._sync is Sync.FSYNC:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")

    async def close(self) -> None:
        """Write what is left and let go of the stream; waits at most the commit time-out."""
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=self._limits.commit_timeout_s)
            await asyncio.sleep(0)  # Its callback takes the result in, and may start a last group.
        if self._writing is not None:
            log.error("audit: the disk does not answer; %d records are left unwritten", len(self._pending))
            return  # The thread still uses the files.
        try:
            if self._pending or self._unsaid_losses:
                self._write_pending()
            if self._sync is Sync.FSYNC and self._file_fd >= 0:
                os.fsync(self._file_fd)
        except OSError as error:
            log.error("audit: %d records could not be written at the end: %s", len(self._pending), error)
        if self._thread is not None:
            self._thread.shutdown(wait=False)
        self._close_files()

    @property
    def healthy(self) -> bool:
        """False while the last write failed."""
        return self._failure is None

    @property
    def head(self) -> Link:
        """The chain's position after the last written record."""
        return self._link

    # -- use ----------------------------------------------------------------------------------------------

    def append(self, record: AuditRecord) -> None:
        """Take a record; it is written by the next `commit`, at the latest after `GATHER_S`."""
        data = encode(record)
        if self._pending_bytes + len(data) > self._limits.pending_bytes:
            self.counts.lost += 1
            self._unsaid_losses += 1
            return
        self._pending.append((record.kind_name, data))
        self._pending_bytes += len(data)
        if not self._flush_due:
            self._schedule()

    async def commit(self) -> None:
        """Return once every record appended so far is as safe as `sync` asks.

        Raises AuditUnavailable under `refuse` when it cannot be written (or not within the time-out).
        """
        try:
            if self._sync is Sync.OS:
                self._flush()
            else:
                await self._join_group()
        except (OSError, TimeoutError) as error:
            self._commit_failed(error)
        if self._unsaid_losses:
            self._commit_failed(self._failure or OSError("records were lost while the disk was away"))

    def _commit_failed(self, error: OSError | TimeoutError) -> None:
        if self._on_failure is OnFailure.CONTINUE:
            self.counts.unaudited += 1
            return
        reason = "the disk did not answer in time" if isinstance(error, TimeoutError) else error
        raise AuditUnavailable(
            f"the audit record cannot be written ({reason}), and "
            "audit.on_failure is `refuse`. Make the audit directory writable again; queries then go on"
        ) from error

    # -- writing a moment later, and in groups --------------------------------------------------------------

    def _schedule(self) -> None:
        self._flush_due = True
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._flush_in_background()
            return
        loop.call_later(GATHER_S, self._flush_in_background)

    def _flush_in_background(self) -> None:
        self._flush_due = False
        if self._sync is Sync.FSYNC and self._thread is not None:
            self._start_group()
            return
        try:
            self._flush()
        except OSError:
            pass  # Counted and logged by _failed; the records stay pending.

    def _flush(self) -> None:
        if not self._pending:
            return
        try:
            self._write_pending()
        except OSError as error:
            self._failed(error)
            raise
        if self._failure is not None:
            self._recovered()

    async def _join_group(self) -> None:
        if not self._pending and self._writing is None:
            return
        if self._group is None:
            self._group = asyncio.get_running_loop().create_future()
            # A group whose members all timed out has nobody left to see its failure.
            self._group.add_done_callback(lambda done: done.cancelled() or done.exception())
        group = self._group
        self._start_group()
        async with asyncio.timeout(self._limits.commit_timeout_s):
            await asyncio.shield(group)

    def _start_group(self) -> None:
        if self._writing is not None or (not self._pending and self._group is None):
            return
        assert self._thread is not None
        group, self._group = self._group, None
        batch, self._pending = self._pending, []
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._write_and_sync, batch)
        self._writing = work
        work.add_done_callback(lambda done: self._group_done(done, batch, group))

    def _write_and_sync(self, batch: list[_Pending]) -> int:
        said = self._write(batch)
        try:
            os.fsync(self._file_fd)
        except OSError:
            # What the kernel failed to write it may have dropped: the next try goes into a new file, whole.
            os.close(self._file_fd)
            self._file_fd = -1
            raise
        return said

    def _group_done(
        self, work: asyncio.Future[int], batch: list[_Pending], group: asyncio.Future[None] | None
    ) -> None:
        self._writing = None
        error = OSError("the gateway is stopping") if work.cancelled() else work.exception()
        if isinstance(error, OSError):
            self._pending[:0] = batch
            self._failed(error)
        else:
            self._pending_bytes -= sum(len(data) for _, data in batch)
            self._unsaid_losses -= work.result() if error is None else 0
            if self._failure is not None:
                self._recovered()
        if group is not None and not group.done():
            group.set_exception(error) if error is not None else group.set_result(None)
        if self._group is not None or (self._pending and not isinstance(error, OSError)):
            self._start_group()

    def _failed(self, error: OSError) -> None:
        self.counts.failures += 1
        if self._failure is None:
            log.error(
                "audit: cannot write %s: %s; on_failure is %s",
                self._directory / segment_file(self.stream, self._link.segment),
                error,
                self._on_failure.value,
            )
        self._failure = error
        self._retry_later()

    def _retry_later(self) -> None:
        if self._retry_due or self._lock_fd < 0:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # whoever works without a loop tries again with the next record
        self._retry_due = True
        loop.call_later(RETRY_S, self._retry)

    def _retry(self) -> None:
        self._retry_due = False
        if self._failure is not None and self._lock_fd >= 0:
            self._flush_in_background()

    def _recovered(self) -> None:
        log.warning("audit: writing again after: %s", self._failure)
        self._failure = None

    # -- the file -------------------------------------------------------------------------------------------

    def _write_pending(self) -> None:
        self._unsaid_losses -= self._write(self._pending)
        self._pending = []
        self._pending_bytes = 0

    def _write(self, batch: list[_Pending]) -> int:
        """Chain and write `batch` as one write; on failure the file and the chain are as before.

        Returns how many lost records it wrote a `gap` for.
        """
        if self._lock_fd < 0:
            raise OSError("the audit log is not open")
        if self._file_fd < 0 or self._segment_full():
            self._start_segment("rotate" if self._file_fd >= 0 else "reopen")
        lost = self._unsaid_losses
        if lost:
            batch = [*batch, (GAP_KIND, orjson.dumps({"time": self._clock(), "lost": lost}))]
        self._write_lines(batch)
        return lost

    def _write_lines(self, batch: list[_Pending]) -> None:
        key, n, head = self._key, self._link.n, self._link.head
        lines = []
        for kind, data in batch:
            n += 1
            body = body_of(n, kind, data)
            head = link_hash(head, body, key)
            lines.append(line_of(head, body))
        self._write_all(b"".join(lines))
        self._link = Link(n, head, self._link.segment)
        self.counts.written += len(lines)
        os.pwrite(self._head_fd, self._link.encode(), 0)

    def _write_all(self, data: bytes) -> None:
        """All of `data` at the end of the segment, or none of it."""
        try:
            written = os.write(self._file_fd, data)
            while written < len(data):
                written += os.write(self._file_fd, data[written:])
        except OSError:
            self._take_back()
            raise
        self._file_size += len(data)

    def _take_back(self) -> None:
        """Cut a half-written batch; where even that fails, leave the file and go on in a new one."""
        try:
            os.ftruncate(self._file_fd, self._file_size)
        except OSError:
            os.close(self._file_fd)
            self._file_fd = -1

    def _segment_full(self) -> bool:
        return (
            self._file_size >= self._limits.segment_bytes
            or self._clock() - self._file_opened >= self._limits.segment_age_s
        )

    def _start_segment(self, reason: str) -> None:
        previous, opened = self._link, self._clock()
        index = previous.segment + 1
        path = self._directory / segment_file(self.stream, index)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if self._file_fd >= 0:
            if self._sync is Sync.FSYNC:
                os.fsync(self._file_fd)
            os.close(self._file_fd)
        self._file_fd, self._file_size, self._file_opened = fd, 0, opened
        self._link = Link(previous.n, previous.head, index)
        record = {
            "format": FORMAT,
            "stream": self.stream,
            "segment": index,
            "reason": reason,
            "time": opened,
            "pid": os.getpid(),
            "previous": previous.head.hex(),
        }
        try:
            self._write_lines([(SEGMENT_KIND, orjson.dumps(record))])
        except OSError:
            self._abandon_segment(path, previous)
            raise
        if self._sync is Sync.FSYNC:
            self._sync_directory()

    def _abandon_segment(self, path: Path, previous: Link) -> None:
        """A segment whose first line could not be written must not stay, nor be appended to."""
        if self._file_fd >= 0:
            os.close(self._file_fd)
        self._file_fd = -1
        self._link = previous
        path.unlink(missing_ok=True)

    def _sync_directory(self) -> None:
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _take_stream(self) -> None:
        """Lock the first stream of this name that is free and whole, and find where it continues."""
        for number in range(1, MAX_STREAMS_PER_NAME + 1):
            stream = self._name if number == 1 else f"{self._name}-{number}"
            path = self._directory / f"{stream}.lock"
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                continue
            try:
                self._link = end_of_stream(self._directory, stream)
            except Malformed as error:
                log.error("audit: stream %s is damaged and is left as it is: %s", stream, error)
                os.close(fd)
                continue
            self._lock_fd, self.stream = fd, stream
            return
        raise OSError(f"all {MAX_STREAMS_PER_NAME} streams named {self._name!r} are in use or damaged")

    def _close_files(self) -> None:
        for fd in (self._file_fd, self._head_fd, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._file_fd = self._head_fd = self._lock_fd = -1
