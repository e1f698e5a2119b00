"""Reads a group's relations from an engine, whole (refresh) or one (probe)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from gateway.core.decision import EngineKind
from gateway.core.statement import RelationName
from gateway.engines.contract import EngineClient, EngineError
from gateway.metadata.model import ColumnMeta, Relation, RelationKind

MAX_COLUMNS = 1_000_000
SYSTEM_SCHEMAS = frozenset({"information_schema", "INFORMATION_SCHEMA", "system"})


async def load_relations(
    client: EngineClient, kind: EngineKind, *, timeout_s: float
) -> dict[RelationName, Relation]:
    """Every relation that the gateway's own user can see. Raises EngineError.

    A Trino catalog that fails (its metastore is down, say) fails the whole load: half a catalogue would
    make relations vanish.
    """
    if kind in (EngineKind.CLICKHOUSE, EngineKind.CHDB):
        return await _clickhouse(client, "NOT is_temporary", "1", timeout_s)
    relations: dict[RelationName, Relation] = {}
    for (catalog,) in await client.rows("SHOW CATALOGS", timeout_s=timeout_s):
        if catalog != "system":
            relations |= await _trino(client, catalog, "", timeout_s)
    return relations


async def describe_relation(
    client: EngineClient, kind: EngineKind, name: RelationName, *, timeout_s: float
) -> Relation | None:
    """One relation, or None where the engine has none of that name. Raises EngineError."""
    if kind in (EngineKind.CLICKHOUSE, EngineKind.CHDB):
        database, table = _literal(name.schema, True), _literal(name.table, True)
        tables, columns = (
            f"database = {database} AND name = {table}",
            f"database = {database} AND table = {table}",
        )
        return (await _clickhouse(client, tables, columns, timeout_s)).get(name)
    where = f"WHERE table_schema = {_literal(name.schema)} AND table_name = {_literal(name.table)}"
    try:
        return (await _trino(client, name.catalog, where, timeout_s)).get(name)
    except EngineError as error:
        if error.code in ("CATALOG_NOT_FOUND", "SCHEMA_NOT_FOUND"):
            return None
        raise


async def _trino(
    client: EngineClient, catalog: str, where: str, timeout_s: float
) -> dict[RelationName, Relation]:
    info = f'"{catalog.replace(chr(34), chr(34) * 2)}".information_schema'
    kinds = await client.rows(
        f"SELECT table_schema, table_name, table_type FROM {info}.tables {where}",
        timeout_s=timeout_s,
        max_rows=MAX_COLUMNS,
    )
    columns = await client.rows(
        f"SELECT table_schema, table_name, column_name, data_type FROM {info}.columns {where} "
        "ORDER BY table_schema, table_name, ordinal_position",
        timeout_s=timeout_s,
        max_rows=MAX_COLUMNS,
    )
    views = dict[tuple[str, str], str]()
    if any(row[2] == "VIEW" for row in kinds):
        texts = await client.rows(
            f"SELECT table_schema, table_name, view_definition FROM {info}.views {where}", timeout_s=timeout_s
        )
        views = {(schema, table): text for schema, table, text in texts}
    by_table = _columns(columns)
    return {
        (name := RelationName(catalog, schema, table)): Relation(
            name,
            RelationKind.VIEW if table_type == "VIEW" else RelationKind.TABLE,
            tuple(by_table[schema, table]),
            view_text=views.get((schema, table)),
        )
        for schema, table, table_type in kinds
        if schema not in SYSTEM_SCHEMAS
    }


async def _clickhouse(
    client: EngineClient, which_tables: str, which_columns: str, timeout_s: float
) -> dict[RelationName, Relation]:
    tables = await client.rows(
        f"SELECT database, name, engine, as_select, comment FROM system.tables WHERE {which_tables}",
        timeout_s=timeout_s,
        max_rows=MAX_COLUMNS,
    )
    columns = await client.rows(
        f"SELECT database, table, name, type, comment FROM system.columns WHERE {which_columns} "
        "ORDER BY database, table, position",
        timeout_s=timeout_s,
        max_rows=MAX_COLUMNS,
    )
    by_table = _columns(columns)
    return {
        (name := RelationName("", database, table)): Relation(
            name,
            _CLICKHOUSE_KINDS.get(engine, RelationKind.TABLE),
            tuple(by_table[database, table]),
            view_text=as_select or None,
            comment=comment,
            storage=engine,
        )
        for database, table, engine, as_select, comment in tables
    }


_CLICKHOUSE_KINDS = {"View": RelationKind.VIEW, "MaterializedView": RelationKind.MATERIALIZED_VIEW}


def _columns(rows: Iterable[tuple[Any, ...]]) -> defaultdict[tuple[str, str], list[ColumnMeta]]:
    by_table: defaultdict[tuple[str, str], list[ColumnMeta]] = defaultdict(list)
    for schema, table, name, type_, *comment in rows:
        by_table[schema, table].append(ColumnMeta(name, type_, comment[0] if comment else ""))
    return by_table


def _literal(value: str, backslash: bool = False) -> str:
    if backslash:
        value = value.replace("\\", "\\\\")
    return "'" + value.replace("'", "''") + "'"
