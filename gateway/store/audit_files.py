"""Where a stream's files are, and the little that is read of them without following the whole chain."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from gateway.store.audit_chain import MAX_LINE_BYTES, START, Line, Link, parse_line, parse_segment_file


def segments(directory: Path) -> dict[str, list[tuple[int, Path]]]:
    """Every stream in `directory` with its (index, file) pairs in order."""
    found: defaultdict[str, list[tuple[int, Path]]] = defaultdict(list)
    for path in directory.iterdir():
        if (parsed := parse_segment_file(path.name)) is not None:
            found[parsed[0]].append((parsed[1], path))
    return {stream: sorted(files) for stream, files in sorted(found.items())}


def head_path(directory: Path, stream: str) -> Path:
    """The file that repeats the chain's last position, so that a missing tail is noticed."""
    return directory / f"{stream}.head"


def base_path(directory: Path, stream: str) -> Path:
    """The file that says where the chain starts after old segments were removed by retention."""
    return directory / f"{stream}.base"


def read_link(path: Path) -> Link | None:
    """The position kept in `path`; None where there is no such file. Raises Malformed."""
    try:
        return Link.decode(path.read_bytes())
    except FileNotFoundError:
        return None


def write_link(path: Path, link: Link) -> None:
    """Replace the position kept in `path`, whole or not at all."""
    beside = path.with_suffix(path.suffix + ".new")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, link.encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    beside.replace(path)


def last_line(path: Path) -> Line | None:
    """The last complete line of a segment, read from its end; None if it has none. Raises Malformed."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2 * MAX_LINE_BYTES))
        tail = file.read(2 * MAX_LINE_BYTES)
    complete, newline, _ = tail.rpartition(b"\n")
    return parse_line(complete.rpartition(b"\n")[2]) if newline else None


def end_of_stream(directory: Path, stream: str) -> Link:
    """Where the stream's next record continues from, and the highest segment index in use."""
    files = segments(directory).get(stream, [])
    newest = files[-1][0] if files else 0
    for _, path in reversed(files):
        if (line := last_line(path)) is not None:
            return Link(line.n, line.claimed, newest)
    base = read_link(base_path(directory, stream)) or START
    return Link(base.n, base.head, max(newest, base.segment))
