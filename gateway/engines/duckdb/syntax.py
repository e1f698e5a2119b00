"""Trino SQL text to a sqlglot tree, with exact places in the client's text.

sqlglot turns many function calls into nodes of its own, with reordered arguments. Here every call of a function
that we know keeps its name and its arguments: the tokens are renamed before parsing (`upper` at offset 7 becomes
`fn_7__upper`), so the parser sees a function it does not know, and the name carries the place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NoReturn

from sqlglot import exp
from sqlglot.dialects.trino import Trino
from sqlglot.errors import ParseError, SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from gateway.core.statement import Position
from gateway.engines.duckdb.failures import fail
from gateway.engines.duckdb.names import CALLABLE, UNKNOWN_TO_TRINO
from gateway.engines.duckdb.parts import unknown_part

MAX_TEXT = 1_000_000
MAX_DEPTH = 250

_MARK = re.compile(r"fn_(\d+)__(.+)", re.DOTALL)


class _Trino(Trino):
    INDEX_OFFSET = 0  # subscripts stay as written: sqlglot would count from 0, but only where it sees a type


_DIALECT = _Trino()
_COMMAND = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*\b(EXPLAIN|PREPARE|EXECUTE|SHOW|CALL|DEALLOCATE|GRANT|REVOKE|ANALYZE|RESET|START|DESCRIBE)\b",
    re.IGNORECASE | re.DOTALL,
)
_OPENING = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET})
_CLOSING = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET})
_LITERAL_PREFIXES = frozenset({"decimal", "char"})
_NOT_BEFORE_CALL = frozenset({TokenType.DOT, TokenType.TABLE, TokenType.INTO, TokenType.VIEW})


class Source:
    """One statement's text: tokens, and places in it."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_TEXT:
            fail("SYNTAX_ERROR", f"The statement has {len(text)} characters; the limit is {MAX_TEXT}")
        self.text = text
        self.tokens = self._tokenize(text)
        self._check_depth()

    def _tokenize(self, text: str) -> list[Token]:
        commands: list[Token] = []
        rest = text
        try:
            while found := _COMMAND.match(rest):
                # The tokenizer takes everything behind such a word as one string; hide the word from it.
                start, end = found.span(1)
                commands.append(
                    Token(TokenType.VAR, found[1], rest.count("\n", 0, start) + 1, end, start, end - 1)
                )
                rest = rest[:start] + " " * (end - start) + rest[end:]
            tokens = [*commands, *_DIALECT.tokenize(rest)]
        except SqlglotError as error:
            fail("SYNTAX_ERROR", f"The text cannot be split into words: {error}", Position(1, 1))
        while tokens and tokens[-1].token_type == TokenType.SEMICOLON:
            tokens.pop()
        return tokens

    def _check_depth(self) -> None:
        depth = 0
        for token in self.tokens:
            if token.token_type in _OPENING:
                depth += 1
                if depth > MAX_DEPTH:
                    fail(
                        "STACK_OVERFLOW",
                        f"Brackets are nested deeper than {MAX_DEPTH}",
                        self.place(token.start),
                    )
            elif token.token_type in _CLOSING:
                depth -= 1

    def place(self, offset: int) -> Position:
        """The line and column of a character offset."""
        line = self.text.count("\n", 0, offset) + 1
        return Position(line, offset - (self.text.rfind("\n", 0, offset) + 1) + 1)

    @property
    def end(self) -> Position:
        return self.place(len(self.text.rstrip().rstrip(";")))

    def words(self) -> list[str]:
        """Every token's text, lower case (strings keep their quotes off and their case)."""
        return [
            token.text if token.token_type == TokenType.STRING else token.text.lower()
            for token in self.tokens
        ]

    def after(self, index: int) -> Source:
        """The statement that begins at a token, with places still counted in the whole text."""
        rest = object.__new__(Source)
        rest.text, rest.tokens = self.text, self.tokens[index:]
        return rest

    @property
    def placeholders(self) -> list[int]:
        """The offsets of the question marks, in order."""
        return [token.start for token in self.tokens if token.token_type == TokenType.PLACEHOLDER]

    # -- parsing

    def parse(self) -> exp.Expr:
        """The tree of a query or of a statement that sqlglot knows. Raises TrinoFailure (SYNTAX_ERROR)."""
        if not self.tokens:
            fail("SYNTAX_ERROR", "mismatched input '<EOF>'. Expecting: <statement>", self.end)
        try:
            trees = _DIALECT.parser().parse(_mark_calls(self.tokens), self.text)
        except ParseError as error:
            self._syntax_error(error)
        except RecursionError:
            fail("STACK_OVERFLOW", "The statement is nested too deeply")
        if len(trees) != 1 or trees[0] is None:
            fail("SYNTAX_ERROR", "One statement at a time is accepted", self.place(self.tokens[0].start))
        tree = trees[0]
        if isinstance(tree, exp.Command):
            first = self.tokens[0]
            fail("SYNTAX_ERROR", f"mismatched input '{_unmarked(first.text)}'", self.place(first.start))
        _unmark(tree)
        if found := unknown_part(tree):
            node, part = found
            self._refuse_part(node, part)
        return tree

    def _refuse_part(self, node: exp.Expr, part: str) -> NoReturn:
        place = self.of(node)
        if part == "method":
            fail("NOT_SUPPORTED", "Natural join not supported", place)
        if part == "version":
            fail("NOT_SUPPORTED", "This connector does not support versioned tables", place)
        fail("NOT_SUPPORTED", f"The embedded engine has no {part.replace('_', ' ').upper()} here", place)

    def select_list(self, index: int) -> list[exp.Expr]:
        """The comma-separated expressions from a token on, parsed as a SELECT list."""
        first = self.tokens[index]
        select = Token(TokenType.SELECT, "SELECT", first.line, first.col, first.start, first.start)
        rest = self.after(index)
        rest.tokens = [select, *rest.tokens]
        tree = rest.parse()
        if not isinstance(tree, exp.Select) or tree.args.get("from_"):
            fail(
                "SYNTAX_ERROR",
                f"mismatched input '{first.text}'. Expecting: <expression>",
                self.place(first.start),
            )
        return list(tree.expressions)

    def _syntax_error(self, error: ParseError) -> NoReturn:
        for detail in error.errors:
            line, column = detail.get("line"), detail.get("col")
            word = _unmarked(str(detail.get("highlight") or ""))
            if line is None or column is None:
                continue
            offset = self._offset(int(line), int(column)) - max(len(word), 1) + 1
            wrong = self._token_at(max(offset, 0))
            if wrong is None or (wrong is self.tokens[-1] and wrong.token_type not in _CLOSING):
                break
            fail("SYNTAX_ERROR", f"mismatched input '{wrong.text}'", self.place(wrong.start))
        fail("SYNTAX_ERROR", "mismatched input '<EOF>'", self.end)

    def _offset(self, line: int, column: int) -> int:
        start = 0
        for _ in range(line - 1):
            start = self.text.find("\n", start) + 1
        return start + column - 1

    def _token_at(self, offset: int) -> Token | None:
        for token in self.tokens:
            if token.start <= offset <= token.end:
                return token
        return None

    # -- places of nodes

    def of(self, node: exp.Expr) -> Position | None:
        """Where a node begins, by the first name or literal inside that says so."""
        start = offset_of(node)
        return None if start is None else self.place(start)

    def before(self, node: exp.Expr, *words: str) -> Position | None:
        """Where the nearest call of one of `words` before a node begins: `CAST(` has no place of its own."""
        start = offset_of(node)
        found = None
        for index, token in enumerate(self.tokens[:-1]):
            if start is not None and token.start >= start:
                break
            if token.text.lower() in words and self.tokens[index + 1].token_type == TokenType.L_PAREN:
                found = token
        return self.of(node) if found is None else self.place(found.start)

    def operator(self, node: exp.Expr) -> Position | None:
        """Where the operator of a binary node stands: the first operator after its left side."""
        left = node.args.get("this")
        end = _end_of(left) if isinstance(left, exp.Expr) else None
        if end is None:
            return self.of(node)
        for token in self.tokens:
            if token.start > end and token.token_type not in _CLOSING:
                return self.place(token.start)
        return self.of(node)


