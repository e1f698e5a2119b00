"""What Trino's tokens need before sqlglot's parser reads them faithfully. Each item has a fixture case."""

from __future__ import annotations

import re

from sqlglot import exp
from sqlglot.dialects.trino import Trino
from sqlglot.parsers.trino import TrinoParser
from sqlglot.tokenizer_core import Token, TokenType

from gateway.sql.dialects.tokens import MARK, Unfaithful, like, untype_calls

_SPECIAL = frozenset(
    [
        "AND",
        "OR",
        "EXISTS",
        "ANY",
        "ALL",
        "LIKE",
        "ROW",
        "CAST",
        "TRY_CAST",
        "EXTRACT",
        "TRIM",
        "SUBSTRING",
        "POSITION",
        "NORMALIZE",
        "LISTAGG",
        "JSON_OBJECT",
        "JSON_OBJECTAGG",
        "JSON_QUERY",
        "JSON_VALUE",
        "JSON_TABLE",
        "COLUMNS",
        "UNNEST",
    ]
)
"""Calls with a syntax of their own; sqlglot reads and prints these right."""

KNOWN_CALLS = frozenset({*TrinoParser.FUNCTIONS, *TrinoParser.FUNCTION_PARSERS, "IF", "ANY"}) - _SPECIAL
_NOW = frozenset(
    {TokenType.CURRENT_TIMESTAMP, TokenType.CURRENT_TIME, TokenType.LOCALTIME, TokenType.LOCALTIMESTAMP}
)
_TYPE_TOKENS = frozenset(TrinoParser.TYPE_TOKENS) - {TokenType.INTERVAL}
_CHARS = frozenset({TokenType.CHAR, TokenType.NCHAR})
_FOREIGN = frozenset({TokenType.AMP, TokenType.PIPE, TokenType.CARET, TokenType.TILDE, TokenType.DCOLON})
"""Operators that Trino lacks and sqlglot would turn into calls or casts."""
_SESSION_WORDS = frozenset({"current_schema", "current_path"})


class GatewayTrino(Trino):
    """Trino as the gateway reads and writes it."""


def amend(tokens: list[Token], text: str) -> list[Token]:
    """The tokens to parse instead; they keep the places of the text."""
    untype_calls(tokens, _TYPE_TOKENS)
    out: list[Token] = []
    for index, token in enumerate(tokens):
        following = tokens[index + 1] if index + 1 < len(tokens) else None
        kind = token.token_type
        if kind in _FOREIGN:
            raise Unfaithful(f"{token.text} is not an operator of Trino.", token.start)
        if following is None:
            out.append(token)
        elif following.token_type is TokenType.L_PAREN:
            if kind in _NOW:
                token.token_type = TokenType.VAR
                token.text += MARK
            elif kind is not TokenType.IDENTIFIER and token.text.upper() in KNOWN_CALLS:
                token.text += MARK
            out.append(token)
        elif following.token_type is TokenType.STRING:
            out.append(token)
            out.extend(_literal_parameters(token, following.text))
        else:
            out.append(token)
    return out


def _literal_parameters(token: Token, value: str) -> list[Token]:
    """`DECIMAL '1.10'` is a decimal(3, 2) and `CHAR 'abc'` a char(3): give the type its parameters."""
    if token.token_type is TokenType.DECIMAL:
        digits = value.strip().lstrip("+-").lower()
        if not re.fullmatch(r"\d*\.?\d*", digits):
            return []
        whole, _, scale = digits.partition(".")
        whole = whole.lstrip("0")
        return _parenthesised(token, [max(len(whole) + len(scale), 1), len(scale)])
    if token.token_type in _CHARS:
        return _parenthesised(token, [len(value)])
    return []


def _parenthesised(token: Token, numbers: list[int]) -> list[Token]:
    inside = [like(token, TokenType.NUMBER, str(number)) for number in numbers]
    if len(inside) == 2:
        inside.insert(1, like(token, TokenType.COMMA, ","))
    return [like(token, TokenType.L_PAREN, "("), *inside, like(token, TokenType.R_PAREN, ")")]


def settle(tree: exp.Expr) -> exp.Expr:
    """Mend nodes whose printed form is not what was written; returns the root."""
    for column in list(tree.find_all(exp.Column)):
        name = column.this
        bare = isinstance(name, exp.Identifier) and not name.quoted and not column.args.get("table")
        if bare and name.name.lower() in _SESSION_WORDS:
            replacement = exp.Var(this=name.name)
            if column is tree:
                return replacement
            column.replace(replacement)
    return tree
