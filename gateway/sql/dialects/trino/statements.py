"""Our grammar for the Trino statements that sqlglot does not look into. Source: Trino's SqlBase.g4."""

from __future__ import annotations

from collections.abc import Callable

from gateway.core.decision import RefusalCode
from gateway.core.statement import StatementKind as K
from gateway.sql.cursor import Cursor, Name
from gateway.sql.lexer import unquote
from gateway.sql.shape import InnerText, Role, Shape, Slot, Target, Via


def shape(cursor: Cursor, verb: str) -> Shape | None:
    """The parts of a statement that starts with `verb`; None where sqlglot's own tree is right.

    Raises Unparsed where the statement does not follow the grammar or is of a kind not known here.
    """
    reader = _READERS.get(verb)
    return reader(cursor) if reader else None


def _whole(cursor: Cursor, kind: K, verb: str, targets: tuple[Target, ...] = (), **more: object) -> Shape:
    cursor.finish()
    return Shape(kind, verb, targets, layout=((0, cursor.end),), **more)  # type: ignore[arg-type]


def _like(cursor: Cursor) -> str | None:
    if not cursor.take("LIKE"):
        return None
    pattern = unquote(cursor.need_string(), cursor.dialect)
    if cursor.take("ESCAPE"):
        cursor.need_string()
    return pattern


def _show(cursor: Cursor) -> Shape:
    cursor.need("SHOW")
    if cursor.take("CREATE"):
        return _show_create(cursor)
    if cursor.take("COLUMNS"):
        _need_from(cursor)
        target = Target(cursor.name(), Role.DESCRIBE)
        return _whole(cursor, K.SHOW, "SHOW COLUMNS", (target,), pattern=_like(cursor))
    if cursor.take("STATS", "FOR"):
        return _show_stats(cursor)
    if cursor.take("GRANTS"):
        targets = _on_target(cursor, Role.DESCRIBE) if cursor.take("ON") else ()
        return _whole(cursor, K.SHOW, "SHOW GRANTS", targets)
    if cursor.take("ROLE", "GRANTS"):
        scope = _scope(cursor, 1)
        return _whole(cursor, K.SHOW, "SHOW ROLE GRANTS", scope=scope)
    for words, parts in _LISTINGS:
        if cursor.take(*words):
            scope = _scope(cursor, parts)
            return _whole(cursor, K.SHOW, " ".join(("SHOW", *words)), scope=scope, pattern=_like(cursor))
    raise cursor.unexpected("TABLES, SCHEMAS, CATALOGS, COLUMNS, CREATE, STATS, FUNCTIONS, SESSION or ROLES")


_LISTINGS: tuple[tuple[tuple[str, ...], int], ...] = (
    (("TABLES",), 2),
    (("SCHEMAS",), 1),
    (("CATALOGS",), 0),
    (("FUNCTIONS",), 2),
    (("SESSION",), 0),
    (("CURRENT", "ROLES"), 1),
    (("ROLES",), 1),
)


def _need_from(cursor: Cursor) -> None:
    if cursor.take_any("FROM", "IN") is None:
        raise cursor.unexpected("FROM")


def _scope(cursor: Cursor, parts: int) -> Name | None:
    return cursor.name(parts) if parts and cursor.take_any("FROM", "IN") else None


def _show_create(cursor: Cursor) -> Shape:
    if cursor.take("MATERIALIZED", "VIEW"):
        what = "MATERIALIZED VIEW"
    else:
        what = cursor.take_any("TABLE", "VIEW", "SCHEMA", "FUNCTION") or ""
    if what in ("SCHEMA", "FUNCTION"):
        return _whole(cursor, K.SHOW, f"SHOW CREATE {what}", scope=cursor.name(3))
    if not what:
        raise cursor.unexpected("TABLE, VIEW, MATERIALIZED VIEW, SCHEMA or FUNCTION")
    return _whole(cursor, K.SHOW, f"SHOW CREATE {what}", (Target(cursor.name(), Role.DESCRIBE),))


