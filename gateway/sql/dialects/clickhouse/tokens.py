"""What ClickHouse's tokens need before sqlglot's parser reads them faithfully. Each item has a fixture case."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.dialects.clickhouse import ClickHouse
from sqlglot.parsers.clickhouse import ClickHouseParser
from sqlglot.tokenizer_core import Token, TokenType

from gateway.sql.dialects.tokens import MARK, closing_brackets

_SPECIAL = frozenset(
    [
        "AND",
        "OR",
        "EXISTS",
        "ANY",
        "ALL",
        "LIKE",
        "CAST",
        "EXTRACT",
        "TRIM",
        "SUBSTRING",
        "COLUMNS",
        "VIEW",
        "TUPLE",
    ]
)
"""Calls with a syntax of their own; sqlglot reads and prints these right."""

KNOWN_CALLS = frozenset({*ClickHouseParser.FUNCTIONS, *ClickHouseParser.FUNCTION_PARSERS, "IF"}) - _SPECIAL
_TYPE_TOKENS = frozenset(ClickHouseParser.TYPE_TOKENS) - {TokenType.INTERVAL}
_DATE_LITERALS = frozenset({TokenType.DATE, TokenType.TIMESTAMP})


class GatewayClickHouse(ClickHouse):
    """ClickHouse as the gateway reads and writes it."""


def amend(tokens: list[Token], text: str) -> list[Token]:
    """The tokens to parse instead; they keep the places of the text."""
    closing: dict[int, int] | None = None
    last = len(tokens) - 1
    for index, token in enumerate(tokens[:last]):
        kind = token.token_type
        following = tokens[index + 1].token_type
        if following is TokenType.L_PAREN:
            if kind is TokenType.IDENTIFIER:
                continue
            if token.text.upper() in KNOWN_CALLS or kind is TokenType.ANY:
                if closing is None:
                    closing = closing_brackets(tokens)
                after = closing.get(index + 1, last) + 1
                parametric = after <= last and tokens[after].token_type is TokenType.L_PAREN
                if not parametric:
                    token.text += MARK
        elif kind is TokenType.NUMBER:
            if following is TokenType.DCOLON:
                # `0.1::Decimal(9, 1)` reads the digits as text; CAST(0.1 AS …) would go through a float.
                token.token_type = TokenType.STRING
        elif kind in _TYPE_TOKENS and _is_plain_name(kind, following):
            # A column called `map` or `point`; sqlglot takes `map.1` for a typed literal.
            token.token_type = TokenType.VAR
    return tokens


def _is_plain_name(kind: TokenType, following: TokenType) -> bool:
    if following is TokenType.NUMBER:
        return True
    return following is TokenType.STRING and kind not in _DATE_LITERALS


def settle(tree: exp.Expr) -> None:
    """Nodes whose printed form is not what was written."""
    for node in list(tree.find_all(exp.IntDiv, exp.If)):
        if isinstance(node, exp.IntDiv):
            node.replace(exp.Anonymous(this="intDiv", expressions=[node.this, node.expression]))
        elif not isinstance(node.parent, exp.Case):
            branches = [node.this, node.args.get("true"), node.args.get("false")]
            node.replace(exp.Anonymous(this="if", expressions=[b for b in branches if b is not None]))
