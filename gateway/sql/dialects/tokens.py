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


class Unfaithful(Exception):
    """Something that sqlglot would change silently; `offset` is its place in the text."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


class TooDeep(Exception):
    """Types are nested deeper than the parser can read in reasonable time."""


MAX_TYPE_DEPTH = 8
_BEFORE_TYPE = frozenset(
    {
        TokenType.VAR,
        TokenType.IDENTIFIER,
        TokenType.ALIAS,
        TokenType.DCOLON,
        TokenType.DOTCOLON,
        TokenType.COLON,
    }
)
_INSIDE = frozenset({TokenType.L_PAREN, TokenType.COMMA})


def untype_calls(tokens: list[Token], types: frozenset[TokenType]) -> None:
    """Make names of calls such as `date(…)` and `row(…)` plain words where they cannot be types.

    sqlglot tries each first as a type, then as a call: nested calls cost it exponential time. Where a type
    may stand (`CAST(x AS …)`, `x::…`, a column's definition) the nesting is bounded instead. Raises TooDeep.
    """
    depths: list[int] = [0]
    """For each open bracket, how many type brackets it is inside; 0 where an expression may stand."""
    before = TokenType.SENTINEL
    for index, token in enumerate(tokens):
        kind = token.token_type
        if kind is TokenType.L_PAREN:
            opener = tokens[index - 1] if index else None
            named = opener is not None and opener.token_type in types
            depths.append(depths[-1] + 1 if named else 0)
            if depths[-1] > MAX_TYPE_DEPTH:
                raise TooDeep
        elif kind is TokenType.R_PAREN:
            if len(depths) > 1:
                depths.pop()
        elif kind in types and index + 1 < len(tokens):
            may_be_type = before in _BEFORE_TYPE or (before in _INSIDE and depths[-1] > 0)
            if not may_be_type and tokens[index + 1].token_type is TokenType.L_PAREN:
                token.token_type = TokenType.VAR
        before = kind
