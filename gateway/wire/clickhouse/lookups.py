"""Query ids inside statements: KILL QUERY, and look-ups in system tables, by the id that the client knows.

Everything works on tokens, never by searching text. A query that reads a log of the system as a whole table gets
it with the principal's tag (`ids.py`) taken off its ids, so that it compares and shows what the client knows. In
any other shape, and in KILL QUERY, the literals compared with `query_id` are put under the tag.
KILL QUERY is accepted in the one form that names ids, because engines often know many principals as one user,
and a condition like `user = 'gateway'` would stop everybody's queries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from gateway.core.statement import Pairs, Wire
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

_SHOWN = {
    "query_log": ("query_id", "initial_query_id"),
    "processes": ("query_id", "initial_query_id"),
    "query_thread_log": ("query_id", "initial_query_id"),
}
"""Id columns of the tables that clients look their queries up in (system.columns of 26.7)."""

_AFTER_TABLE = frozenset(
    {
        *("WHERE", "PREWHERE", "GROUP", "ORDER", "LIMIT", "OFFSET", "FETCH", "FORMAT", "SETTINGS", "HAVING"),
        *("UNION", "EXCEPT", "INTERSECT", "QUALIFY", "WINDOW", "INTO"),
    }
)
"""What may follow a table that has no alias, where nothing else of the syntax belongs to the table."""


def mentions_ids(text: str) -> bool:
    """Whether `translate` could change or refuse this text: a quick look that may be wrong only by saying yes."""
    return "query_id" in text or "kill" in text.lower()


def killed_ids(text: str, parameters: Pairs = ()) -> list[str] | None:
    """The ids, as the client knows them, that a KILL QUERY names; None if the text is no KILL QUERY.

    `parameters` are the request's, for `query_id = {id:String}`.
    Raises WireError for a KILL QUERY of any other form, wherever in the text it stands.
    """
    found = _folded(text, parameters)
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


def translate(text: str, namespace: Namespace, database: str | None, parameters: Pairs = ()) -> str:
    """The text with the ids it compares put under the namespace, where it kills or reads a system table.

    A `{name:String}` that is compared becomes a literal.
    """
    found = _folded(text, parameters)
    if len(found) > 1 and found[0].is_word("KILL") and found[1].is_word("QUERY"):
        return _with_literals(text, found, namespace)
    if not _reads_log(found, database):
        return text
    tables = _whole_tables(found)
    if tables is None:
        return _with_literals(text, found, namespace)
    return _replaced(text, [(at, end, _untagged(name, bare, namespace)) for at, end, name, bare in tables])


def _with_literals(text: str, found: list[Token], namespace: Namespace) -> str:
    def inside(token: Token) -> str:
        return quote_string(namespace.inside(unquote(token, Wire.CLICKHOUSE)), Wire.CLICKHOUSE)

    return _replaced(text, [(token.start, token.end, inside(token)) for token in _compared(found)])


def _replaced(text: str, parts: list[tuple[int, int, str]]) -> str:
    out: list[str] = []
    at = 0
    for start, end, new in parts:
        out += (text[at:start], new)
        at = end
    return "".join(out) + text[at:]


def _whole_tables(found: list[Token]) -> list[tuple[int, int, str, bool]] | None:
    """(start, end, table, has no alias) of each `FROM system.<log>`; None where a log is used in any other way."""
    tables: list[tuple[int, int, str, bool]] = []
    for at, token in enumerate(found):
        if _plain(token) not in _LOGS or at == 0 or not found[at - 1].is_symbol("."):
            continue
        before = found[max(0, at - 3) : at]
        after = found[at + 1] if at + 1 < len(found) else None
        whole = (
            len(before) == 3
            and before[0].is_word("FROM")
            and _plain(before[1]) == "system"
            and _plain(token) in _SHOWN
        )
        bare = after is None or after.text in (")", ";") or after.is_word(*_AFTER_TABLE)
        if not whole or not (bare or (after is not None and after.is_word("AS"))):
            return None
        tables.append((before[1].start, token.end, _plain(token), bare))
    return tables or None


def _untagged(table: str, needs_alias: bool, namespace: Namespace) -> str:
    """The table as a subquery that shows the principal's own ids without the tag."""
    prefix = quote_string(namespace.prefix, Wire.CLICKHOUSE)
    cut = len(namespace.prefix) + 1
    shown = ", ".join(
        f"if(startsWith({name}, {prefix}), substring({name}, {cut}), {name}) AS {name}"
        for name in _SHOWN[table]
    )
    alias = f" AS {table}" if needs_alias else ""
    return f"(SELECT * REPLACE ({shown}) FROM system.{table}){alias}"  # noqa: S608 - constants and a hex tag


def _bounded(text: str) -> Iterator[Token]:
    for number, token in enumerate(tokens(text, Wire.CLICKHOUSE)):
        if number >= _MAX_TOKENS:
            return
        yield token


def _folded(text: str, parameters: Pairs) -> list[Token]:
    """Tokens in which `{name:String}` of a known parameter is the string that it stands for."""
    found = list(_bounded(text))
    if not parameters or "{" not in text:
        return found
    values = dict(parameters)
    out: list[Token] = []
    at = 0
    while at < len(found):
        five = found[at : at + 5]
        value = _substituted(five, values)
        if value is None:
            out.append(found[at])
            at += 1
        else:
            literal = quote_string(value, Wire.CLICKHOUSE)
            out.append(replace(five[0], kind=TokenKind.STRING, text=literal, end=five[4].end))
            at += 5
    return out


def _substituted(five: list[Token], values: dict[str, str]) -> str | None:
    """The value of `{ name : String }`; None where it is something else or has escapes."""
    if len(five) < 5 or [five[i].text for i in (0, 2, 3, 4)] != ["{", ":", "String", "}"]:
        return None
    value = values.get(five[1].text)
    return None if value is None or "\\" in value else value


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
