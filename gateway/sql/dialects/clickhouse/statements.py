"""Our grammar for the ClickHouse statements that sqlglot does not look into.

Source: ClickHouse's parsers (ParserShowTablesQuery, ParserInsertQuery, ParserKillQueryQuery and so on).
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.core.decision import RefusalCode
from gateway.core.statement import StatementKind as K
from gateway.sql.cursor import Cursor, Name
from gateway.sql.lexer import TokenKind, unquote
from gateway.sql.shape import InnerText, Role, Shape, Slot, Target, Via


def shape(cursor: Cursor, verb: str) -> Shape | None:
    """The parts of a statement that starts with `verb`; None where sqlglot's own tree is right.

    Raises Unparsed where the statement does not follow the grammar or is of a kind not known here.
    """
    reader = _READERS.get(verb)
    return reader(cursor) if reader else None


def _whole(cursor: Cursor, kind: K, verb: str, targets: tuple[Target, ...] = (), **more: object) -> Shape:
    """A statement without inner text; the output clauses that any ClickHouse query may end with are kept."""
    name = _output(cursor)
    cursor.finish()
    return Shape(kind, verb, targets, layout=((0, cursor.end),), format=name, **more)  # type: ignore[arg-type]


def _output(cursor: Cursor) -> str | None:
    """`[INTO OUTFILE …] [FORMAT name] [SETTINGS …]`; writing a file on the server's side is refused."""
    if cursor.at("INTO", "OUTFILE"):
        raise cursor.refuse("INTO OUTFILE is not available.", cursor.offset, RefusalCode.NOT_SUPPORTED)
    found: str | None = None
    while True:
        if cursor.take("FORMAT"):
            found = cursor.name(1).parts[0]
        elif cursor.take("SETTINGS"):
            _settings(cursor)
        else:
            return found


def _settings(cursor: Cursor) -> tuple[str, ...]:
    return tuple(cursor.listed(lambda: _setting(cursor)))


def _setting(cursor: Cursor) -> str:
    name = cursor.name(1).parts[0]
    if cursor.take_symbol("="):
        _value(cursor)
    return name


def _value(cursor: Cursor) -> None:
    """A literal: a number with its sign, a string, a word, or a bracketed list of them."""
    if not cursor.take_symbol("-"):
        cursor.take_symbol("+")
    token = cursor.peek()
    if token is None:
        raise cursor.unexpected("a value")
    if token.kind is TokenKind.SYMBOL and token.text in "([{":
        _bracketed(cursor)
        return
    if token.kind is TokenKind.SYMBOL:
        raise cursor.unexpected("a value")
    cursor.index += 1


def _bracketed(cursor: Cursor) -> None:
    depth = 0
    while (token := cursor.peek()) is not None:
        cursor.index += 1
        if token.kind is TokenKind.SYMBOL:
            depth += (token.text in "([{") - (token.text in ")]}")
            if depth == 0:
                return
    raise cursor.unexpected("a closing bracket")


def _on_cluster(cursor: Cursor) -> None:
    if cursor.take("ON", "CLUSTER") and cursor.take_string() is None:
        cursor.name(1)


def _table(cursor: Cursor) -> Name:
    return cursor.name(2)


def _show(cursor: Cursor) -> Shape:
    cursor.need("SHOW")
    if cursor.take("CREATE"):
        return _show_create(cursor)
    start = cursor.index
    while cursor.take_any("FULL", "EXTENDED", "TEMPORARY", "CHANGED"):
        continue
    if cursor.take_any("COLUMNS", "FIELDS", "INDEX", "INDEXES", "INDICES", "KEYS"):
        return _show_columns(cursor)
    for words in _LISTINGS:
        if cursor.take(*words):
            scope = cursor.name(1) if cursor.take_any("FROM", "IN") else None
            pattern = _filters(cursor)
            return _whole(cursor, K.SHOW, " ".join(("SHOW", *words)), scope=scope, pattern=pattern)
    cursor.index = start
    if cursor.take("SETTING"):
        return _whole(cursor, K.SHOW, "SHOW SETTING", names=cursor.name(1).parts)
    if cursor.take_any("GRANTS", "ACCESS") is not None:
        cursor.rest()
        return Shape(K.SHOW, "SHOW GRANTS", layout=((0, cursor.end),))
    raise cursor.unexpected("TABLES, DATABASES, COLUMNS, CREATE, SETTINGS, FUNCTIONS or GRANTS")


