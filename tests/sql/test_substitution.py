"""Substitution and emission: before and after, from tests/fixtures/sql/substitutions.yml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from sqlglot import exp

from gateway.core.decision import PositionMap, Refusal, RefusalCode
from gateway.core.statement import Position, RelationName, Statement, Wire
from gateway.sql.emit import Emitted, emit
from gateway.sql.faithful import to_trees
from gateway.sql.parse import Parsed, parse
from gateway.sql.prepared import inlined
from gateway.sql.relations import Reference, RefKind, references
from gateway.sql.render import render
from gateway.sql.shape import Role
from gateway.sql.substitution import substitute

CASES = YAML(typ="safe").load(Path(__file__).parents[1] / "fixtures" / "sql" / "substitutions.yml")


def _statement(text: str, dialect: Wire) -> Statement:
    catalog = "cat" if dialect is Wire.TRINO else None
    return Statement(text, dialect, catalog, "sch", prepared=(("q", "SELECT * FROM pt WHERE a = ?"),))


def _governed(name: RelationName, dialect: Wire) -> exp.Query:
    relation = ".".join(f'"{part}"' for part in (name.catalog, name.schema, name.table) if part)
    query = to_trees(f'SELECT "a", "b" FROM {relation} WHERE "ok"', dialect)[0]
    assert isinstance(query, exp.Query)
    return query


def run(text: str, dialect: Wire) -> tuple[Emitted | Refusal, Parsed]:
    statement = _statement(text, dialect)
    parsed = parse(text, dialect)
    assert isinstance(parsed, Parsed), parsed.message
    if parsed.verb == "EXECUTE":
        whole = inlined(parsed, statement)
        assert isinstance(whole, Parsed)
        parsed = whole
    found = references(parsed, statement)
    assert not isinstance(found, Refusal)
    before = render(parsed)
    wanted = {
        ref: _governed(ref.name, dialect)
        for ref in found
        if (ref.role, ref.kind) == (Role.READ, RefKind.TABLE)
    }
    result = substitute(parsed, wanted)
    assert render(parsed) == before, "the statement that was passed in has changed"
    if isinstance(result, Refusal):
        return result, parsed
    return emit(result, statement, frozenset(ref.name for ref in found)), parsed


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['dialect']}: {case['name']}")
def test_case(case: dict[str, Any]) -> None:
    dialect = Wire(case["dialect"])
    emitted, _ = run(case["before"], dialect)
    if "refused" in case:
        assert isinstance(emitted, Refusal)
        assert emitted.code is RefusalCode.NOT_SUPPORTED
        assert case["refused"] in emitted.message
        assert f"{emitted.position}" == f"line {case['at']}"
        return
    prefix = '"cat"."sch"' if dialect is Wire.TRINO else '"sch"'
    expected = re.sub(r"\[([a-z]+)\]", rf'(SELECT "a", "b" FROM {prefix}."\1" WHERE "ok")', case["after"])
    assert isinstance(emitted, Emitted), emitted
    assert emitted.text == expected


def test_a_text_that_names_more_than_the_plan_is_never_emitted() -> None:
    text = "SELECT * FROM t, other"
    parsed = parse(text, Wire.TRINO)
    assert isinstance(parsed, Parsed)
    refusal = emit(parsed, _statement(text, Wire.TRINO), frozenset({RelationName("cat", "sch", "t")}))
    assert isinstance(refusal, Refusal)
    assert refusal.code is RefusalCode.INTERNAL
    assert "other" not in refusal.message


@pytest.mark.parametrize(
    "text", ["SELECT * FROM t ARRAY JOIN (SELECT v FROM u) AS x", "SELECT * FROM {x:Identifier}"]
)
def test_what_cannot_be_resolved_is_never_emitted(text: str) -> None:
    refusal, _ = run(text, Wire.CLICKHOUSE)
    assert isinstance(refusal, Refusal)


def test_a_target_cannot_be_replaced() -> None:
    text = "DELETE FROM t WHERE a = 1"
    parsed = parse(text, Wire.TRINO)
    assert isinstance(parsed, Parsed)
    (ref,) = references(parsed, _statement(text, Wire.TRINO))  # type: ignore[misc]
    assert isinstance(ref, Reference)
    refusal = substitute(parsed, {ref: _governed(ref.name, Wire.TRINO)})
    assert isinstance(refusal, Refusal)
    assert "DELETE of this table" in refusal.message


def test_positions_map_back_to_the_clients_text() -> None:
    emitted, _ = run("SELECT a,\n       wrong\nFROM t\nWHERE bad > 1", Wire.TRINO)
    assert isinstance(emitted, Emitted)
    for word, place in (("wrong", Position(2, 8)), ("bad", Position(4, 7))):
        column = emitted.text.index(f'"{word}"') + 1
        assert emitted.positions.to_original(Position(1, column)) == place


def test_identity_map_for_untouched_text() -> None:
    assert PositionMap().to_original(Position(3, 4)) == Position(3, 4)


def test_comments_and_settings_of_the_session_do_not_reach_the_text() -> None:
    emitted, _ = run("SELECT /* secret */ a -- more\nFROM t", Wire.TRINO)
    assert isinstance(emitted, Emitted)
    assert "secret" not in emitted.text
    assert "more" not in emitted.text