def _show_stats(cursor: Cursor) -> Shape:
    token = cursor.peek()
    if token is not None and token.is_symbol("("):
        start, end = cursor.skip_brackets()
        after = (end, cursor.behind)
        cursor.finish()
        inner = (InnerText(start, end, Via.SUBQUERY),)
        return Shape(K.SHOW, "SHOW STATS", inner=inner, layout=((0, start), Slot(0), after))
    return _whole(cursor, K.SHOW, "SHOW STATS", (Target(cursor.name(), Role.DESCRIBE),))


def _describe(cursor: Cursor) -> Shape:
    cursor.take_any("DESCRIBE", "DESC")
    for what in ("INPUT", "OUTPUT"):
        following = cursor.peek(1)
        if cursor.at(what) and following is not None and not following.is_symbol("."):
            cursor.take(what)
            return _whole(cursor, K.DESCRIBE, f"DESCRIBE {what}", names=cursor.name(1).parts)
    return _whole(cursor, K.DESCRIBE, "DESCRIBE", (Target(cursor.name(), Role.DESCRIBE),))


def _explain(cursor: Cursor) -> Shape:
    cursor.need("EXPLAIN")
    analyze = cursor.take("ANALYZE")
    if analyze:
        cursor.take("VERBOSE")
    elif _at_options(cursor):
        cursor.skip_brackets()
    head = cursor.behind
    start, end = cursor.rest()
    inner = (InnerText(start, end, Via.EXPLAIN),)
    verb = "EXPLAIN ANALYZE" if analyze else "EXPLAIN"
    return Shape(K.EXPLAIN, verb, inner=inner, layout=((0, head), Slot(0)))


def _at_options(cursor: Cursor) -> bool:
    opening, word = cursor.peek(), cursor.peek(1)
    return bool(opening and opening.is_symbol("(") and word and word.is_word("TYPE", "FORMAT"))


def _prepare(cursor: Cursor) -> Shape:
    cursor.need("PREPARE")
    name = cursor.name(1)
    cursor.need("FROM")
    head = cursor.behind
    start, end = cursor.rest()
    inner = (InnerText(start, end, Via.PREPARE),)
    return Shape(K.PREPARE, "PREPARE", inner=inner, names=name.parts, layout=((0, head), Slot(0)))


def _execute(cursor: Cursor) -> Shape:
    cursor.need("EXECUTE")
    if cursor.take("IMMEDIATE"):
        head = cursor.behind
        literal = cursor.need_string()
        arguments = _using(cursor)
        inner = (InnerText(literal.start, literal.end, Via.IMMEDIATE, literal),)
        layout: tuple[tuple[int, int] | Slot, ...] = ((0, head), Slot(0, quoted=True), *arguments)
        return Shape(K.EXECUTE, "EXECUTE IMMEDIATE", inner=inner, expressions=arguments[1:], layout=layout)
    name = cursor.name(1)
    head = cursor.behind
    arguments = _using(cursor)
    return Shape(
        K.EXECUTE, "EXECUTE", names=name.parts, expressions=arguments[1:], layout=((0, head), *arguments)
    )


def _using(cursor: Cursor) -> tuple[tuple[int, int], ...]:
    """The stretch of the word USING, then that of its arguments; nothing without USING."""
    word = cursor.offset
    if not cursor.take("USING"):
        cursor.finish()
        return ()
    return ((word, cursor.behind), cursor.rest())


def _deallocate(cursor: Cursor) -> Shape:
    cursor.need("DEALLOCATE", "PREPARE")
    return _whole(cursor, K.DEALLOCATE, "DEALLOCATE PREPARE", names=cursor.name(1).parts)


def _use(cursor: Cursor) -> Shape:
    cursor.need("USE")
    return _whole(cursor, K.USE, "USE", scope=cursor.name(2))


def _set(cursor: Cursor) -> Shape:
    cursor.need("SET")
    if cursor.take("SESSION", "AUTHORIZATION"):
        return _rest(cursor, K.SET, "SET SESSION AUTHORIZATION")
    if cursor.take("SESSION"):
        name = cursor.name(2)
        cursor.need_symbol("=")
        value = cursor.rest()
        return Shape(
            K.SET,
            "SET SESSION",
            names=(".".join(name.parts),),
            expressions=(value,),
            layout=((0, cursor.end),),
        )
    if cursor.take("ROLE"):
        role = cursor.name(1)
        scope = _scope(cursor, 1)
        return _whole(cursor, K.SET, "SET ROLE", names=role.parts, scope=scope)
    if cursor.take("TIME", "ZONE"):
        return _rest(cursor, K.SET, "SET TIME ZONE")
    if cursor.take("PATH"):
        return _rest(cursor, K.SET, "SET PATH")
    raise cursor.unexpected("SESSION, ROLE, TIME ZONE or PATH")