_LISTINGS: tuple[tuple[str, ...], ...] = (
    ("TABLES",),
    ("DICTIONARIES",),
    ("DATABASES",),
    ("SCHEMAS",),
    ("FUNCTIONS",),
    ("SETTINGS",),
    ("ENGINES",),
    ("PROCESSLIST",),
    ("MERGES",),
    ("CLUSTERS",),
    ("USERS",),
    ("ROLES",),
    ("CURRENT", "ROLES"),
    ("ENABLED", "ROLES"),
    ("PROFILES",),
    ("QUOTAS",),
)


def _filters(cursor: Cursor) -> str | None:
    cursor.take("NOT")
    pattern: str | None = None
    if cursor.take_any("LIKE", "ILIKE"):
        pattern = unquote(cursor.need_string(), cursor.dialect)
    if cursor.at("WHERE"):
        raise cursor.refuse(
            "SHOW … WHERE is not supported; query the system tables instead.",
            cursor.offset,
            RefusalCode.NOT_SUPPORTED,
        )
    if cursor.take("LIMIT"):
        _value(cursor)
    return pattern


def _show_columns(cursor: Cursor) -> Shape:
    if cursor.take_any("FROM", "IN") is None:
        raise cursor.unexpected("FROM")
    name = _table(cursor)
    if cursor.take_any("FROM", "IN"):
        database = cursor.name(1)
        name = Name((*database.parts, name.parts[-1]), name.start, database.end)
    pattern = _filters(cursor)
    return _whole(cursor, K.SHOW, "SHOW COLUMNS", (Target(name, Role.DESCRIBE),), pattern=pattern)


def _show_create(cursor: Cursor) -> Shape:
    cursor.take("TEMPORARY")
    if cursor.take_any("DATABASE", "SCHEMA"):
        return _whole(cursor, K.SHOW, "SHOW CREATE DATABASE", scope=cursor.name(1))
    if cursor.take_any("USER", "ROLE", "QUOTA", "PROFILE", "POLICY", "ROW", "SETTINGS", "MASKING"):
        cursor.rest()
        return Shape(K.SHOW, "SHOW CREATE ACCESS", layout=((0, cursor.end),))
    what = cursor.take_any("TABLE", "VIEW", "DICTIONARY") or "TABLE"
    return _whole(cursor, K.SHOW, f"SHOW CREATE {what}", (Target(_table(cursor), Role.DESCRIBE),))


def _exists(cursor: Cursor) -> Shape:
    cursor.need("EXISTS")
    cursor.take("TEMPORARY")
    if cursor.take("DATABASE"):
        return _whole(cursor, K.SHOW, "EXISTS DATABASE", scope=cursor.name(1))
    what = cursor.take_any("TABLE", "VIEW", "DICTIONARY") or "TABLE"
    return _whole(cursor, K.SHOW, f"EXISTS {what}", (Target(_table(cursor), Role.DESCRIBE),))


def _describe(cursor: Cursor) -> Shape:
    cursor.take_any("DESCRIBE", "DESC")
    cursor.take("TABLE")
    opening = cursor.peek()
    if opening is not None and opening.is_symbol("("):
        start, end = cursor.skip_brackets()
        name = _output(cursor)
        cursor.finish()
        inner = (InnerText(start, end, Via.SUBQUERY),)
        return Shape(
            K.DESCRIBE, "DESCRIBE", inner=inner, layout=((0, start), Slot(0), (end, cursor.end)), format=name
        )
    table = _table(cursor)
    following = cursor.peek()
    if following is not None and following.is_symbol("("):
        arguments = cursor.skip_brackets()
        target = Target(table, Role.DESCRIBE, is_function=True)
        expressions = (arguments,) if arguments[0] < arguments[1] else ()
        return _whole(cursor, K.DESCRIBE, "DESCRIBE", (target,), expressions=expressions)
    return _whole(cursor, K.DESCRIBE, "DESCRIBE", (Target(table, Role.DESCRIBE),))


