"""Decoders: right, bounded, and refusing what is broken."""

from __future__ import annotations

import gzip
import lzma
import os
import zlib
from collections.abc import Callable
from contextlib import suppress

import lz4.block
import lz4.frame
import pytest
import zstandard
from clickhouse_cityhash.cityhash import CityHash128  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.clickhouse.coding import MAX_NATIVE_BLOCK, NativeBlocks, decoder_for, native_block
from gateway.wire.clickhouse.errors import WireError

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
    "lz4": lz4.frame.compress,
    "xz": lzma.compress,
}
REPEATABLE = [name for name in COMPRESS if name != "deflate"]


def decode(encoding: str, data: bytes, step: int) -> bytes:
    decoder = decoder_for(encoding, False)
    assert decoder is not None
    out = b"".join(piece for at in range(0, len(data), step) for piece in decoder.feed(data[at : at + step]))
    decoder.finish()
    return out


@pytest.mark.parametrize("encoding", COMPRESS)
@given(data=st.binary(max_size=3000), step=st.integers(1, 500))
def test_any_split_decodes(encoding: str, data: bytes, step: int) -> None:
    assert decode(encoding, COMPRESS[encoding](data), step) == data


@pytest.mark.parametrize("encoding", REPEATABLE)
def test_several_streams_in_a_row(encoding: str) -> None:
    packed = COMPRESS[encoding](b"one ") + COMPRESS[encoding](b"two")
    for step in (1, 7, 10_000):
        assert decode(encoding, packed, step) == b"one two"


@pytest.mark.parametrize("encoding", COMPRESS)
def test_pieces_are_bounded_whatever_the_ratio(encoding: str) -> None:
    packed = COMPRESS[encoding](b"\0" * 20_000_000)
    decoder = decoder_for(encoding, False)
    assert decoder is not None
    sizes = [len(piece) for piece in decoder.feed(packed)]
    assert sum(sizes) == 20_000_000
    assert max(sizes) <= 9 * 1024 * 1024


@pytest.mark.parametrize("encoding", COMPRESS)
@given(junk=st.binary(min_size=1, max_size=200))
def test_junk_never_crashes(encoding: str, junk: bytes) -> None:
    with suppress(WireError):
        decode(encoding, junk, 50)


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_cut_stream_is_an_error(encoding: str) -> None:
    with pytest.raises(WireError):
        decode(encoding, COMPRESS[encoding](os.urandom(5000))[:-20], 100)


def native(method: int, packed: bytes, size: int) -> bytes:
    """A block with a right checksum."""
    header = NativeBlocks._HEADER.pack(method, len(packed) + 9, size)
    digest = CityHash128(header + packed)
    return (
        (digest >> 64).to_bytes(8, "little") + (digest & (2**64 - 1)).to_bytes(8, "little") + header + packed
    )


@given(st.lists(st.binary(max_size=200), max_size=5), st.integers(1, 60))
def test_native_blocks(parts: list[bytes], step: int) -> None:
    packed = b"".join(
        block
        for part in parts
        for block in (
            native_block(part),
            native(0x82, lz4.block.compress(part, store_size=False), len(part)),
            native(0x90, zstandard.compress(part), len(part)),
        )
    )
    decoder = NativeBlocks()
    out = [p for at in range(0, len(packed), step) for p in decoder.feed(packed[at : at + step])]
    decoder.finish()
    assert b"".join(out) == b"".join(part * 3 for part in parts)


def decode_native(data: bytes) -> None:
    decoder = NativeBlocks()
    list(decoder.feed(data))
    decoder.finish()


def test_native_blocks_that_lie() -> None:
    good = native_block(b"SELECT 1")
    for bad in (
        good[:-1],
        good[:20] + b"\xff" + good[21:],
        native(0x91, b"x", 1),
        native(0x82, b"\x10x", 500),
        native(0x02, b"abc", 4),
        b"\0" * 16 + NativeBlocks._HEADER.pack(0x82, 100, MAX_NATIVE_BLOCK + 1) + b"x" * 91,
        b"\0" * 16 + NativeBlocks._HEADER.pack(0x82, 3, 10),
    ):
        with pytest.raises(WireError):
            decode_native(bad)
