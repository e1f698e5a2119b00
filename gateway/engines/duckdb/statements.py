"""Every kind of statement: found by its first words, analysed into `Work`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn, Protocol
from urllib.parse import quote_plus

import duckdb
from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from gateway.engines.duckdb import changes, explain, listings
from gateway.engines.duckdb.catalog import Catalogs
from gateway.engines.duckdb.expressions import Parameter
from gateway.engines.duckdb.failures import fail
from gateway.engines.duckdb.queries import Queries
from gateway.engines.duckdb.scope import Scope
from gateway.engines.duckdb.session import Session, checked_zone, encode_prepared
from gateway.engines.duckdb.syntax import Source
from gateway.engines.duckdb.virtual import VirtualTables
from gateway.engines.duckdb.work import Act, Known, Select, Work

_QUERY_WORDS = frozenset({"select", "with", "values", "table", "("})
_EXPECTED = (
    "'ALTER', 'ANALYZE', 'CALL', 'COMMENT', 'COMMIT', 'CREATE', 'DEALLOCATE', 'DELETE', 'DESC', 'DESCRIBE', 'DROP', "
    "'EXECUTE', 'EXPLAIN', 'INSERT', 'MERGE', 'PREPARE', 'RESET', 'ROLLBACK', 'SET', 'SHOW', 'START', 'TRUNCATE', "
    "'UPDATE', 'USE', 'WITH', <query>"
)


class Transactions(Protocol):
    """What statements may do to transactions; the engine implements it."""

    def begin(self, session: Session, *, read_only: bool) -> str: ...
    def commit(self, session: Session) -> None: ...
    def rollback(self, session: Session) -> None: ...
    def kill(self, query_id: str, message: str | None) -> None: ...


class Analysis:
    """One statement of one session. `connection` sees what the statement may see."""

    def __init__(
        self,
        session: Session,
        connection: duckdb.DuckDBPyConnection,
        catalogs: Catalogs,
        virtual: VirtualTables,
        transactions: Transactions,
        parameters: tuple[Parameter, ...] = (),
    ) -> None:
        self.session = session
        self.connection = connection
        self.catalogs = catalogs
        self.virtual = virtual
        self.transactions = transactions
        self.parameters = parameters

    def queries(self, source: Source) -> Queries:
        return Queries(source, self.session, self.catalogs, self.virtual, self.parameters)

    def work(self, source: Source) -> Work:
        """What to do. Raises TrinoFailure."""
        words = source.words()
        if not words:
            fail("SYNTAX_ERROR", f"mismatched input '<EOF>'. Expecting: {_EXPECTED}", source.end)
        if words[0] in _QUERY_WORDS:
            return Select(self.queries(source).top(source.parse()))
        handler = _STATEMENTS.get(words[0])
        if handler is None:
            first = source.tokens[0]
            fail(
                "SYNTAX_ERROR",
                f"mismatched input '{first.text}'. Expecting: {_EXPECTED}",
                source.place(first.start),
            )
        return handler(self, source, words)


_Statement = Callable[[Analysis, Source, list[str]], Work]
_STATEMENTS: dict[str, _Statement] = {}


def _statement(*words: str) -> Callable[[_Statement], _Statement]:
    def register(handler: _Statement) -> _Statement:
        for word in words:
            _STATEMENTS[word] = handler
        return handler

    return register


def syntax_error(source: Source, index: int, expecting: str = "") -> NoReturn:
    """Fail at a token, or at the end."""
    suffix = f". Expecting: {expecting}" if expecting else ""
    if index >= len(source.tokens):
        fail("SYNTAX_ERROR", f"mismatched input '<EOF>'{suffix}", source.end)
    token = source.tokens[index]
    fail("SYNTAX_ERROR", f"mismatched input '{token.text}'{suffix}", source.place(token.start))


# -- listings


@_statement("show", "describe", "desc")
def _show(analysis: Analysis, source: Source, words: list[str]) -> Work:
    if words[0] != "show":
        if words[1:2] in (["input"], ["output"]):
            return _describe_prepared(analysis, source, words)
        return listings.columns(analysis, source, 1)
    return listings.show(analysis, source, words)


def _describe_prepared(analysis: Analysis, source: Source, words: list[str]) -> Work:
    if len(words) != 3:
        syntax_error(source, 2, "<identifier>")
    prepared = _prepared(analysis, source.tokens[2].text)
    inner = Source(prepared)
    count = sum(1 for token in inner.tokens if token.token_type == TokenType.PLACEHOLDER)
    if words[1] == "input":
        return listings.described_input(count)
    unknown = tuple(Parameter(exp.Null(), inner) for _ in range(count))
    nested = Analysis(
        analysis.session,
        analysis.connection,
        analysis.catalogs,
        analysis.virtual,
        analysis.transactions,
        unknown,
    )
    return listings.described_output(nested.work(inner))


@_statement("explain")
def _explain(analysis: Analysis, source: Source, words: list[str]) -> Work:
    return explain.explain(analysis, source, words)


# -- session


@_statement("use")
def _use(analysis: Analysis, source: Source, words: list[str]) -> Work:
    parts = listings.name_parts(source, 1)
    if not 1 <= len(parts) <= 2:
        syntax_error(source, 1, "<identifier>")
    catalog = parts[0].lower() if len(parts) == 2 else analysis.session.catalog
    schema = parts[-1].lower()
    if catalog is None:
        fail("MISSING_CATALOG_NAME", "Catalog must be specified when session catalog is not set")
    if catalog not in analysis.virtual.catalogs(analysis.catalogs):
        fail("CATALOG_NOT_FOUND", f"Catalog '{catalog}' not found")
    if schema not in analysis.virtual.schemas(analysis.catalogs, catalog):
        fail("NOT_FOUND", f"Schema does not exist: {catalog}.{schema}")
    headers = (("X-Trino-Set-Catalog", catalog), ("X-Trino-Set-Schema", schema))
    return Known(update_type="USE", headers=headers if len(parts) == 2 else headers[1:])


@_statement("set")
def _set(analysis: Analysis, source: Source, words: list[str]) -> Work:
    if words[1:3] == ["time", "zone"]:
        return _set_time_zone(source, words)
    if words[1:2] == ["role"]:
        name = words[2] if len(words) > 2 else ""
        if name not in ("all", "none"):
            fail("ROLE_NOT_FOUND", f"Role '{name}' does not exist", source.place(source.tokens[0].start))
        catalog = words[4] if words[3:4] == ["in"] else "system"
        return Known(update_type="SET ROLE", headers=(("X-Trino-Set-Role", f"{catalog}={name.upper()}"),))
    if words[1:2] == ["path"]:
        fail("NOT_SUPPORTED", "SET PATH is not supported by the embedded engine")
    if words[1:3] == ["session", "authorization"]:
        fail(
            "PERMISSION_DENIED",
            "The embedded engine does not change users; connect as the user you want to be",
        )
    if words[1:2] != ["session"]:
        syntax_error(source, 1, "'PATH', 'ROLE', 'SESSION', 'TIME'")
    return _set_session(analysis, source, words)


def _set_session(analysis: Analysis, source: Source, words: list[str]) -> Work:
    equals = words.index("=") if "=" in words else len(words)
    name = ".".join(word for word in words[2:equals] if word != ".")
    if equals + 1 >= len(words):
        syntax_error(source, len(words), "<expression>")
    listings.check_property(analysis, name, source)
    value = analysis.queries(source).expression(_expressions(source, equals + 1)[0], Scope())
    literal = value.literal
    if literal is None:
        literal = _constant(analysis, value.sql)
    shown = str(literal).lower() if isinstance(literal, bool) else str(literal)
    return Known(update_type="SET SESSION", headers=(("X-Trino-Set-Session", f"{name}={quote_plus(shown)}"),))


def _constant(analysis: Analysis, sql: str) -> object:
    row = analysis.connection.execute(f"SELECT CAST({sql} AS VARCHAR)").fetchone()
    return None if row is None else row[0]


def _set_time_zone(source: Source, words: list[str]) -> Work:
    if words[3:] == ["local"]:
        return Known(update_type="SET TIME ZONE", headers=(("X-Trino-Set-Session", "time_zone_id="),))
    if len(words) != 4 or source.tokens[3].token_type != TokenType.STRING:
        fail("NOT_SUPPORTED", "SET TIME ZONE takes LOCAL or a literal in the embedded engine")
    zone = checked_zone(words[3])
    return Known(
        update_type="SET TIME ZONE", headers=(("X-Trino-Set-Session", f"time_zone_id={quote_plus(zone)}"),)
    )


@_statement("reset")
def _reset(analysis: Analysis, source: Source, words: list[str]) -> Work:
    if words[1:2] != ["session"] or len(words) < 3:
        syntax_error(source, 1, "'SESSION'")
    name = ".".join(word for word in words[2:] if word != ".")
    listings.check_property(analysis, name, source)
    return Known(update_type="RESET SESSION", headers=(("X-Trino-Clear-Session", name),))


# -- prepared statements


def _prepared(analysis: Analysis, name: str) -> str:
    found = analysis.session.prepared.get(name) or analysis.session.prepared.get(name.lower())
    if found is None:
        fail("NOT_FOUND", f"Prepared statement not found: {name}")
    return found


@_statement("prepare")
def _prepare(analysis: Analysis, source: Source, words: list[str]) -> Work:
    if len(words) < 4 or words[2] != "from":
        syntax_error(source, min(2, len(words)), "'FROM'")
    inner = source.text[source.tokens[3].start :].rstrip().rstrip(";")
    if words[3] in ("prepare", "execute", "deallocate"):
        fail("NOT_SUPPORTED", f"Invalid statement type for prepared statement: {words[3].upper()}")
    if words[3] in _QUERY_WORDS or words[3] in ("insert", "delete", "update", "create", "merge", "drop"):
        Source(inner).parse()
    header = ("X-Trino-Added-Prepare", encode_prepared(_identifier(source.tokens[1].text), inner))
    return Known(update_type="PREPARE", headers=(header,))


def _identifier(text: str) -> str:
    return text.lower()


@_statement("execute")
def _execute(analysis: Analysis, source: Source, words: list[str]) -> Work:
    if len(words) < 2:
        syntax_error(source, 1, "'IMMEDIATE', <identifier>")
    immediate = words[1] == "immediate" and len(words) > 2 and source.tokens[2].token_type == TokenType.STRING
    rest = 3 if immediate else 2
    prepared = source.tokens[2].text if immediate else _prepared(analysis, source.tokens[1].text)
    parameters: tuple[Parameter, ...] = ()
    if len(words) > rest:
        if words[rest] != "using":
            syntax_error(source, rest, "'USING', <EOF>")
        parameters = tuple(Parameter(node, source) for node in _expressions(source, rest + 1))
    nested = Analysis(
        analysis.session,
        analysis.connection,
        analysis.catalogs,
        analysis.virtual,
        analysis.transactions,
        parameters,
    )
    return nested.work(Source(prepared))


def _expressions(source: Source, index: int) -> list[exp.Expr]:
    """The comma-separated expressions from a token on."""
    if index >= len(source.tokens):
        syntax_error(source, index, "<expression>")
    return source.select_list(index)


@_statement("deallocate")
def _deallocate(analysis: Analysis, source: Source, words: list[str]) -> Work:
    if words[1:2] != ["prepare"] or len(words) != 3:
        syntax_error(source, 1, "'PREPARE'")
    name = source.tokens[2].text
    _prepared(analysis, name)
    return Known(
        update_type="DEALLOCATE", headers=(("X-Trino-Deallocated-Prepare", quote_plus(name.lower())),)
    )


# -- transactions


@_statement("start")
def _start(analysis: Analysis, source: Source, words: list[str]) -> Work:
    if words[1:2] != ["transaction"]:
        syntax_error(source, 1, "'TRANSACTION'")
    if analysis.session.transaction is None:
        fail("INCOMPATIBLE_CLIENT", "Client does not support transactions")
    if analysis.session.transaction.upper() != "NONE":
        fail("NOT_SUPPORTED", "Nested transactions not supported")
    text = " ".join(words)
    read_only = "read only" in text

    def begin() -> tuple[tuple[str, str], ...]:
        return (
            (
                "X-Trino-Started-Transaction-Id",
                analysis.transactions.begin(analysis.session, read_only=read_only),
            ),
        )

    return Act("START TRANSACTION", begin)


@_statement("commit", "rollback")
def _end(analysis: Analysis, source: Source, words: list[str]) -> Work:
    if analysis.session.transaction in (None, "NONE"):
        fail("NOT_IN_TRANSACTION", "No transaction in progress")
    finish = analysis.transactions.commit if words[0] == "commit" else analysis.transactions.rollback

    def end() -> tuple[tuple[str, str], ...]:
        finish(analysis.session)
        return (("X-Trino-Clear-Transaction-Id", "true"),)

    return Act(words[0].upper(), end)


# -- changes


@_statement("create", "drop", "insert", "delete", "update", "merge", "alter", "truncate", "comment")
def _change(analysis: Analysis, source: Source, words: list[str]) -> Work:
    return changes.change(analysis, source, words)


@_statement("analyze")
def _analyze(analysis: Analysis, source: Source, words: list[str]) -> Work:
    fail("NOT_SUPPORTED", "The embedded engine keeps its statistics itself; ANALYZE is not needed")


@_statement("call")
def _call(analysis: Analysis, source: Source, words: list[str]) -> Work:
    name = "".join(words[1 : words.index("(")]) if "(" in words else ""
    if name not in ("system.runtime.kill_query", "runtime.kill_query"):
        fail("PROCEDURE_NOT_FOUND", f"Procedure not registered: {name}", source.place(source.tokens[0].start))
    strings = [token.text for token in source.tokens if token.token_type == TokenType.STRING]
    if not strings or not re.fullmatch(r"[A-Za-z0-9_]+", strings[0]):
        fail("INVALID_ARGUMENTS", "kill_query takes a query id and a message")

    def kill() -> tuple[tuple[str, str], ...]:
        analysis.transactions.kill(strings[0], strings[1] if len(strings) > 1 else None)
        return ()

    return Act("CALL", kill)


@_statement("grant", "revoke", "deny")
def _grant(analysis: Analysis, source: Source, words: list[str]) -> Work:
    fail("NOT_SUPPORTED", "Rights are given by the gateway's policies, not by GRANT in the embedded engine")