def _explain(cursor: Cursor) -> Shape:
    cursor.need("EXPLAIN")
    if cursor.take("QUERY", "TREE"):
        what = "QUERY TREE"
    elif cursor.at("TABLE", "OVERRIDE") or cursor.at("CURRENT", "TRANSACTION"):
        raise cursor.unexpected("a query")
    else:
        what = cursor.take_any("AST", "SYNTAX", "PLAN", "PIPELINE", "ESTIMATE", "ANALYZE") or "PLAN"
    while (equals := cursor.peek(1)) is not None and equals.is_symbol("="):
        _setting(cursor)
        cursor.take_symbol(",")
    head = cursor.behind
    start, end = cursor.rest()
    inner = (InnerText(start, end, Via.EXPLAIN),)
    return Shape(K.EXPLAIN, f"EXPLAIN {what}", inner=inner, layout=((0, head), Slot(0)))


def _use(cursor: Cursor) -> Shape:
    cursor.need("USE")
    return _whole(cursor, K.USE, "USE", scope=cursor.name(1))


def _set(cursor: Cursor) -> Shape:
    cursor.need("SET")
    if cursor.at("ROLE") or cursor.at("DEFAULT", "ROLE") or cursor.at("TRANSACTION"):
        verb = "SET TRANSACTION" if cursor.at("TRANSACTION") else "SET ROLE"
        cursor.rest()
        return Shape(K.SET, verb, layout=((0, cursor.end),))
    return _whole(cursor, K.SET, "SET", names=_settings(cursor))


def _kill(cursor: Cursor) -> Shape:
    cursor.need("KILL")
    what = cursor.take_any("QUERY", "MUTATION", "PART_MOVE_TO_SHARD", "TRANSACTION")
    if what is None:
        raise cursor.unexpected("QUERY or MUTATION")
    _on_cluster(cursor)
    cursor.need("WHERE")
    start = cursor.offset
    while cursor.peek() is not None and not _at_kill_mode(cursor):
        cursor.index += 1
    condition = (start, cursor.behind)
    if condition[0] >= condition[1]:
        raise cursor.unexpected("a condition")
    cursor.take_any("SYNC", "ASYNC", "TEST")
    return _whole(cursor, K.KILL, f"KILL {what}", expressions=(condition,))


def _at_kill_mode(cursor: Cursor) -> bool:
    following = cursor.peek(1)
    last = following is None or following.is_word("FORMAT", "SETTINGS")
    return cursor.at("FORMAT") or (last and any(cursor.at(word) for word in ("SYNC", "ASYNC", "TEST")))


def _insert(cursor: Cursor) -> Shape:
    """`INSERT INTO [TABLE] [FUNCTION] t [(columns)] [SETTINGS …] {VALUES … | FORMAT f … | query}`."""
    with_clause = cursor.at("WITH")
    if with_clause:
        raise cursor.refuse(
            "WITH before INSERT is not supported; write INSERT INTO … WITH … SELECT.",
            cursor.offset,
            RefusalCode.NOT_SUPPORTED,
        )
    cursor.need("INSERT")
    cursor.take("INTO")
    cursor.take("TABLE")
    arguments: tuple[tuple[int, int], ...] = ()
    following = cursor.peek(1)
    is_function = cursor.at("FUNCTION") and following is not None and not following.is_symbol(".")
    if is_function:
        cursor.take("FUNCTION")
        target = Target(cursor.name(1), Role.INSERT, is_function=True)
        inside = cursor.skip_brackets()
        arguments = (inside,) if inside[0] < inside[1] else ()
        if cursor.at("PARTITION", "BY"):
            raise cursor.refuse(
                "PARTITION BY is not supported here.", cursor.offset, RefusalCode.NOT_SUPPORTED
            )
    else:
        target = Target(_table(cursor), Role.INSERT)
    columns = _insert_columns(cursor)
    if cursor.take("SETTINGS"):
        _settings(cursor)
    return _insert_source(cursor, target, columns, arguments)


def _insert_columns(cursor: Cursor) -> tuple[str, ...]:
    opening, word = cursor.peek(), cursor.peek(1)
    if opening is None or not opening.is_symbol("(") or word is None or word.is_word("SELECT", "WITH"):
        return ()
    start, end = cursor.skip_brackets()
    inside = Cursor(cursor.text[:end], cursor.dialect, start)
    found: list[str] = []
    while (token := inside.peek()) is not None:
        if token.kind in (TokenKind.WORD, TokenKind.NAME):
            found.append(".".join(inside.name(4).parts))
        elif token.is_symbol("("):
            inside.skip_brackets()
        else:
            inside.index += 1
    return tuple(found)


