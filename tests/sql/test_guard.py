"""The guard: bounds before any parser, in linear time, whatever the text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.decision import Refusal, RefusalCode
from gateway.core.statement import Position, Wire
from gateway.sql.guard import Bounds, guard, is_inline
from gateway.sql.lexer import TokenKind, position_at, tokens
from gateway.sql.limits import SqlLimits

BOTH = list(Wire)


def refused(text: str, dialect: Wire, limits: SqlLimits | None = None) -> Refusal:
    found = guard(text, dialect, limits or SqlLimits())
    assert isinstance(found, Refusal), f"let pass: {text[:80]!r}"
    return found


@pytest.mark.parametrize("dialect", BOTH)
def test_measures_what_it_lets_pass(dialect: Wire) -> None:
    assert guard("SELECT f((a), 'x') FROM t", dialect) == Bounds(bytes=25, tokens=11, depth=2)


@pytest.mark.parametrize(
    ("text", "code", "place", "words"),
    [
        ("SELECT \u201ca\u201d", RefusalCode.SYNTAX, Position(1, 8), "typographic"),
        ("SELECT \u2018a\u2019", RefusalCode.SYNTAX, Position(1, 8), "typographic"),
        ("SELECT 1 \u2212 2", RefusalCode.SYNTAX, Position(1, 10), "lookalike"),
        ("SELECT\u00a01", RefusalCode.SYNTAX, Position(1, 7), "space"),
        ("SELECT n\u00e9e FROM t", RefusalCode.SYNTAX, Position(1, 9), "quote the name"),
        ("SELECT \ud800", RefusalCode.SYNTAX, Position(1, 1), "Unicode"),
        ("SELECT '\0'", RefusalCode.SYNTAX, Position(1, 9), "NUL"),
        ("SELECT\n \x01 1", RefusalCode.SYNTAX, Position(2, 2), "control"),
        ("SELECT\n 'abc", RefusalCode.SYNTAX, Position(2, 2), "no end"),
        ('SELECT "abc', RefusalCode.SYNTAX, Position(1, 8), "no end"),
        ("SELECT 1 /* abc", RefusalCode.SYNTAX, Position(1, 10), "no end"),
        ("SELECT (1", RefusalCode.SYNTAX, Position(1, 8), "never closed"),
        ("SELECT 1)", RefusalCode.SYNTAX, Position(1, 9), "closes nothing"),
        ("SELECT (1]", RefusalCode.SYNTAX, Position(1, 10), "closes nothing"),
        ("SELECT {# x #} 1", RefusalCode.SYNTAX, Position(1, 8), "template"),
        ("SELECT " + "(" * 65 + ")" * 65, RefusalCode.TOO_COMPLEX, Position(1, 72), "deeper than 64"),
        ("SELECT " + "[" * 65 + "]" * 65, RefusalCode.TOO_COMPLEX, Position(1, 72), "deeper than 64"),
        ("SELECT " + "CASE WHEN a THEN " * 65 + "1" + " END" * 65, RefusalCode.TOO_COMPLEX, None, "deeper"),
        ("SELECT " + "NOT " * 33 + "a", RefusalCode.TOO_COMPLEX, None, "prefix"),
        ("SELECT " + "- " * 33 + "1", RefusalCode.TOO_COMPLEX, None, "prefix"),
        ("SELECT a" + "[1]" * 34, RefusalCode.TOO_COMPLEX, None, "subscripts"),
    ],
)
@pytest.mark.parametrize("dialect", BOTH)
def test_refuses(text: str, code: RefusalCode, place: Position | None, words: str, dialect: Wire) -> None:
    found = refused(text, dialect)
    assert found.code is code
    assert words in found.message
    if place is not None:
        assert found.position == place


@pytest.mark.parametrize(
    "text", ["SELECT a$b", "SELECT #x", "SELECT 1 /* a /* b */ c */", "SELECT $a$ x $b$"]
)
def test_refuses_in_clickhouse_what_engine_and_parser_read_differently(text: str) -> None:
    assert refused(text, Wire.CLICKHOUSE).code is RefusalCode.SYNTAX


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("SELECT 'it''s (', \"a(\"\"b\" -- (\n/* ( */", Wire.TRINO),
        ("SELECT 'a\\'(b', `a(``b`, \"x\\\"(\" # (\n#! (\n-- (\n", Wire.CLICKHOUSE),
        ("SELECT $$ it's ( $$, $x$ $$ ( $x$", Wire.CLICKHOUSE),
        ("SELECT 'caf\u00e9', \"n\u00e9e\" -- \u2212", Wire.TRINO),
        ("SELECT end, a.end, case FROM t", Wire.TRINO),
        ("SELECT 'a\x01'", Wire.CLICKHOUSE),
    ],
)
def test_literals_names_and_comments_hold_anything(text: str, dialect: Wire) -> None:
    assert isinstance(guard(text, dialect), Bounds)


def test_a_backslash_escapes_only_in_clickhouse() -> None:
    assert isinstance(guard("SELECT 'a\\'", Wire.TRINO), Bounds)
    assert refused("SELECT 'a\\'", Wire.CLICKHOUSE).position == Position(1, 8)
    assert isinstance(guard("SELECT 'a\\' ('", Wire.CLICKHOUSE), Bounds)


def test_sizes_are_bytes_of_utf8_and_tokens() -> None:
    tight = SqlLimits(max_bytes=12, max_tokens=3)
    assert refused("SELECT '\u00e9\u00e9\u00e9'", Wire.TRINO, tight).code is RefusalCode.TOO_LARGE
    assert refused("a b c d", Wire.TRINO, tight).code is RefusalCode.TOO_COMPLEX
    assert isinstance(guard("a b c", Wire.TRINO, tight), Bounds)


HOSTILE = [
    "'" * 300_001,
    "/*" * 150_000,
    "$a$ $b$ " * 40_000,
    "$" + "a" * 64 + "$" + ("$" + "a" * 63) * 5_000,
    "\\'" * 150_000,
    "-- \n" * 75_000,
    "(" * 300_000,
    "'a" * 100_001,
    '"\\"' * 99_999,
    "- " * 100_000,
    "CASE " * 60_000,
    "\u201c" * 100_000,
    "`" * 300_001,
    "[]" * 150_000,
    "*/" * 150_000,
]


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:6]))
def test_hostile_text_costs_linear_time(text: str, dialect: Wire) -> None:
    start = time.process_time()
    guard(text, dialect)
    assert time.process_time() - start < 1.5


PIECES = st.lists(
    st.sampled_from(["'", '"', "`", "$", "$a$", "--", "#", "# ", "/*", "*/", "\\", "\n", "(", ")", "[", "]",
                     "CASE ", "END ", "a", "1", " ", "\u201c", "{#", "''", "\\'", ";", "0x", "."])
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(text=st.one_of(st.text(max_size=200), PIECES.map("".join)), dialect=st.sampled_from(BOTH))
def test_any_text_gets_an_answer_and_tokens_cover_it(text: str, dialect: Wire) -> None:
    found = guard(text, dialect)
    assert isinstance(found, (Bounds, Refusal))
    at = 0
    for token in tokens(text, dialect, comments=True):
        assert text[at : token.start].strip() == ""
        assert token.text == text[token.start : token.end]
        at = token.end
    assert text[at:].strip() == ""
    if isinstance(found, Bounds):
        assert all(token.kind is not TokenKind.BROKEN for token in tokens(text, dialect))
    elif found.position is not None:
        lines = text.split("\n")
        assert 1 <= found.position.line <= len(lines)


def test_positions_count_characters_from_one() -> None:
    assert position_at("a\nb\u00e9c", 4) == Position(2, 3)


def test_big_statements_go_to_a_child() -> None:
    assert is_inline(Bounds(8_192, 2_000, 1))
    assert not is_inline(Bounds(8_193, 1, 1))
    assert not is_inline(Bounds(1, 2_001, 1))
