"""The three stages over a draft."""

from __future__ import annotations

from gateway.core.decision import IDENTITY, Refusal, RefusalCode
from gateway.core.facts import NO_FACTS
from gateway.core.principal import Principal
from gateway.core.snapshot import Snapshot
from gateway.core.stage import Draft
from gateway.core.statement import Position, RelationName, Statement, StatementKind, Wire
from gateway.sql.emit import Allowed
from gateway.sql.limits import SqlLimits
from gateway.sql.parse import Parsed
from gateway.sql.relations import RefKind
from gateway.sql.stage import References, SqlRules, Unparsed, emit_stage, parse_stage, resolve_stage

OPEN = SqlRules(pass_unparsed=True, version="open")


def draft(text: str, *parts: SqlLimits | SqlRules, wire: Wire = Wire.TRINO, **more: str) -> Draft:
    statement = Statement(
        text, wire, catalog="c", schema="s", prepared=(("q", "SELECT * FROM t WHERE a = ?"),)
    )
    return Draft(statement, Principal("ann"), Snapshot(parts), NO_FACTS, text=text)


def test_parse_leaves_the_tree_the_kind_and_the_fingerprint() -> None:
    work = draft("SELECT 1")
    assert parse_stage(work) is None
    assert work.kind is StatementKind.QUERY
    assert len(work.fingerprint) == 32
    assert work.note(Parsed) is not None
    assert work.read["sql:limits"] == "0"


def test_limits_come_from_the_snapshot() -> None:
    work = draft("SELECT 1, 2, 3", SqlLimits(max_tokens=3, version="tight"))
    refusal = parse_stage(work)
    assert isinstance(refusal, Refusal)
    assert refusal.code is RefusalCode.TOO_COMPLEX
    assert work.read["sql:limits"] == "tight"


def test_what_cannot_be_parsed_is_refused_unless_the_rules_are_open() -> None:
    refusal = parse_stage(draft("FROBNICATE secret"))
    assert isinstance(refusal, Refusal)
    work = draft("FROBNICATE secret", OPEN)
    assert parse_stage(work) is None
    assert resolve_stage(work) is None
    assert emit_stage(work) is None
    assert work.text == "FROBNICATE secret"
    assert work.kind is StatementKind.UNKNOWN
    assert work.fingerprint
    note = work.note(Unparsed)
    assert note is not None
    (step,) = work.trail.steps
    assert (step.stage, step.effect) == ("parse", "passed unparsed")
    assert "secret" not in str(step)


def test_bounds_hold_even_for_the_unrestricted() -> None:
    for text in ("SELECT " + "(" * 100 + ")" * 100, "x " * 200_000):
        assert isinstance(parse_stage(draft(text, OPEN)), Refusal)


def test_spelling_that_only_we_dislike_passes_for_the_unrestricted() -> None:
    work = draft("SELECT a$b FROM t", OPEN, wire=Wire.CLICKHOUSE)
    assert parse_stage(work) is None
    assert work.kind is StatementKind.QUERY


def test_resolve_sets_the_relations() -> None:
    work = draft("WITH x AS (SELECT * FROM b) SELECT * FROM x, a.z, TABLE(sequence(1, 2))")
    assert parse_stage(work) is None
    assert resolve_stage(work) is None
    assert work.relations == (RelationName("c", "a", "z"), RelationName("c", "s", "b"))
    note = work.note(References)
    assert note is not None
    assert {ref.kind for ref in note.all} == {RefKind.TABLE, RefKind.TABLE_FUNCTION}


def test_execute_is_seen_through() -> None:
    work = draft("EXECUTE q USING 1")
    assert parse_stage(work) is None
    assert resolve_stage(work) is None
    assert work.relations == (RelationName("c", "s", "t"),)
    parsed = work.note(Parsed)
    assert parsed is not None
    assert parsed.verb == "EXECUTE IMMEDIATE"


def test_an_unknown_prepared_statement_is_refused_or_left_to_the_engine() -> None:
    for rules, refused in (((), True), ((OPEN,), False)):
        work = draft("EXECUTE nope", *rules)
        assert parse_stage(work) is None
        assert isinstance(resolve_stage(work), Refusal) is refused


def test_untouched_text_passes_as_it_is_and_rewritten_text_is_generated() -> None:
    work = draft("SELECT  a -- c\nFROM t")
    assert parse_stage(work) is None
    assert emit_stage(work) is None
    assert (work.text, work.positions) == ("SELECT  a -- c\nFROM t", IDENTITY)
    work.rewritten = True
    refusal = emit_stage(work)
    assert isinstance(refusal, Refusal), "a rewritten statement needs the relations that it may name"
    work.leave(Allowed(frozenset({RelationName("c", "s", "t")})))
    assert emit_stage(work) is None
    assert work.text == 'SELECT "a" FROM "t"'
    assert work.positions.to_original(Position(1, 17)) == Position(2, 6)