def _insert_source(
    cursor: Cursor, target: Target, columns: tuple[str, ...], arguments: tuple[tuple[int, int], ...]
) -> Shape:
    common = {"columns": columns, "expressions": arguments}
    if cursor.at("FROM", "INFILE"):
        raise cursor.refuse("FROM INFILE is not available.", cursor.offset, RefusalCode.NOT_SUPPORTED)
    if cursor.take("VALUES"):
        start = cursor.behind
        return Shape(
            K.INSERT,
            "INSERT",
            (target,),
            layout=((0, start),),
            format="Values",
            data=start,
            **common,  # type: ignore[arg-type]
        )
    if cursor.take("FORMAT"):
        name = cursor.name(1)
        if cursor.take("SETTINGS"):
            _settings(cursor)
        return Shape(
            K.INSERT,
            "INSERT",
            (target,),
            layout=((0, cursor.behind),),
            format=name.parts[0],
            data=data_start(cursor.text, cursor.behind),
            **common,  # type: ignore[arg-type]
        )
    head = cursor.behind
    start, end = cursor.rest()
    if start >= end:
        raise cursor.unexpected("VALUES, FORMAT or a query")
    inner = (InnerText(start, end, Via.INSERT),)
    return Shape(K.INSERT, "INSERT", (target,), inner, layout=((0, head), Slot(0)), **common)  # type: ignore[arg-type]


def data_start(text: str, after_format: int) -> int:
    """Where data begins behind `FORMAT name`: blanks, at most one `;` and one line end are skipped.

    Source: ParserInsertQuery.cpp.
    """
    at = after_format
    while at < len(text) and text[at] in " \t\f":
        at += 1
    if text[at : at + 1] == ";":
        at += 1
    while at < len(text) and text[at] in " \t\f\r":
        at += 1
    return at + 1 if text[at : at + 1] == "\n" else at


def _rename(cursor: Cursor) -> Shape:
    cursor.need("RENAME")
    what = cursor.take_any("TABLE", "DICTIONARY", "DATABASE") or "TABLE"
    targets: list[Target] = []

    def pair() -> None:
        if cursor.take("IF"):
            cursor.need("EXISTS")
        source = _table(cursor)
        cursor.need("TO")
        targets.extend((Target(source, Role.DROP), Target(_table(cursor), Role.CREATE)))

    cursor.listed(pair)
    _on_cluster(cursor)
    found = () if what == "DATABASE" else tuple(targets)
    return _whole(cursor, K.ALTER, f"RENAME {what}", found)


def _exchange(cursor: Cursor) -> Shape:
    cursor.need("EXCHANGE")
    what = cursor.take_any("TABLES", "DICTIONARIES")
    if what is None:
        raise cursor.unexpected("TABLES or DICTIONARIES")
    first = _table(cursor)
    cursor.need("AND")
    second = _table(cursor)
    _on_cluster(cursor)
    return _whole(
        cursor, K.ALTER, f"EXCHANGE {what}", (Target(first, Role.ALTER), Target(second, Role.ALTER))
    )


def _optimize(cursor: Cursor) -> Shape:
    cursor.need("OPTIMIZE", "TABLE")
    target = Target(_table(cursor), Role.ADMIN)
    cursor.rest()
    return Shape(K.ADMIN, "OPTIMIZE TABLE", (target,), layout=((0, cursor.end),))


def _check(cursor: Cursor) -> Shape:
    cursor.need("CHECK")
    if cursor.take("GRANT") or cursor.take("ALL", "TABLES"):
        cursor.rest()
        return Shape(K.ADMIN, "CHECK", layout=((0, cursor.end),))
    cursor.need("TABLE")
    target = Target(_table(cursor), Role.ADMIN)
    cursor.rest()
    return Shape(K.ADMIN, "CHECK TABLE", (target,), layout=((0, cursor.end),))


