"""Bodies off the wire: where they end, decided strictly. Sans-IO."""

from __future__ import annotations

import re

from gateway.wire.http.grammar import TRAILER_LINE
from gateway.wire.http.message import BadMessage

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_MAX_SIZE_LINE = 512
_MAX_TRAILERS = 16 * 1024
_FREE_OVERHEAD = 16
_MAX_EXCESS = 16 * 1024

_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


class FixedDecoder:
    """A body of known length."""

    __slots__ = ("done", "left", "rest")

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        size = len(data)
        if size < self.left:
            self.left -= size
            return [data]
        piece, self.rest = (data, b"") if size == self.left else (data[: self.left], data[self.left :])
        self.left, self.done = 0, True
        return [piece]


class ClosingDecoder:
    """A body that ends with the connection."""

    __slots__ = ("done", "rest")

    def __init__(self) -> None:
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        return [data]


class ChunkedDecoder:
    """A chunked body. `feed` returns the data in it, `done` turns True at its end, `rest` is what follows.

    Refused with BadMessage: sizes that are not plain hexadecimal, line ends that are not CRLF, extensions
    over 500 bytes or adding up (the amplification of CVE-2023-39326), more than 16 KiB of trailers. Trailers
    and extensions are checked and dropped.
    """

    __slots__ = ("_excess", "_left", "_line", "_state", "_trailers", "done", "rest")

    def __init__(self) -> None:
        self._state = _SIZE
        self._left = 0
        self._line = b""
        self._excess = 0
        self._trailers = 0
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        size = len(data)
        if self._state == _DATA and size <= self._left:
            self._left -= size
            if not self._left:
                self._state = _DATA_END
            return [data]
        if self._line:
            data, self._line = self._line + data, b""
            size = len(data)
        pieces: list[bytes] = []
        at = 0
        while at < size:
            state = self._state
            if state == _DATA:
                end = min(size, at + self._left)
                pieces.append(data[at:end])
                self._left -= end - at
                at = end
                if not self._left:
                    self._state = _DATA_END
            elif state == _DATA_END:
                if size - at < 2 and data[at] == 13:
                    break
                if data[at : at + 2] != b"\r\n":
                    raise BadMessage("chunk data is not followed by CRLF")
                at += 2
                self._state = _SIZE
            elif state == _DONE:
                break
            else:
                stop = self._line_at(data, at) if state == _SIZE else self._trailer_at(data, at)
                if stop == at:
                    break
                at = stop
        if self._state == _DONE:
            self.done = True
            self.rest = data[at:]
        elif at < size:
            self._line = data[at:]
        return pieces

    def _line_at(self, data: bytes, at: int) -> int:
        """Read a size line; the offset after it, or `at` when it is not complete."""
        line = _SIZE_LINE.match(data, at)
        if line is None:
            if data.find(b"\n", at, at + _MAX_SIZE_LINE) >= 0 or len(data) - at > _MAX_SIZE_LINE:
                raise BadMessage("a chunk size is not plain hexadecimal, or its line is too long")
            return at
        length = line.end() - at
        if length > _MAX_SIZE_LINE:
            raise BadMessage("a chunk extension is too long")
        self._left = int(line[1], 16)
        self._excess = max(0, self._excess + length - _FREE_OVERHEAD - 2 * self._left)
        if self._excess > _MAX_EXCESS:
            raise BadMessage("chunk extensions outweigh the data")
        self._state = _DATA if self._left else _TRAILERS
        return line.end()

    def _trailer_at(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at)
        if self._trailers + (end + 1 if end >= 0 else len(data)) - at > _MAX_TRAILERS:
            raise BadMessage("the trailers of a chunked body are too large")
        if end < 0:
            return at
        self._trailers += end + 1 - at
        if data[at : end + 1] == b"\r\n":
            self._state = _DONE
        elif TRAILER_LINE.fullmatch(data, at, end + 1) is None:
            raise BadMessage("a trailer of a chunked body is malformed")
        return end + 1
