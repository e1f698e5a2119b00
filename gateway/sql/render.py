"""A parsed statement back to text, rebuilt from what was understood: never from the client's bytes."""

from __future__ import annotations

from gateway.core.statement import Wire
from gateway.sql.faithful import to_text
from gateway.sql.lexer import TokenKind, quote_name, quote_string, tokens, unquote
from gateway.sql.parse import Parsed
from gateway.sql.shape import Slot


def render(parsed: Parsed) -> str:
    """The statement's text. Raises sqlglot's UnsupportedError, or RecursionError."""
    if parsed.tree is not None:
        return to_text(parsed.tree, parsed.dialect)
    assert parsed.shape is not None
    pieces: list[str] = []
    for piece in parsed.shape.layout:
        if isinstance(piece, str):
            pieces.append(piece)
        elif isinstance(piece, Slot):
            inside = render(parsed.inner[piece.index].parsed)
            pieces.append(quote_string(inside, parsed.dialect) if piece.quoted else inside)
        else:
            pieces.append(canonical(parsed.text[piece[0] : piece[1]], parsed.dialect))
    return " ".join(filter(None, pieces))


def canonical(text: str, dialect: Wire) -> str:
    """A stretch of text token by token: comments gone, names and strings quoted the plain way."""
    out: list[str] = []
    end = -1
    for token in tokens(text, dialect):
        glued = (
            token.start == end and token.kind is not TokenKind.WORD and out and _sticks(out[-1], token.text)
        )
        if token.kind is TokenKind.NAME:
            piece = quote_name(unquote(token, dialect), dialect)
        elif token.kind is TokenKind.STRING:
            piece = quote_string(unquote(token, dialect), dialect)
        else:
            piece = token.text
        if glued:
            out[-1] += piece
        else:
            out.append(piece)
        end = token.end
    return " ".join(out)


def _sticks(left: str, right: str) -> bool:
    """Whether two touching tokens mean something else when they are parted: `X'AB'`, `U&'…'`, `t.1`."""
    return right[0] in ".'\"&" or left[-1] in ".&@"