def _rest(cursor: Cursor, kind: K, verb: str) -> Shape:
    """A statement whose rest names no relation."""
    cursor.rest()
    return Shape(kind, verb, layout=((0, cursor.end),))


def _reset(cursor: Cursor) -> Shape:
    cursor.need("RESET", "SESSION")
    if cursor.take("AUTHORIZATION"):
        return _whole(cursor, K.SET, "RESET SESSION AUTHORIZATION")
    return _whole(cursor, K.SET, "RESET SESSION", names=(".".join(cursor.name(2).parts),))


def _start(cursor: Cursor) -> Shape:
    cursor.need("START", "TRANSACTION")
    return _rest(cursor, K.TRANSACTION, "START TRANSACTION")


def _commit(cursor: Cursor) -> Shape:
    verb = cursor.take_any("COMMIT", "ROLLBACK") or ""
    cursor.take("WORK")
    return _whole(cursor, K.TRANSACTION, verb)


def _call(cursor: Cursor) -> Shape:
    cursor.need("CALL")
    procedure = cursor.name(3)
    arguments = cursor.skip_brackets()
    expressions = (arguments,) if arguments[0] < arguments[1] else ()
    return _whole(cursor, K.CALL, "CALL", scope=procedure, expressions=expressions)


def _grant(cursor: Cursor) -> Shape:
    verb = cursor.take_any("GRANT", "REVOKE", "DENY") or ""
    targets: tuple[Target, ...] = ()
    while cursor.peek() is not None:
        if cursor.take("ON"):
            targets = _on_target(cursor, Role.ADMIN)
        else:
            cursor.index += 1
    return Shape(K.GRANT, verb, targets, layout=((0, cursor.end),))


def _on_target(cursor: Cursor, role: Role) -> tuple[Target, ...]:
    if cursor.take("SCHEMA"):
        cursor.name(2)
        return ()
    cursor.take("TABLE")
    return (Target(cursor.name(), role),)


def _analyze(cursor: Cursor) -> Shape:
    cursor.need("ANALYZE")
    target = Target(cursor.name(), Role.ADMIN)
    if cursor.take("WITH"):
        cursor.skip_brackets()
    return _whole(cursor, K.ADMIN, "ANALYZE", (target,))


def _refresh(cursor: Cursor) -> Shape:
    cursor.need("REFRESH", "MATERIALIZED", "VIEW")
    return _whole(cursor, K.ADMIN, "REFRESH MATERIALIZED VIEW", (Target(cursor.name(), Role.ADMIN),))


def _comment(cursor: Cursor) -> Shape:
    cursor.need("COMMENT", "ON")
    what = cursor.take_any("TABLE", "VIEW", "COLUMN")
    if what is None:
        raise cursor.unexpected("TABLE, VIEW or COLUMN")
    name = cursor.name(4 if what == "COLUMN" else 3)
    if what == "COLUMN":
        if len(name.parts) < 2:
            raise cursor.refuse("The column must be named with its table.", name.start)
        name = Name(name.parts[:-1], name.start, name.end)
    cursor.need("IS")
    if not cursor.take("NULL"):
        cursor.need_string()
    return _whole(cursor, K.ALTER, f"COMMENT ON {what}", (Target(name, Role.ALTER),))


