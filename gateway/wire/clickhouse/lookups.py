"""Query ids inside statements: KILL QUERY, and look-ups in system tables, by the id that the client knows.

Literals compared with `query_id` are put under the principal's tag (`ids.py`), by tokens, not by searching text.
KILL QUERY is accepted in the one form that names ids, because engines often know many principals as one user,
and a condition like `user = 'gateway'` would stop everybody's queries.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from gateway.core.statement import Wire
from gateway.sql.lexer import Token, TokenKind, quote_string, tokens, unquote
from gateway.wire.clickhouse.errors import ACCESS_DENIED, WireError
from gateway.wire.clickhouse.ids import Namespace

_ID_COLUMNS = frozenset({"query_id", "initial_query_id"})
_COMPARISONS = frozenset({"=", "==", "!=", "<>"})
_LOGS = frozenset(
    {
        "processes",
        "query_log",
        "query_thread_log",
        "query_views_log",
        "query_metric_log",
        "processors_profile_log",
        "trace_log",
        "text_log",
        "part_log",
        "session_log",
        "asynchronous_insert_log",
        "opentelemetry_span_log",
        "crash_log",
        "zookeeper_log",
        "backup_log",
        "blob_storage_log",
        "s3queue_log",
        "filesystem_cache_log",
        "asynchronous_inserts",
    }
)
_MAX_TOKENS = 5000


def mentions_ids(text: str) -> bool:
    """Whether `translate` could change or refuse this text: a quick look that may be wrong only by saying yes."""
    return "query_id" in text or "kill" in text.lower()


def killed_ids(text: str) -> list[str] | None:
    """The ids, as the client knows them, that a KILL QUERY names; None if the text is no KILL QUERY.

    Raises WireError for a KILL QUERY of any other form, wherever in the text it stands.
    """
    found = list(_bounded(text))
    if not any(a.is_word("KILL") and b.is_word("QUERY") for a, b in pairwise(found)):
        return None
    ids = _kill_ids(found)
    if ids is None:
        raise WireError(
            ACCESS_DENIED,
            "KILL QUERY is accepted only as KILL QUERY WHERE query_id = '…' (or IN ('…', …)) "
            "[SYNC | ASYNC | TEST], for queries of your own",
        )
    return [unquote(token, Wire.CLICKHOUSE) for token in ids]


def translate(text: str, namespace: Namespace, database: str | None) -> str:
    """The text with the ids it compares put under the namespace, where it kills or reads a system table."""
    found = list(_bounded(text))
    killing = len(found) > 1 and found[0].is_word("KILL") and found[1].is_word("QUERY")
    if not killing and not _reads_log(found, database):
        return text
    out: list[str] = []
    at = 0
    for token in _compared(found):
        value = namespace.inside(unquote(token, Wire.CLICKHOUSE))
        out += (text[at : token.start], quote_string(value, Wire.CLICKHOUSE))
        at = token.end
    return "".join(out) + text[at:]


def _bounded(text: str) -> Iterator[Token]:
    for number, token in enumerate(tokens(text, Wire.CLICKHOUSE)):
        if number >= _MAX_TOKENS:
            return
        yield token


def _kill_ids(found: list[Token]) -> list[Token] | None:
    """The id literals of `KILL QUERY [ON CLUSTER c] WHERE query_id = '…' [SYNC|ASYNC|TEST] [FORMAT f] [;]`."""
    rest = found[2:]
    if len(found) >= 2 and not (found[0].is_word("KILL") and found[1].is_word("QUERY")):
        return None
    if len(rest) > 2 and rest[0].is_word("ON") and rest[1].is_word("CLUSTER"):
        rest = rest[3:]
    if len(rest) < 4 or not rest[0].is_word("WHERE") or not _names_id(rest[1]):
        return None
    ids, rest = _literals(rest[2:])
    if ids and rest and rest[0].is_word("SYNC", "ASYNC", "TEST"):
        rest = rest[1:]
    if len(rest) >= 2 and rest[0].is_word("FORMAT") and rest[1].kind is TokenKind.WORD:
        rest = rest[2:]
    if rest and rest[0].is_symbol(";"):
        rest = rest[1:]
    return ids if ids and not rest else None


def _literals(rest: list[Token]) -> tuple[list[Token], list[Token]]:
    """The literals after `query_id`: `= '…'` or `IN ('…', …)`, and what follows."""
    if len(rest) > 1 and rest[0].text in ("=", "==") and rest[1].kind is TokenKind.STRING:
        return [rest[1]], rest[2:]
    if len(rest) > 3 and rest[0].is_word("IN") and rest[1].is_symbol("("):
        ids: list[Token] = []
        at = 2
        while at + 1 < len(rest) and rest[at].kind is TokenKind.STRING:
            ids.append(rest[at])
            if rest[at + 1].is_symbol(")"):
                return ids, rest[at + 2 :]
            if not rest[at + 1].is_symbol(","):
                break
            at += 2
    return [], rest


def _names_id(token: Token) -> bool:
    if token.kind is TokenKind.WORD:
        return token.text in _ID_COLUMNS
    return token.kind is TokenKind.NAME and unquote(token, Wire.CLICKHOUSE) in _ID_COLUMNS


def _reads_log(found: list[Token], database: str | None) -> bool:
    if database == "system":
        return any(_plain(token) in _LOGS for token in found)
    triples = zip(found, found[1:], found[2:], strict=False)
    return any(_plain(a) == "system" and b.is_symbol(".") and _plain(c) in _LOGS for a, b, c in triples)


def _plain(token: Token) -> str:
    if token.kind is TokenKind.WORD:
        return token.text
    return unquote(token, Wire.CLICKHOUSE) if token.kind is TokenKind.NAME else ""


def _compared(found: list[Token]) -> Iterator[Token]:
    """String literals that the text compares with an id column, in order."""
    for at, token in enumerate(found):
        if token.kind is not TokenKind.STRING:
            continue
        before = found[max(0, at - 2) : at]
        after = found[at + 1 : at + 5]
        if (
            (len(before) == 2 and _is_comparison(before[1]) and _names_id(before[0]))
            or (after and _is_comparison(after[0]) and _ends_with_id(after[1:]))
            or _inside_id_list(found, at)
        ):
            yield token


def _is_comparison(token: Token) -> bool:
    return token.text in _COMPARISONS or token.is_word("LIKE", "ILIKE", "IN")


def _ends_with_id(following: list[Token]) -> bool:
    """`'…' = query_id` or `'…' = q.query_id`."""
    if not following:
        return False
    if len(following) >= 3 and following[1].is_symbol("."):
        return _names_id(following[2])
    return _names_id(following[0])


def _inside_id_list(found: list[Token], at: int) -> bool:
    """Whether the literal is in the list of `query_id [NOT] IN (…)`, `[…]` brackets alike."""
    back = at - 1
    while back >= 0 and (found[back].is_symbol(",") or found[back].kind is TokenKind.STRING):
        back -= 1
    if back < 2 or not (found[back].is_symbol("(") or found[back].is_symbol("[")):
        return False
    if not found[back - 1].is_word("IN"):
        return False
    name = found[back - 2]
    if name.is_word("NOT") and back >= 3:
        name = found[back - 3]
    return _names_id(name)