def _drop(cursor: Cursor) -> Shape | None:
    """DROP, DETACH, TRUNCATE and UNDROP of tables and databases; the rest is administration."""
    verb = cursor.take_any("DROP", "DETACH", "TRUNCATE", "UNDROP") or ""
    cursor.take("TEMPORARY")
    what = cursor.take_any("TABLE", "VIEW", "DICTIONARY", "DATABASE")
    kind = {"TRUNCATE": K.DELETE, "UNDROP": K.CREATE}.get(verb, K.DROP)
    role = {"TRUNCATE": Role.DELETE, "UNDROP": Role.CREATE}.get(verb, Role.DROP)
    if what is None and verb == "TRUNCATE":
        what = "TABLE"
    if what is None:
        return _admin(cursor, f"{verb} ACCESS") if verb == "DROP" else None
    if cursor.take("IF"):
        cursor.take("EMPTY")
        cursor.take("EXISTS")
    if what == "DATABASE":
        scope = cursor.name(1)
        cursor.rest()
        return Shape(kind, f"{verb} DATABASE", scope=scope, layout=((0, cursor.end),))
    names = cursor.listed(lambda: _table(cursor))
    cursor.rest()
    targets = tuple(Target(name, role) for name in names)
    return Shape(kind, f"{verb} {what}", targets, layout=((0, cursor.end),))


_OBJECTS = (
    "USER",
    "ROLE",
    "ROW",
    "QUOTA",
    "SETTINGS",
    "PROFILE",
    "NAMED",
    "FUNCTION",
    "HANDLER",
    "POLICY",
    "INDEX",
)


def _admin(cursor: Cursor, verb: str) -> Shape | None:
    if cursor.take_any(*_OBJECTS) is None:
        return None
    cursor.rest()
    return Shape(K.ADMIN, verb, layout=((0, cursor.end),))


def _create(cursor: Cursor) -> Shape | None:
    """Access objects and databases; CREATE TABLE, VIEW and DICTIONARY are sqlglot's."""
    verb = cursor.take_any("CREATE", "ALTER") or ""
    if cursor.take("OR"):
        cursor.need("REPLACE")
    if verb == "CREATE" and cursor.take("DATABASE"):
        if cursor.take("IF"):
            cursor.need("NOT", "EXISTS")
        scope = cursor.name(1)
        cursor.rest()
        return Shape(K.CREATE, "CREATE DATABASE", scope=scope, layout=((0, cursor.end),))
    return _admin(cursor, f"{verb} ACCESS")


def _grant(cursor: Cursor) -> Shape:
    verb = cursor.take_any("GRANT", "REVOKE") or ""
    cursor.rest()
    return Shape(K.GRANT, verb, layout=((0, cursor.end),))


def _verbatim(kind: K) -> Callable[[Cursor], Shape]:
    """Administration that is not looked into; only a principal without restrictions may send it."""

    def read(cursor: Cursor) -> Shape:
        token = cursor.peek()
        verb = token.text.upper() if token else ""
        cursor.rest()
        return Shape(kind, verb, layout=((0, cursor.end),))

    return read


_READERS: dict[str, Callable[[Cursor], Shape | None]] = {
    "SHOW": _show,
    "EXISTS": _exists,
    "DESCRIBE": _describe,
    "DESC": _describe,
    "EXPLAIN": _explain,
    "USE": _use,
    "SET": _set,
    "KILL": _kill,
    "INSERT": _insert,
    "RENAME": _rename,
    "EXCHANGE": _exchange,
    "OPTIMIZE": _optimize,
    "CHECK": _check,
    "DROP": _drop,
    "DETACH": _drop,
    "TRUNCATE": _drop,
    "UNDROP": _drop,
    "CREATE": _create,
    "ALTER": _create,
    "GRANT": _grant,
    "REVOKE": _grant,
    "SYSTEM": _verbatim(K.ADMIN),
    "BACKUP": _verbatim(K.ADMIN),
    "RESTORE": _verbatim(K.ADMIN),
    "EXECUTE": _verbatim(K.ADMIN),
    "ATTACH": _verbatim(K.CREATE),
    "MOVE": _verbatim(K.ADMIN),
    "BEGIN": _verbatim(K.TRANSACTION),
    "COMMIT": _verbatim(K.TRANSACTION),
    "ROLLBACK": _verbatim(K.TRANSACTION),
}
