"""Trino's own grammar as the oracle: it accepts what we emit and finds the same tables in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlglot import exp
from trino_query_parser import parse_statement_tree

from gateway.core.decision import Refusal
from gateway.core.statement import Statement, Wire
from gateway.sql.parse import Parsed, parse
from gateway.sql.relations import RefKind, references
from gateway.sql.render import render

FIXTURES = Path(__file__).parents[1] / "fixtures"
CORPUS = (FIXTURES / "sql" / "trino_corpus.sql").read_text().splitlines()
TPCH = [path.read_text() for path in sorted((FIXTURES / "tpch").glob("*.sql"))]
NEWER = ("JSON_", "json_", "MATCH_RECOGNIZE", "WITH FUNCTION", "TABLE(", "GROUPS BETWEEN", "WINDOW w")
"""The package's grammar is of 2023; the real engine covers these (test_trino_engine.py)."""


def parsed(text: str) -> Parsed:
    found = parse(text, Wire.TRINO)
    assert not isinstance(found, Refusal), f"{text}: {found.message}"
    return found


def tables(node: Any) -> Iterator[str]:
    """Names at the grammar's tableName nodes, folded."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "table_name":
                name = value["qualified_name"] if "qualified_name" in value else value[0]["qualified_name"]
                yield "".join(words(name)).replace('"', "").lower()
            yield from tables(value)
    elif isinstance(node, list):
        for each in node:
            yield from tables(each)


def words(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    else:
        for each in node.values() if isinstance(node, dict) else node:
            yield from words(each)


def test_there_are_22_tpch_statements() -> None:
    assert len(TPCH) == 22


@pytest.mark.parametrize("text", CORPUS[::9] + TPCH[::6], ids=lambda text: text[:40])
def test_accepted_with_the_same_tables(text: str) -> None:
    if any(word in text for word in NEWER):
        parsed(text)
        return
    emitted = render(parsed(text))
    in_grammar = set(tables(parse_statement_tree(emitted)))
    ours = references(parsed(text), Statement(text, Wire.TRINO))
    assert not isinstance(ours, Refusal)
    read = {".".join(ref.written).lower() for ref in ours if ref.kind is RefKind.TABLE}
    tree = parsed(text).tree
    assert tree is not None
    defined = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    assert in_grammar - defined <= read <= in_grammar


@pytest.mark.parametrize("text", CORPUS + TPCH, ids=lambda text: text[:40])
def test_written_twice_is_written_the_same(text: str) -> None:
    once = render(parsed(text))
    assert render(parsed(once)) == once
