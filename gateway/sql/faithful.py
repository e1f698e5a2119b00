"""sqlglot with our amendments: text to tree and tree to text, per dialect."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ErrorLevel
from sqlglot.tokenizer_core import Token

from gateway.core.statement import Wire
from gateway.sql.dialects import tokens as common
from gateway.sql.dialects.clickhouse import printing as clickhouse_printing
from gateway.sql.dialects.clickhouse import tokens as clickhouse
from gateway.sql.dialects.trino import printing as trino_printing
from gateway.sql.dialects.trino import tokens as trino

# sqlglot logs whole statements, literals included, that it does not understand.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class _Engine:
    dialect: Dialect
    amend: Callable[[list[Token], str], list[Token]]
    settle: Callable[[exp.Expr], exp.Expr]
    printers: Mapping[type[exp.Expr], Callable[..., str]]


_ENGINES = {
    Wire.TRINO: _Engine(trino.GatewayTrino(), trino.amend, trino.settle, trino_printing.PRINTERS),
    Wire.CLICKHOUSE: _Engine(
        clickhouse.GatewayClickHouse(), clickhouse.amend, clickhouse.settle, clickhouse_printing.PRINTERS
    ),
}


def to_trees(text: str, dialect: Wire) -> list[exp.Expr]:
    """The statements of `text`. Raises sqlglot's ParseError or TokenError, or RecursionError."""
    engine = _ENGINES[dialect]
    tokens = engine.amend(engine.dialect.tokenize(text), text)
    trees = engine.dialect.parser(error_level=ErrorLevel.IMMEDIATE).parse(tokens, text)
    found: list[exp.Expr] = []
    for tree in trees:
        if tree is not None:
            common.unmark(tree)
            found.append(engine.settle(tree))
    return found


def to_text(tree: exp.Expr, dialect: Wire) -> str:
    """The tree in its dialect: names quoted, no comments. Raises UnsupportedError or RecursionError."""
    engine = _ENGINES[dialect]
    generator = engine.dialect.generator(
        identify=True, comments=False, unsupported_level=ErrorLevel.RAISE, max_unsupported=1
    )
    # The compiled generator cannot be subclassed; its table of printers belongs to the instance.
    generator._dispatch = {**generator._dispatch, **engine.printers}
    return generator.generate(tree, copy=True)
