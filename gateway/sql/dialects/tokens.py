"""Keeps function calls as written.

sqlglot turns calls that it knows into nodes of its own and prints those in its own spelling: `rand()` of
ClickHouse comes back as `randCanonical()`, `currentDatabase()` as `CURRENT_DATABASE()`. A gateway must hand
on what it was given. The compiled parser cannot be subclassed, so the tokens are amended before parsing: a
function's name gets a mark that no statement can contain, which makes it unknown to sqlglot, and
`unmark` takes the mark off the tree. The calls stay as `exp.Anonymous` with their own names.
"""

from __future__ import annotations

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

MARK = "\0"
"""The guard refuses it in statements."""

OPERAND_ENDS = frozenset(
    {
        TokenType.NUMBER,
        TokenType.STRING,
        TokenType.VAR,
        TokenType.IDENTIFIER,
        TokenType.R_PAREN,
        TokenType.R_BRACKET,
        TokenType.R_BRACE,
        TokenType.HEREDOC_STRING,
    }
)
"""After one of these a `-` is binary."""


def closing_brackets(tokens: list[Token]) -> dict[int, int]:
    """Index of each opening round bracket -> index of the one that closes it."""
    pairs: dict[int, int] = {}
    stack: list[int] = []
    for index, token in enumerate(tokens):
        if token.token_type is TokenType.L_PAREN:
            stack.append(index)
        elif token.token_type is TokenType.R_PAREN and stack:
            pairs[stack.pop()] = index
    return pairs


def like(token: Token, kind: TokenType, text: str) -> Token:
    """A token of ours at another's place."""
    return Token(kind, text, token.line, token.col, token.start, token.end)


def unmark(tree: exp.Expr) -> None:
    """Take the marks off every name in the tree."""
    for node in tree.walk():
        name = node.args.get("this")
        if isinstance(name, str) and name.endswith(MARK) and not isinstance(node, exp.Literal):
            node.set("this", name[:-1])