def _mark_calls(tokens: Sequence[Token]) -> list[Token]:
    out: list[Token] = []
    for index, token in enumerate(tokens):
        follows = tokens[index + 1] if index + 1 < len(tokens) else None
        name = token.text.lower()
        previous = tokens[index - 1].token_type if index else None
        if token.token_type == TokenType.PLACEHOLDER:
            out += [_renamed(token, "parameter"), _bracket(token, "("), _bracket(token, ")")]
        elif follows is None or previous in _NOT_BEFORE_CALL or token.token_type == TokenType.IDENTIFIER:
            out.append(token)
        elif follows.token_type == TokenType.L_PAREN and _is_call(token, name, previous):
            out.append(_renamed(token, name))
        elif follows.token_type == TokenType.STRING and name in _LITERAL_PREFIXES:
            out += [_renamed(token, f"{name}_literal"), _bracket(token, "(")]
        elif token.token_type == TokenType.STRING and previous is not None and _literal_opened(tokens, index):
            out += [token, _bracket(token, ")")]
        else:
            out.append(token)
    if tokens and tokens[-1].token_type == TokenType.STRING and _literal_opened(tokens, len(tokens) - 1):
        out.append(_bracket(tokens[-1], ")"))
    return out


def _is_call(token: Token, name: str, previous: TokenType | None) -> bool:
    if name == "filter" and previous in _CLOSING:
        return False  # `count(*) FILTER (…)` is a clause, `filter(a, x -> …)` a function
    return name in CALLABLE or (token.token_type == TokenType.VAR and name in UNKNOWN_TO_TRINO)


