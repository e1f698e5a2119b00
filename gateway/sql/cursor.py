"""Walks the tokens of one statement: the small tool that our own statement grammars are written with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from gateway.core.decision import Refusal, RefusalCode
from gateway.core.statement import Wire
from gateway.sql.lexer import Token, TokenKind, position_at, tokens, unquote

T = TypeVar("T")
RULE = "sql-grammar"


class Unparsed(Exception):
    """The statement does not follow the grammar; carries the refusal to show."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Name:
    """A dotted name as written: unquoted values of its parts, and where it stands (character offsets)."""

    parts: tuple[str, ...]
    start: int
    end: int


class Cursor:
    """A position in the tokens of `text`. `take…` return whether, or what, they consumed; `need…` refuse."""

    __slots__ = ("_tokens", "dialect", "index", "text")

    def __init__(self, text: str, dialect: Wire, start: int = 0) -> None:
        self.text = text
        self.dialect = dialect
        self._tokens = list(tokens(text, dialect, start))
        while self._tokens and self._tokens[-1].is_symbol(";"):
            self._tokens.pop()
        self.index = 0

    @property
    def end(self) -> int:
        """Offset after the last token."""
        return self._tokens[-1].end if self._tokens else len(self.text)

    @property
    def offset(self) -> int:
        """Offset of the next token, or of the end."""
        token = self.peek()
        return token.start if token else self.end

    @property
    def behind(self) -> int:
        """Offset just after the token before this place."""
        return self._tokens[self.index - 1].end if self.index else 0

    def peek(self, ahead: int = 0) -> Token | None:
        at = self.index + ahead
        return self._tokens[at] if at < len(self._tokens) else None

    def at(self, *words: str) -> bool:
        """Whether the next tokens are exactly these keywords, in order."""
        return all(
            (token := self.peek(ahead)) is not None and token.is_word(word)
            for ahead, word in enumerate(words)
        )

    def take(self, *words: str) -> bool:
        """Consume these keywords if all of them come next."""
        if self.at(*words):
            self.index += len(words)
            return True
        return False

    def take_any(self, *words: str) -> str | None:
        """Consume one of these keywords; returns it in upper case."""
        token = self.peek()
        if token is not None and token.is_word(*words):
            self.index += 1
            return token.text.upper()
        return None

    def take_symbol(self, symbol: str) -> bool:
        token = self.peek()
        if token is not None and token.is_symbol(symbol):
            self.index += 1
            return True
        return False

    def need(self, *words: str) -> None:
        for word in words:
            if not self.take(word):
                raise self.unexpected(word)

    def need_symbol(self, symbol: str) -> None:
        if not self.take_symbol(symbol):
            raise self.unexpected(symbol)

    def take_string(self) -> Token | None:
        token = self.peek()
        if token is not None and token.kind is TokenKind.STRING:
            self.index += 1
            return token
        return None

    def need_string(self) -> Token:
        token = self.take_string()
        if token is None:
            raise self.unexpected("a string")
        return token

    def take_part(self) -> Token | None:
        """One part of a name: a word, a quoted name, or (ClickHouse) a word that starts with a digit."""
        token = self.peek()
        if token is not None and token.kind in (TokenKind.WORD, TokenKind.NAME):
            self.index += 1
            return token
        return None

    def name(self, most: int = 3) -> Name:
        """A dotted name of at most `most` parts."""
        first = self.take_part()
        if first is None:
            raise self.unexpected("a name")
        parts = [self._value(first)]
        end = first.end
        while self.take_symbol("."):
            part = self.take_part()
            if part is None:
                raise self.unexpected("a name")
            parts.append(self._value(part))
            end = part.end
        if len(parts) > most:
            raise self.refuse(f"A name may have at most {most} parts here.", first.start)
        return Name(tuple(parts), first.start, end)

    def listed(self, item: Callable[[], T]) -> list[T]:
        """One or more items, comma-separated."""
        found = [item()]
        while self.take_symbol(","):
            found.append(item())
        return found

    def skip_brackets(self) -> tuple[int, int]:
        """Consume a bracketed stretch; returns the offsets of what stands between the brackets."""
        opening = self.peek()
        if opening is None or not opening.is_symbol("("):
            raise self.unexpected("(")
        depth = 0
        while (token := self.peek()) is not None:
            self.index += 1
            if token.kind is TokenKind.SYMBOL:
                depth += (token.text in "([{") - (token.text in ")]}")
                if depth == 0:
                    return opening.end, token.start
        raise self.refuse("This bracket is never closed: ) is missing.", opening.start)

    def rest(self) -> tuple[int, int]:
        """Consume everything that is left; returns its offsets."""
        start = self.offset
        self.index = len(self._tokens)
        return start, self.end

    def finish(self) -> None:
        """Nothing may follow."""
        token = self.peek()
        if token is not None:
            raise self.refuse(f"Unexpected {_shown(token)} here: the statement should end.", token.start)

    def unexpected(self, wanted: str) -> Unparsed:
        token = self.peek()
        found = _shown(token) if token else "the end of the statement"
        return self.refuse(f"Expected {wanted}, found {found}.", self.offset)

    def refuse(self, message: str, offset: int, code: RefusalCode = RefusalCode.SYNTAX) -> Unparsed:
        return Unparsed(Refusal(code, message, position_at(self.text, offset), RULE))

    def _value(self, token: Token) -> str:
        return token.text if token.kind is TokenKind.WORD else unquote(token, self.dialect)


def _shown(token: Token) -> str:
    """The token for a message; literals are not repeated."""
    if token.kind in (TokenKind.STRING, TokenKind.NUMBER):
        return f"a {token.kind.value}"
    return token.text[:40]
