"""What exists in DuckDB, seen as Trino's catalogs, schemas, tables and columns.

What DuckDB cannot keep of a definition (`varchar(25)`, `char(3)`, a view's text) is in the comment of the column
or view: JSON behind a mark. So it is part of the transaction, and goes when the object goes.
"""

# ruff: noqa: S608 - SQL is made here, from a parsed tree and quoted names; a client's text is never pasted.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import duckdb
import orjson

from gateway.engines.duckdb.representation import duck_type, trino_type
from gateway.engines.duckdb.scope import quote, text
from gateway.wire.trino.types import TrinoType, UnknownType, client_name, parse_type

MARK = "trino:"
_HIDDEN_DATABASES = ("system", "temp", "trino")


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """One column."""

    name: str
    type: TrinoType
    nullable: bool = True
    comment: str | None = None
    hidden: bool = False
    """Can be named, but is no part of `*`."""
    stored: str | None = None
    """DuckDB's type where it is not the one that we use for `type` (`TIMESTAMP_MS`, an ENUM); read with a cast."""

    def read(self, alias: str) -> str:
        """SQL of the column's value."""
        sql = f"{alias}.{quote(self.name)}"
        return sql if self.stored is None else f"CAST({sql} AS {duck_type(self.type)})"


@dataclass(frozen=True, slots=True)
class RelationInfo:
    """A table or view. `definition` is a view's query in Trino's SQL."""

    catalog: str
    schema: str
    name: str
    columns: tuple[ColumnInfo, ...]
    view: bool = False
    definition: str | None = None
    comment: str | None = None
    rows: int | None = None

    @property
    def sql(self) -> str:
        """How DuckDB refers to it."""
        return f"{quote(self.catalog)}.{quote(self.schema)}.{quote(self.name)}"


@dataclass(frozen=True, slots=True)
class Catalogs:
    """Everything that exists, names in lower case."""

    relations: Mapping[tuple[str, str, str], RelationInfo] = field(default_factory=dict)
    schemas: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def relation(self, catalog: str, schema: str, name: str) -> RelationInfo | None:
        return self.relations.get((catalog.lower(), schema.lower(), name.lower()))

    def has_schema(self, catalog: str, schema: str) -> bool:
        return schema.lower() in self.schemas.get(catalog.lower(), ())

    def in_schema(self, catalog: str, schema: str) -> list[RelationInfo]:
        return [one for one in self.relations.values() if one.catalog == catalog and one.schema == schema]


def note(**facts: Any) -> str:
    """The comment that keeps facts about an object."""
    return MARK + orjson.dumps({key: value for key, value in facts.items() if value is not None}).decode()


def _facts(comment: str | None) -> dict[str, Any]:
    if comment is None or not comment.startswith(MARK):
        return {"comment": comment}
    try:
        found = orjson.loads(comment[len(MARK) :])
    except orjson.JSONDecodeError:
        return {"comment": comment}
    return found if isinstance(found, dict) else {}


def column_note(of: TrinoType, comment: str | None) -> str | None:
    """A column's comment, or None where DuckDB's own type says everything and there is nothing to tell."""
    back = trino_type(_canonical(duck_type(of)))
    if back.same(of):
        return comment
    return note(type=client_name(of), comment=comment)


def _canonical(duck: str) -> str:
    return duck.replace("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE")


_COLUMNS = f"""
    SELECT database_name, schema_name, table_name, column_name, data_type, is_nullable, comment
    FROM duckdb_columns() WHERE NOT internal AND database_name NOT IN {_HIDDEN_DATABASES}
    ORDER BY database_name, schema_name, table_name, column_index"""
_SCHEMAS = f"""
    SELECT database_name, schema_name FROM duckdb_schemas()
    WHERE database_name NOT IN {_HIDDEN_DATABASES} AND schema_name NOT IN ('pg_catalog', 'information_schema', 'main')
    """
_TABLES = f"""
    SELECT database_name, schema_name, table_name, comment, estimated_size FROM duckdb_tables()
    WHERE NOT internal AND database_name NOT IN {_HIDDEN_DATABASES}"""
_VIEWS = f"""
    SELECT database_name, schema_name, view_name, comment, sql FROM duckdb_views()
    WHERE NOT internal AND database_name NOT IN {_HIDDEN_DATABASES}"""


def load(connection: duckdb.DuckDBPyConnection, catalogs: tuple[str, ...]) -> Catalogs:
    """Read what exists, as this connection's transaction sees it."""
    columns: dict[tuple[str, str, str], list[ColumnInfo]] = {}
    for database, schema, table, name, duck, nullable, comment in connection.execute(_COLUMNS).fetchall():
        facts = _facts(comment)
        columns.setdefault((database, schema, table), []).append(
            _column(name, duck, _column_type(duck, facts.get("type")), bool(nullable), facts.get("comment"))
        )
    relations: dict[tuple[str, str, str], RelationInfo] = {}
    for database, schema, table, comment, rows in connection.execute(_TABLES).fetchall():
        key = (database, schema, table)
        relations[_lower(key)] = RelationInfo(
            *key, tuple(columns.get(key, ())), comment=_facts(comment).get("comment"), rows=rows
        )
    for database, schema, view, comment, sql in connection.execute(_VIEWS).fetchall():
        key = (database, schema, view)
        facts = _facts(comment)
        kinds = facts.get("types") or []
        shown = tuple(
            replace(one, type=_column_type("", kinds[i]), stored=None) if i < len(kinds) else one
            for i, one in enumerate(columns.get(key, ()))
        )
        relations[_lower(key)] = RelationInfo(
            *key, shown, view=True, definition=facts.get("sql") or _body(sql), comment=facts.get("comment")
        )
    schemas: dict[str, list[str]] = {name: ["information_schema"] for name in catalogs}
    for database, schema in connection.execute(_SCHEMAS).fetchall():
        schemas.setdefault(database.lower(), ["information_schema"]).append(schema.lower())
    return Catalogs(relations, {name: tuple(sorted(found)) for name, found in schemas.items()})


def _column(name: str, duck: str, of: TrinoType, nullable: bool, comment: str | None) -> ColumnInfo:
    stored = None if duck == _canonical(duck_type(of)) or of.base in ("row", "map", "array") else duck
    return ColumnInfo(name, of, nullable, comment, stored=stored)


def _lower(key: tuple[str, str, str]) -> tuple[str, str, str]:
    return key[0].lower(), key[1].lower(), key[2].lower()


def _column_type(duck: str, kept: object) -> TrinoType:
    if isinstance(kept, str):
        try:
            return parse_type(kept)
        except UnknownType:
            pass
    return trino_type(duck)


def _body(sql: str | None) -> str | None:
    return None if sql is None else sql.partition(" AS ")[2].rstrip(";") or sql


def comment_sql(kind: str, name: str, comment: str | None) -> str:
    """`COMMENT ON …` of DuckDB."""
    return f"COMMENT ON {kind} {name} IS {'NULL' if comment is None else text(comment)}"