def _literal_opened(tokens: Sequence[Token], index: int) -> bool:
    return index > 0 and tokens[index - 1].text.lower() in _LITERAL_PREFIXES


def _renamed(token: Token, name: str) -> Token:
    return Token(TokenType.VAR, f"fn_{token.start}__{name}", token.line, token.col, token.start, token.end)


def _bracket(token: Token, text: str) -> Token:
    kind = TokenType.L_PAREN if text == "(" else TokenType.R_PAREN
    return Token(kind, text, token.line, token.col, token.end, token.end)


def _unmarked(text: str) -> str:
    found = _MARK.fullmatch(text)
    return found[2] if found else text


def _unmark(tree: exp.Expr) -> None:
    """Names that only looked like calls (`AS count (a, b)`) get their text back."""
    for node in tree.find_all(exp.Identifier):
        node.set("this", _unmarked(node.this))


def call_of(node: exp.Anonymous) -> tuple[str, int | None]:
    """The name of a call, lower case, and its offset in the text."""
    found = _MARK.fullmatch(node.name)
    return (found[2], int(found[1])) if found else (node.name.lower(), node.meta.get("start"))


def offset_of(node: exp.Expr) -> int | None:
    """The least offset of the names and literals of a node."""
    starts: list[int] = []
    for inner in node.walk():
        if isinstance(inner, exp.Anonymous):
            start = call_of(inner)[1]
        else:
            start = inner.meta.get("start") if inner.meta else None
        if start is not None:
            starts.append(start)
    return min(starts) if starts else None


def _end_of(node: exp.Expr) -> int | None:
    ends = [inner.meta["end"] for inner in node.walk() if inner.meta and "end" in inner.meta]
    return max(ends) if ends else None


def identifier(node: exp.Expr | None) -> str | None:
    """The text of a name, as written."""
    return None if node is None else node.name
