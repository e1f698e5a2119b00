"""Values inside headers: as Trino reads them, and no further than the bounds."""

import base64
import contextlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.trino.fields import (
    BadField,
    FieldLimits,
    decode,
    encode_prepared,
    encode_properties,
    items,
    prepared,
    properties,
    visible,
)

H = "X-Trino-Session"
SMALL = FieldLimits(
    entries=4,
    value_bytes=16,
    total_bytes=32,
    prepared_entries=3,
    prepared_bytes=100,
    prepared_total_bytes=150,
)


def zstd(text: str, *, size: bool = True) -> str:
    frame = zstandard.ZstdCompressor(write_content_size=size).compress(text.encode())
    return "%24zstd%3A" + base64.urlsafe_b64encode(frame).decode().replace("=", "%3D")


def test_repeated_and_joined_headers_are_the_same() -> None:
    expected = (("a", "1"), ("b", "2"), ("c", "3"))
    assert properties(H, ["a=1", "b=2", "c=3"]) == expected
    assert properties(H, ["a=1,b=2", " c = 3 "]) == expected
    assert properties(H, ["c=3, b=2,,a=1,"]) == expected


def test_values_are_url_decoded_as_java_does_it() -> None:
    assert properties(H, ["a=x+y%20z%2C%3D%C3%A4"]) == (("a", "x y z,=ä"),)


def test_the_last_of_equal_names_counts() -> None:
    assert properties(H, ["a=1", "a=2"]) == (("a", "2"),)


@pytest.mark.parametrize(
    "value",
    [
        "a",
        "=1",
        "a=1=2",
        "a=%",
        "a=%4",
        "a=%zz",
        "a=%ff",
        "a b=1",
        "ä=1",
        "a=" + "x" * 17,
        "a=1,b=1,c=1,d=1,e=1",
    ],
)
def test_what_is_malformed_or_too_much_is_refused_without_quoting_it(value: str) -> None:
    with pytest.raises(BadField, match="X-Trino-Session"):
        properties(H, [value], SMALL)


def test_the_total_is_bounded() -> None:
    with pytest.raises(BadField, match="32 bytes in total"):
        properties(H, ["a=" + "x" * 16, "b=" + "x" * 16], SMALL)


def test_a_list_of_very_many_commas_costs_nothing() -> None:
    with pytest.raises(BadField):
        items(H, ["a," * 200_000], 100)


def test_prepared_statements_are_expanded() -> None:
    text = "SELECT 'a,b=c' FROM t WHERE x = ? -- ä\n" * 2
    encoded = encode_prepared((("plain name", text),))
    assert prepared("P", encoded) == (("plain name", text),)
    assert prepared("P", ["p=" + zstd(text), "q=" + zstd(text, size=False)]) == (("p", text), ("q", text))


def test_long_statements_are_compressed_again_when_they_go_upstream() -> None:
    text = "SELECT " + ", ".join(f"column_{n}" for n in range(500))
    [encoded] = encode_prepared((("p", text),))
    assert encoded.startswith("p=%24zstd%3A")
    assert len(encoded) < len(text)
    assert prepared("P", [encoded]) == (("p", text),)


@pytest.mark.parametrize("size", [True, False])
def test_a_bomb_is_refused_before_it_is_expanded(size: bool) -> None:
    bomb = "p=" + zstd("x" * 20_000_000, size=size)
    assert len(bomb) < 20_000
    with pytest.raises(BadField, match="larger than 1000000 bytes when expanded"):
        prepared("P", [bomb])


@pytest.mark.parametrize(
    "value", ["%24zstd%3A", "%24zstd%3A!!!!", "%24zstd%3AAAAA", "%24zstd%3A" + "A" * 40, "%24zstd%3A%C3%A4"]
)
def test_what_is_not_a_frame_is_refused(value: str) -> None:
    with pytest.raises(BadField):
        prepared("P", ["p=" + value])


def test_a_truncated_frame_is_refused() -> None:
    whole = zstd("SELECT 1 " * 100)
    with pytest.raises(BadField):
        prepared("P", ["p=" + whole[: len(whole) // 2]])


@given(st.lists(st.tuples(st.from_regex(r"[a-z_.]{1,20}", fullmatch=True), st.text(max_size=50)), max_size=8))
def test_what_is_written_is_read_back_and_cannot_break_a_header(pairs: list[tuple[str, str]]) -> None:
    written = encode_properties(tuple(pairs))
    assert all(line.isascii() and line.isprintable() and "," not in line for line in written)
    assert dict(properties(H, written)) == dict(pairs)


@given(st.text(st.characters(max_codepoint=255), max_size=60))
def test_decoding_never_fails_otherwise_than_in_words(raw: str) -> None:
    with contextlib.suppress(BadField):
        assert decode(H, raw, 100).isascii() == raw.isascii() or "%" in raw


@pytest.mark.parametrize("value", ["a\x00b", "a\x7f", "a\x1bb"])
def test_control_characters_do_not_pass(value: str) -> None:
    with pytest.raises(BadField, match="control"):
        visible("X-Trino-Source", value, 100)
