"""sqlglot with our amendments: text to tree and tree to text, per dialect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ErrorLevel
from sqlglot.tokenizer_core import Token

from gateway.core.statement import Wire
from gateway.sql.dialects import tokens as common
from gateway.sql.dialects.clickhouse import tokens as clickhouse
from gateway.sql.dialects.trino import tokens as trino


@dataclass(frozen=True, slots=True)
class _Engine:
    dialect: Dialect
    amend: Callable[[list[Token], str], list[Token]]
    settle: Callable[[exp.Expr], None]


_ENGINES = {
    Wire.TRINO: _Engine(trino.GatewayTrino(), trino.amend, trino.settle),
    Wire.CLICKHOUSE: _Engine(clickhouse.GatewayClickHouse(), clickhouse.amend, clickhouse.settle),
}


def to_trees(text: str, dialect: Wire) -> list[exp.Expr]:
    """The statements of `text`. Raises sqlglot's ParseError or TokenError, or RecursionError."""
    engine = _ENGINES[dialect]
    tokens = engine.amend(engine.dialect.tokenize(text), text)
    trees = engine.dialect.parser(error_level=ErrorLevel.IMMEDIATE).parse(tokens, text)
    found = [tree for tree in trees if tree is not None]
    for tree in found:
        common.unmark(tree)
        engine.settle(tree)
    return found


def to_text(tree: exp.Expr, dialect: Wire) -> str:
    """The tree in its dialect: names quoted, no comments. Raises UnsupportedError or RecursionError."""
    engine = _ENGINES[dialect]
    return engine.dialect.generate(
        tree, identify=True, comments=False, unsupported_level=ErrorLevel.RAISE, copy=True
    )
