"""What kind of statement a text is, told from its first words.

`classify` is for the path that does not parse: unrestricted principals whose text passes untouched. It is
never used to decide that something is harmless; the parser's own answer is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.core.statement import StatementKind as K
from gateway.core.statement import Wire
from gateway.sql.lexer import COMMENTS, TOKENS


@dataclass(frozen=True, slots=True)
class Kind:
    """A statement's kind, the first keyword that told it, and whether a client gets rows back.

    `returns_rows` speaks of the engine's own answer to the statement; Trino's count of written rows is not
    a row here. An unknown statement is taken to return rows.
    """

    kind: K
    verb: str
    returns_rows: bool


_COMMON: dict[str, K] = {
    "SELECT": K.QUERY,
    "WITH": K.QUERY,
    "VALUES": K.QUERY,
    "TABLE": K.QUERY,
    "EXPLAIN": K.EXPLAIN,
    "SHOW": K.SHOW,
    "DESCRIBE": K.DESCRIBE,
    "DESC": K.DESCRIBE,
    "USE": K.USE,
    "SET": K.SET,
    "INSERT": K.INSERT,
    "UPDATE": K.UPDATE,
    "DELETE": K.DELETE,
    "TRUNCATE": K.DELETE,
    "CREATE": K.CREATE,
    "ALTER": K.ALTER,
    "DROP": K.DROP,
    "GRANT": K.GRANT,
    "REVOKE": K.GRANT,
    "BEGIN": K.TRANSACTION,
    "START": K.TRANSACTION,
    "COMMIT": K.TRANSACTION,
    "ROLLBACK": K.TRANSACTION,
}
VERBS: dict[Wire, dict[str, K]] = {
    Wire.TRINO: _COMMON
    | {
        "RESET": K.SET,
        "PREPARE": K.PREPARE,
        "EXECUTE": K.EXECUTE,
        "DEALLOCATE": K.DEALLOCATE,
        "CALL": K.CALL,
        "MERGE": K.MERGE,
        "DENY": K.GRANT,
        "ANALYZE": K.ADMIN,
        "REFRESH": K.ADMIN,
        "COMMENT": K.ALTER,
    },
    Wire.CLICKHOUSE: _COMMON
    | {
        "FROM": K.QUERY,
        "EXISTS": K.SHOW,
        "KILL": K.KILL,
        "CHECK": K.ADMIN,
        "OPTIMIZE": K.ADMIN,
        "SYSTEM": K.ADMIN,
        "BACKUP": K.ADMIN,
        "RESTORE": K.ADMIN,
        "EXECUTE": K.ADMIN,
        "EXCHANGE": K.ALTER,
        "RENAME": K.ALTER,
        "ATTACH": K.CREATE,
        "DETACH": K.DROP,
        "UNDROP": K.CREATE,
        "MOVE": K.ADMIN,
        "REPLACE": K.CREATE,
        "WATCH": K.QUERY,
    },
}
_WITH_ROWS = frozenset({K.QUERY, K.EXPLAIN, K.SHOW, K.DESCRIBE, K.EXECUTE, K.KILL, K.UNKNOWN})
_ROWS_BY_VERB = frozenset({"CHECK", "BACKUP", "RESTORE", "SYSTEM", "EXECUTE"})

_FIRST_WORD = {
    wire: re.compile(rf"(?:[\s(;]++|{COMMENTS[wire]})*+([A-Za-z_]++)", re.DOTALL | re.ASCII) for wire in Wire
}
_HEAD = 400
"""Tokens looked at to find what a ClickHouse WITH introduces."""


def classify(text: str, dialect: Wire) -> Kind:
    """The kind of `text`, cheaply; UNKNOWN where the first word is no known verb."""
    match = _FIRST_WORD[dialect].match(text)
    verb = match.group(1).upper() if match else ""
    kind = VERBS[dialect].get(verb, K.UNKNOWN)
    if match and verb == "WITH" and dialect is Wire.CLICKHOUSE and _introduces_insert(text, match.end()):
        return Kind(K.INSERT, "INSERT", False)
    return Kind(kind, verb, returns_rows(kind, verb))


def returns_rows(kind: K, verb: str) -> bool:
    """Whether a statement of this kind and first word answers with rows."""
    return kind in _WITH_ROWS or verb in _ROWS_BY_VERB


def _introduces_insert(text: str, start: int) -> bool:
    depth = 0
    for seen, match in enumerate(TOKENS[Wire.CLICKHOUSE].finditer(text, start)):
        if seen > _HEAD:
            return True
        word = match.group()
        if word == "(":
            depth += 1
        elif word == ")":
            depth -= 1
        elif depth == 0 and match.lastgroup == "word":
            upper = word.upper()
            if upper in ("SELECT", "INSERT", "FROM"):
                return upper == "INSERT"
    return False
