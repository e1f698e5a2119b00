"""Decoding of request bodies as a stream: bounded pieces out, whatever the compression ratio.

Used only where the statement itself is inside an encoded body; encoded INSERT data whose statement is in the URL
goes to the engine untouched.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol

import lz4.block
import lz4.frame
import zstandard
from clickhouse_cityhash.cityhash import CityHash128  # type: ignore[import-untyped]

from gateway.wire.clickhouse.errors import BAD_ARGUMENTS, NOT_IMPLEMENTED, WireError

PIECE = 256 * 1024
MAX_NATIVE_BLOCK = 16 * 1024 * 1024
_MAX_ZSTD_WINDOW = 8 * 1024 * 1024
_MAX_XZ_MEMORY = 64 * 1024 * 1024
# One zstd block of 4 bytes may stand for 128 KiB and the library has no bound on output: small steps bound it.
_ZSTD_STEP = 256

# What ClickHouse 26.7 decodes itself (CompressionMethod.cpp); such bodies may pass untouched.
PASSABLE = frozenset({"gzip", "deflate", "br", "zstd", "lz4", "xz", "snappy"})


class Decoder(Protocol):
    """Turns encoded bytes into decoded pieces of at most a few MiB."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decoded pieces. Raises WireError for broken input."""
        ...

    def finish(self) -> None:
        """The input has ended; raises WireError if that is too early."""
        ...


def decoder_for(content_encoding: str, native: bool) -> Decoder | None:
    """The decoder for a body, None where it is plain. Both encodings at once are refused as ambiguous."""
    if content_encoding and native:
        raise WireError(
            BAD_ARGUMENTS, "Content-Encoding together with decompress=1 is not accepted: use one of them"
        )
    if native:
        return NativeBlocks()
    if not content_encoding:
        return None
    make = _DECODERS.get(content_encoding)
    if make is None:
        raise WireError(
            NOT_IMPLEMENTED,
            "This Content-Encoding is not accepted for a body that holds a statement; "
            "use gzip, deflate, zstd, lz4 or xz, or put the statement into the URL",
        )
    return make()


async def decode_stream(chunks: AsyncIterator[bytes], decoder: Decoder) -> AsyncIterator[bytes]:
    """Decoded pieces of `chunks`, one at a time, so that back-pressure holds."""
    async for chunk in chunks:
        for piece in decoder.feed(chunk):
            yield piece
    decoder.finish()


class _Broken(WireError):
    """The body does not decode."""

    def __init__(self, what: str) -> None:
        super().__init__(BAD_ARGUMENTS, f"Cannot decompress the request body: {what}")


class Zlib:
    """gzip (any number of members) and deflate."""

    def __init__(self, window_bits: int) -> None:
        self._window_bits = window_bits
        self._engine = zlib.decompressobj(window_bits)
        self._started = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            self._started = True
            try:
                piece = self._engine.decompress(data, PIECE)
            except zlib.error as error:
                raise _Broken(str(error)) from None
            if piece:
                yield piece
            data = self._engine.unconsumed_tail
            if self._engine.eof:
                data = self._engine.unused_data
                if data:
                    self._engine = zlib.decompressobj(self._window_bits)
            elif not data and len(piece) == PIECE:
                yield from self._pending()

    def _pending(self) -> Iterator[bytes]:
        """Output that zlib still holds although it has taken all of the input."""
        while not self._engine.eof and (piece := self._engine.decompress(b"", PIECE)):
            yield piece

    def finish(self) -> None:
        if self._started and not self._engine.eof:
            raise _Broken("it ends too early")


