"""Follow every stream's chain and name the first place where it does not hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from gateway.store.audit_chain import (
    MAX_LINE_BYTES,
    SEGMENT_KIND,
    START,
    Line,
    Link,
    Malformed,
    link_hash,
    parse_line,
)
from gateway.store.audit_files import base_path, head_path, read_link, segments


class Break(StrEnum):
    """What is wrong where a chain breaks."""

    EDITED = "edited"
    DELETED = "deleted"
    REORDERED = "reordered"
    MALFORMED = "malformed"
    SEGMENT_MISSING = "segment missing"
    TRUNCATED = "truncated"
    REPLACED = "replaced"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Problem:
    """The first broken link of a stream. `line` counts from 1; 0 is the file as a whole."""

    stream: str
    file: str
    line: int
    what: Break
    detail: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what.value}: {self.detail}"


@dataclass(frozen=True, slots=True)
class StreamReport:
    """One stream: how many records hold together, up to where, and what was found.

    `torn` names files that end in half a line: what a crash leaves, never acknowledged to anybody.
    `lost` is the number of records that the gateway itself says it could not write.
    """

    stream: str
    segments: int
    records: int
    end: Link
    torn: tuple[str, ...] = ()
    lost: int = 0
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` found."""

    streams: tuple[StreamReport, ...]

    @property
    def ok(self) -> bool:
        return all(stream.problem is None for stream in self.streams)

    @property
    def first_problem(self) -> Problem | None:
        return next((stream.problem for stream in self.streams if stream.problem), None)

    @property
    def records(self) -> int:
        return sum(stream.records for stream in self.streams)


class _Broken(Exception):
    def __init__(self, what: Break, detail: str, file: str = "", line: int = 0) -> None:
        super().__init__(detail)
        self.what, self.detail, self.file, self.line = what, detail, file, line


@dataclass(slots=True)
class _Walk:
    """Where one stream's verification has got to."""

    stream: str
    key: bytes
    anchors: Mapping[int, bytes]
    at: Link = START
    records: int = 0
    files: int = 0
    torn: list[str] = field(default_factory=list)
    lost: int = 0

    def step(self, line: Line) -> None:
        expected = self.at.n + 1
        if line.n > expected:
            raise _Broken(Break.DELETED, f"records {expected} to {line.n - 1} are missing before it")
        if line.n < expected:
            raise _Broken(Break.REORDERED, f"record {line.n} stands where {expected} belongs")
        head = link_hash(self.at.head, line.body, self.key)
        if head != line.claimed:
            raise _Broken(
                Break.EDITED, f"record {line.n} does not hash to what it claims (or the key is another)"
            )
        if self.anchors.get(line.n, head) != head:
            raise _Broken(Break.REPLACED, f"record {line.n} is not the one whose hash was kept")
        if line.kind == "gap":
            self.lost += int(line.record.get("lost", 0))
        self.at = Link(line.n, head, self.at.segment)
        self.records += 1


def verify(
    directory: Path, *, key: bytes = b"", anchors: Iterable[tuple[str, Link]] = (), stream: str | None = None
) -> Report:
    """Check every stream (or one) in `directory`.

    `anchors` are positions kept elsewhere (the store's `audit_heads`): the chain must pass through each, so
    that even the removal of a whole stream shows. A writer may be at work meanwhile. Reads one line at a
    time. An unreadable file is a problem of its stream, not an exception.
    """
    kept: dict[str, dict[int, bytes]] = {}
    for name, link in anchors:
        kept.setdefault(name, {})[link.n] = link.head
    heads = {path.stem for path in directory.glob("*.head")} if directory.is_dir() else set()
    names = sorted({stream} if stream else heads | set(kept))
    found = segments(directory) if directory.is_dir() else {}
    names = sorted({*names, *(found if stream is None else ())})
    return Report(tuple(_verify_stream(directory, name, key, kept.get(name, {})) for name in names))


def _verify_stream(directory: Path, stream: str, key: bytes, kept: dict[int, bytes]) -> StreamReport:
    walk = _Walk(stream, key, kept)
    problem = None
    try:
        head = read_link(head_path(directory, stream))  # Before the segments: they may grow meanwhile.
        if head is not None and head.n:
            walk.anchors = {**kept, head.n: head.head} if head.n not in kept else kept
        base = read_link(base_path(directory, stream))
        walk.at = base or START
        _walk_segments(walk, segments(directory).get(stream, []) if directory.is_dir() else [])
        _check_end(walk)
    except _Broken as broken:
        problem = Problem(stream, broken.file or stream, broken.line, broken.what, broken.detail)
    except Malformed as error:
        problem = Problem(stream, stream, 0, Break.MALFORMED, str(error))
    except OSError as error:
        problem = Problem(stream, stream, 0, Break.UNREADABLE, str(error))
    return StreamReport(stream, walk.files, walk.records, walk.at, tuple(walk.torn), walk.lost, problem)


def _walk_segments(walk: _Walk, files: list[tuple[int, Path]]) -> None:
    for index, path in files:
        if index <= walk.at.segment:  # Retention moved the base and was about to remove this file.
            continue
        if index != walk.at.segment + 1:
            missing = f"segment {walk.at.segment + 1} is not there, the next one is {index}"
            raise _Broken(Break.SEGMENT_MISSING, missing, path.name)
        walk.at = Link(walk.at.n, walk.at.head, index)
        walk.files += 1
        _walk_segment(walk, path)


def _walk_segment(walk: _Walk, path: Path) -> None:
    for number, raw in enumerate(_lines(path), start=1):
        if not raw.endswith(b"\n"):
            walk.torn.append(path.name)
            return
        try:
            line = parse_line(raw[:-1])
            if number == 1 and line.kind != SEGMENT_KIND:
                raise _Broken(Break.DELETED, "the segment's first line is not its opening record")
            walk.step(line)
        except Malformed as error:
            raise _Broken(Break.MALFORMED, str(error), path.name, number) from error
        except _Broken as broken:
            raise _Broken(broken.what, broken.detail, path.name, number) from broken


def _check_end(walk: _Walk) -> None:
    last = max(walk.anchors, default=0)
    if last > walk.at.n:
        raise _Broken(
            Break.TRUNCATED,
            f"it ends at record {walk.at.n}, but record {last} was written: the tail was removed or lost",
        )


def _lines(path: Path) -> Iterator[bytes]:
    """Lines with their newline; one longer than the format allows comes out cut and so does not parse."""
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES):
            yield line
