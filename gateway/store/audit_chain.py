"""The audit's format: lines that each carry the hash of everything before them. No I/O in here.

    <40 hex digits of the hash> <JSON of one record>\\n

hash(n) = BLAKE2b-160(hash(n-1) + JSON(n)), keyed when the operator gives a key. The JSON is
`{"n": …, "k": kind, "r": record}`; `n` counts from 1 and goes on over segments and restarts, so one
stream is one chain cut into files. The first line of a file is a `segment` record that repeats the hash it
continues from, which lets a file be checked alone.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import orjson

DIGEST_BYTES = 20
GENESIS = bytes(DIGEST_BYTES)
SEGMENT_KIND = "segment"
GAP_KIND = "gap"
MAX_LINE_BYTES = 4 << 20
MAX_RECORDS = 2**62
FORMAT = 1

_STREAM = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SEGMENT = re.compile(r"(?P<stream>[A-Za-z0-9_-]{1,64})\.(?P<index>\d{8})\.audit")


class Malformed(ValueError):
    """A line that no version of the gateway wrote."""


@dataclass(frozen=True, slots=True)
class Link:
    """A place in a stream's chain: `n` records so far, the last one hashed to `head`, in file `segment`."""

    n: int
    head: bytes
    segment: int

    def encode(self) -> bytes:
        """Fixed width, so that it can be overwritten in place by one write."""
        return b"%020d %s %08d\n" % (self.n, self.head.hex().encode(), self.segment)

    @classmethod
    def decode(cls, data: bytes) -> Link:
        """Raises Malformed."""
        try:
            n, head, segment = data.split()
            return cls(int(n), bytes.fromhex(head.decode("ascii")), int(segment))
        except (ValueError, UnicodeDecodeError) as error:
            raise Malformed(f"not a chain position: {data[:80]!r}") from error


START = Link(0, GENESIS, 0)


@dataclass(frozen=True, slots=True)
class Line:
    """One parsed line: the hash it claims, its number, kind and record, and the bytes that were hashed."""

    claimed: bytes
    body: bytes
    n: int
    kind: str
    record: dict[str, Any]


def body_of(n: int, kind: str, record_json: bytes) -> bytes:
    """The bytes that are hashed for record `n`."""
    return b'{"n":%d,"k":"%s","r":%s}' % (n, kind.encode(), record_json)


def link_hash(head: bytes, body: bytes, key: bytes) -> bytes:
    """The hash that follows `head` when `body` comes next; `key` is b"" or at most 64 bytes."""
    return hashlib.blake2b(head + body, digest_size=DIGEST_BYTES, key=key).digest()


def line_of(digest: bytes, body: bytes) -> bytes:
    """The line as written."""
    return b"%s %s\n" % (digest.hex().encode(), body)


def parse_line(line: bytes) -> Line:
    """A line without its newline. Raises Malformed."""
    digits = DIGEST_BYTES * 2
    if len(line) < digits + 2 or line[digits : digits + 1] != b" ":
        raise Malformed("the line has no hash in front")
    body = line[digits + 1 :]
    try:
        claimed = bytes.fromhex(line[:digits].decode("ascii"))
        data = orjson.loads(body)
        n = int(data["n"])
        if not 0 < n < MAX_RECORDS:
            raise Malformed(f"record number {n}")
        return Line(claimed, body, n, str(data["k"]), dict(data["r"]))
    except (ValueError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise Malformed(f"the line is not an audit record: {error}") from error


def check_stream_name(name: str) -> str:
    """`name` if it can name a stream. Raises ValueError."""
    if not _STREAM.fullmatch(name):
        raise ValueError(f"audit process name {name!r}: use 1 to 64 letters, digits, '-' or '_'")
    return name


def segment_file(stream: str, index: int) -> str:
    """The name of a stream's `index`-th file."""
    return f"{stream}.{index:08d}.audit"


def parse_segment_file(name: str) -> tuple[str, int] | None:
    """(stream, index) of a segment's file name; None for any other file."""
    match = _SEGMENT.fullmatch(name)
    return (match["stream"], int(match["index"])) if match else None