class _Bounded(Protocol):
    """The shape that lz4.frame and lzma share."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class Library:
    """lz4 frames and xz, any number of streams in a row."""

    def __init__(self, make: Callable[[], _Bounded]) -> None:
        self._make = make
        self._engine = make()
        self._started = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            self._started = True
            if self._engine.eof:
                self._engine = self._make()
            yield from self._pieces(data)
            data = (self._engine.unused_data or b"") if self._engine.eof else b""

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        while True:
            try:
                piece = self._engine.decompress(data, PIECE)
            except (OSError, RuntimeError, EOFError, ValueError, lzma.LZMAError) as error:
                raise _Broken(str(error)) from None
            data = b""
            if piece:
                yield piece
            if self._engine.eof or len(piece) < PIECE:
                return

    def finish(self) -> None:
        if self._started and not self._engine.eof:
            raise _Broken("it ends too early")


class Zstd:
    """zstd frames, in small steps."""

    def __init__(self) -> None:
        self._engine = self._fresh()
        self._started = False

    @staticmethod
    def _fresh() -> zstandard.ZstdDecompressionObj:
        return zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW).decompressobj()

    def feed(self, data: bytes) -> Iterator[bytes]:
        out: list[bytes] = []
        size = 0
        at = 0
        while at < len(data):
            self._started = True
            if self._engine.eof:
                self._engine = self._fresh()
            step = data[at : at + _ZSTD_STEP]
            try:
                piece = self._engine.decompress(step)
            except zstandard.ZstdError as error:
                raise _Broken(str(error)) from None
            at += len(step) - (len(self._engine.unused_data) if self._engine.eof else 0)
            out.append(piece)
            size += len(piece)
            if size >= PIECE:
                yield b"".join(out)
                out, size = [], 0
        if size:
            yield b"".join(out)

    def finish(self) -> None:
        if self._started and not self._engine.eof:
            raise _Broken("it ends too early")


class NativeBlocks:
    """ClickHouse's own compressed blocks (`decompress=1`): checksum, method, sizes, data.

    Layout from CompressedReadBufferBase.cpp: CityHash128 (16 bytes) over the rest of the block; method (1
    byte); compressed size with this 9-byte header (4); decompressed size (4); data.
    """

    _HEADER = struct.Struct("<BII")
    _NONE, _LZ4, _ZSTD = 0x02, 0x82, 0x90

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._buffer += data
        while len(self._buffer) >= 25:
            method, packed, size = self._HEADER.unpack_from(self._buffer, 16)
            if packed < 9 or packed > MAX_NATIVE_BLOCK + 64 * 1024 or size > MAX_NATIVE_BLOCK:
                raise _Broken(f"a block is larger than {MAX_NATIVE_BLOCK} bytes or malformed")
            if len(self._buffer) < 16 + packed:
                return
            block = bytes(self._buffer[16 : 16 + packed])
            self._check(block)
            del self._buffer[: 16 + packed]
            yield self._decode(method, block[9:], size)

    def _check(self, block: bytes) -> None:
        high, low = struct.unpack_from("<QQ", self._buffer)
        if CityHash128(block) != (high << 64 | low):
            raise _Broken("the checksum of a block does not match")

    def _decode(self, method: int, data: bytes, size: int) -> bytes:
        try:
            if method == self._LZ4:
                plain = bytes(lz4.block.decompress(data, uncompressed_size=size))
            elif method == self._ZSTD:
                plain = zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
            elif method == self._NONE:
                plain = data
            else:
                raise _Broken(f"the codec 0x{method:02x} is not accepted; use LZ4, ZSTD or NONE")
        except (lz4.block.LZ4BlockError, zstandard.ZstdError) as error:
            raise _Broken(str(error)) from None
        if len(plain) != size:
            raise _Broken("a block is not as long as it says")
        return plain

    def finish(self) -> None:
        if self._buffer:
            raise _Broken("it ends in the middle of a block")


def native_block(plain: bytes) -> bytes:
    """One uncompressed native block, for answers to clients that asked with `compress=1`."""
    block = NativeBlocks._HEADER.pack(NativeBlocks._NONE, len(plain) + 9, len(plain)) + plain
    digest = CityHash128(block)
    return struct.pack("<QQ", digest >> 64, digest & 0xFFFF_FFFF_FFFF_FFFF) + block


_DECODERS: dict[str, Callable[[], Decoder]] = {
    "gzip": lambda: Zlib(31),
    "x-gzip": lambda: Zlib(31),
    "deflate": lambda: Zlib(15),
    "zstd": Zstd,
    "lz4": lambda: Library(lz4.frame.LZ4FrameDecompressor),
    "xz": lambda: Library(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_MEMORY)),
}