def _alter(cursor: Cursor) -> Shape:
    """ALTER names its object first; what follows may name further relations only in RENAME TO."""
    cursor.need("ALTER")
    what = cursor.take_any("TABLE", "VIEW", "SCHEMA") or _materialized(cursor)
    if cursor.take("IF"):
        cursor.need("EXISTS")
    name = cursor.name(2 if what == "SCHEMA" else 3)
    targets: tuple[Target, ...] = () if what == "SCHEMA" else (Target(name, Role.ALTER),)
    if what != "SCHEMA" and cursor.take("RENAME", "TO"):
        targets += (Target(cursor.name(), Role.CREATE),)
        return _whole(cursor, K.ALTER, f"ALTER {what} RENAME", targets)
    if cursor.at("EXECUTE"):
        return _alter_execute(cursor, targets)
    scope = name if what == "SCHEMA" else None
    cursor.rest()
    return Shape(K.ALTER, f"ALTER {what}", targets, scope=scope, layout=((0, cursor.end),))


def _alter_execute(cursor: Cursor, targets: tuple[Target, ...]) -> Shape:
    cursor.need("EXECUTE")
    procedure = cursor.name(1)
    start, end = cursor.rest()
    expressions: tuple[tuple[int, int], ...] = ()
    if start < end:
        token_text = cursor.text[start:end]
        if "select" in token_text.lower():
            raise cursor.refuse(
                "A subquery is not accepted in ALTER TABLE EXECUTE.", start, RefusalCode.NOT_SUPPORTED
            )
    return Shape(
        K.ALTER,
        "ALTER TABLE EXECUTE",
        targets,
        names=procedure.parts,
        expressions=expressions,
        layout=((0, cursor.end),),
    )


def _materialized(cursor: Cursor) -> str:
    cursor.need("MATERIALIZED", "VIEW")
    return "MATERIALIZED VIEW"


def _create(cursor: Cursor) -> Shape | None:
    if cursor.take("CREATE", "ROLE"):
        return _rest(cursor, K.GRANT, "CREATE ROLE")
    if cursor.take("CREATE", "CATALOG"):
        return _rest(cursor, K.ADMIN, "CREATE CATALOG")
    if cursor.at("CREATE", "SCHEMA"):
        cursor.take("CREATE", "SCHEMA")
        if cursor.take("IF"):
            cursor.need("NOT", "EXISTS")
        scope = cursor.name(2)
        cursor.rest()
        return Shape(K.CREATE, "CREATE SCHEMA", scope=scope, layout=((0, cursor.end),))
    return None


def _drop(cursor: Cursor) -> Shape | None:
    cursor.need("DROP")
    if cursor.take("ROLE"):
        return _rest(cursor, K.GRANT, "DROP ROLE")
    if cursor.take("CATALOG"):
        return _rest(cursor, K.ADMIN, "DROP CATALOG")
    what = cursor.take_any("TABLE", "VIEW", "SCHEMA")
    if what is None and cursor.take("MATERIALIZED", "VIEW"):
        what = "MATERIALIZED VIEW"
    if what is None:
        return None
    if cursor.take("IF"):
        cursor.need("EXISTS")
    if what == "SCHEMA":
        scope = cursor.name(2)
        cursor.take_any("CASCADE", "RESTRICT")
        return _whole(cursor, K.DROP, "DROP SCHEMA", scope=scope)
    return _whole(cursor, K.DROP, f"DROP {what}", (Target(cursor.name(), Role.DROP),))


def _truncate(cursor: Cursor) -> Shape:
    cursor.need("TRUNCATE", "TABLE")
    return _whole(cursor, K.DELETE, "TRUNCATE TABLE", (Target(cursor.name(), Role.DELETE),))


_READERS: dict[str, Callable[[Cursor], Shape | None]] = {
    "SHOW": _show,
    "DESCRIBE": _describe,
    "DESC": _describe,
    "EXPLAIN": _explain,
    "PREPARE": _prepare,
    "EXECUTE": _execute,
    "DEALLOCATE": _deallocate,
    "USE": _use,
    "SET": _set,
    "RESET": _reset,
    "START": _start,
    "COMMIT": _commit,
    "ROLLBACK": _commit,
    "CALL": _call,
    "GRANT": _grant,
    "REVOKE": _grant,
    "DENY": _grant,
    "ANALYZE": _analyze,
    "REFRESH": _refresh,
    "COMMENT": _comment,
    "ALTER": _alter,
    "CREATE": _create,
    "DROP": _drop,
    "TRUNCATE": _truncate,
}
