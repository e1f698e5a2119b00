"""`information_schema` of each catalog, and the catalog `system`: tables made on demand from what exists.

Columns and types are those of Trino 476.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from gateway.engines.duckdb.catalog import Catalogs, ColumnInfo, RelationInfo
from gateway.engines.duckdb.coercion import INTEGERS
from gateway.wire.trino.types import (
    BIGINT,
    BOOLEAN,
    VARCHAR,
    TrinoType,
    array,
    display,
    timestamp_tz,
)

SYSTEM = "system"
INFORMATION = "information_schema"

Rows = Iterable[Sequence[Any]]
Maker = Callable[["VirtualTables", Catalogs, str], Rows]


@dataclass(frozen=True, slots=True)
class RuntimeView:
    """What the process tells about itself. `queries` gives rows of `system.runtime.queries`."""

    node_id: str
    uri: str
    version: str
    connectors: dict[str, str]
    queries: Callable[[], Rows] = field(default=lambda: ())


_KINDS = {"b": BIGINT, "z": BOOLEAN, "v": VARCHAR, "a": array(VARCHAR), "T": timestamp_tz(3, "UTC")}
_ARROW: dict[str, Any] = {
    "bigint": pa.int64(), "boolean": pa.bool_(), "varchar": pa.string(), "array": pa.list_(pa.string()),
    "timestamp with time zone": pa.timestamp("us", tz="UTC"),
}  # fmt: skip


def _columns(spec: str) -> tuple[ColumnInfo, ...]:
    """`-name` is hidden; `name` is varchar, `:b` bigint, `:z` boolean, `:a` array(varchar), `:T` a time with zone."""
    parts = (one.partition(":") for one in spec.split())
    return tuple(
        ColumnInfo(name.removeprefix("-"), _KINDS[kind or "v"], hidden=name.startswith("-"))
        for name, _, kind in parts
    )


_INFORMATION: dict[str, str] = {
    "tables": "table_catalog table_schema table_name table_type",
    "columns": "table_catalog table_schema table_name column_name ordinal_position:b column_default is_nullable "
    "data_type -comment -extra_info",
    "schemata": "catalog_name schema_name",
    "views": "table_catalog table_schema table_name view_definition",
    "roles": "role_name",
    "enabled_roles": "role_name",
    "applicable_roles": "grantee grantee_type role_name is_grantable",
    "table_privileges": "grantor grantor_type grantee grantee_type table_catalog table_schema table_name "
    "privilege_type is_grantable with_hierarchy",
}
_PROPERTIES = "catalog_name property_name default_value type description"
_SYSTEM: dict[tuple[str, str], str] = {
    ("jdbc", "catalogs"): "table_cat",
    ("jdbc", "schemas"): "table_schem table_catalog",
    ("jdbc", "tables"): "table_cat table_schem table_name table_type remarks type_cat type_schem type_name "
    "self_referencing_col_name ref_generation",
    ("jdbc", "columns"): "table_cat table_schem table_name column_name data_type:b type_name column_size:b "
    "buffer_length:b decimal_digits:b num_prec_radix:b nullable:b remarks column_def sql_data_type:b "
    "sql_datetime_sub:b char_octet_length:b ordinal_position:b is_nullable scope_catalog scope_schema scope_table "
    "source_data_type:b is_autoincrement is_generatedcolumn",
    (
        "jdbc",
        "types",
    ): "type_name data_type:b precision:b literal_prefix literal_suffix create_params nullable:b "
    "case_sensitive:z searchable:b unsigned_attribute:z fixed_prec_scale:z auto_increment:z local_type_name "
    "minimum_scale:b maximum_scale:b sql_data_type:b sql_datetime_sub:b num_prec_radix:b",
    ("jdbc", "table_types"): "table_type",
    (
        "jdbc",
        "procedures",
    ): "procedure_cat procedure_schem procedure_name remarks procedure_type:b specific_name",
    (
        "jdbc",
        "procedure_columns",
    ): "procedure_cat procedure_schem procedure_name column_name column_type:b data_type:b "
    "type_name precision:b length:b scale:b radix:b nullable:b remarks column_def sql_data_type:b sql_datetime_sub:b "
    "char_octet_length:b ordinal_position:b is_nullable specific_name",
    ("jdbc", "attributes"): "type_cat type_schem type_name attr_name data_type:b attr_type_name attr_size:b "
    "decimal_digits:b num_prec_radix:b nullable:b remarks attr_def sql_data_type:b sql_datetime_sub:b "
    "char_octet_length:b ordinal_position:b is_nullable scope_catalog scope_schema scope_table source_data_type:b",
    ("jdbc", "pseudo_columns"): "table_cat table_schem table_name column_name data_type:b column_size:b "
    "decimal_digits:b num_prec_radix:b column_usage remarks char_octet_length:b is_nullable:b",
    ("jdbc", "super_tables"): "table_cat table_schem table_name supertable_name",
    ("jdbc", "super_types"): "type_cat type_schem type_name supertype_cat supertype_schem supertype_name",
    ("jdbc", "udts"): "type_cat type_schem type_name class_name data_type remarks base_type",
    ("metadata", "catalogs"): "catalog_name connector_id connector_name",
    ("metadata", "table_comments"): "catalog_name schema_name table_name comment",
    ("metadata", "schema_properties"): _PROPERTIES,
    ("metadata", "table_properties"): _PROPERTIES,
    ("metadata", "column_properties"): _PROPERTIES,
    ("metadata", "analyze_properties"): _PROPERTIES,
    ("metadata", "materialized_view_properties"): _PROPERTIES,
    (
        "metadata",
        "materialized_views",
    ): "catalog_name schema_name name storage_catalog storage_schema storage_table "
    "freshness last_fresh_time:T comment definition",
    ("runtime", "nodes"): "node_id http_uri node_version coordinator:z state",
    (
        "runtime",
        "queries",
    ): "query_id state user source query resource_group_id:a queued_time_ms:b analysis_time_ms:b "
    "planning_time_ms:b created:T started:T last_heartbeat:T end:T error_type error_code",
    (
        "runtime",
        "transactions",
    ): "transaction_id isolation_level read_only:z auto_commit_context:z create_time:T "
    "idle_time_secs:b written_catalog catalogs:a",
}
_SYSTEM_SCHEMAS = ("information_schema", "jdbc", "metadata", "runtime")

_JDBC_CODES = {
    "boolean": 16, "tinyint": -6, "smallint": 5, "integer": 4, "bigint": -5, "real": 7, "double": 8, "decimal": 3,
    "varchar": 12, "char": 1, "varbinary": -3, "date": 91, "time": 92, "time with time zone": 2013, "timestamp": 93,
    "timestamp with time zone": 2014, "array": 2003,
}  # fmt: skip
_JAVA_OBJECT = 2000
_SIZES = {"tinyint": 3, "smallint": 5, "integer": 10, "bigint": 19, "real": 24, "double": 53, "date": 14,
          "varbinary": 2147483647}  # fmt: skip
_TEMPORAL_SIZES = {"time": (8, 9), "time with time zone": (14, 15), "timestamp": (21, 22),
                   "timestamp with time zone": (55, 56)}  # fmt: skip
_TYPES = (
    ["uuid", "integer", "varbinary", "boolean", "real", "json", "unknown", "bigint", "double", "smallint", "tinyint",
     "date"],
    ("interval year to month", "interval day to second"),
    ("varchar", "char", "decimal", "time", "time with time zone", "timestamp", "timestamp with time zone", "array",
     "map", "row"),
)  # fmt: skip


class VirtualTables:
    """Finds virtual tables, and registers their rows on one query's connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, runtime: RuntimeView) -> None:
        self.runtime = runtime
        self._connection = connection
        self._registered = 0

    def has_schema(self, catalog: str, schema: str) -> bool:
        return schema == INFORMATION or (catalog == SYSTEM and schema in _SYSTEM_SCHEMAS)

    def find(self, catalog: str, schema: str, name: str) -> RelationInfo | None:
        spec = _INFORMATION.get(name) if schema == INFORMATION else None
        if catalog == SYSTEM and schema != INFORMATION:
            spec = _SYSTEM.get((schema, name))
        return None if spec is None else RelationInfo(catalog, schema, name, _columns(spec))

    def names(self, catalog: str, schema: str) -> list[str]:
        """The tables of a virtual schema."""
        if schema == INFORMATION:
            return sorted(_INFORMATION)
        return sorted(name for where, name in _SYSTEM if catalog == SYSTEM and where == schema)

    def register(self, relation: RelationInfo, catalogs: Catalogs) -> str:
        """Make the rows readable; returns the name to read from."""
        maker = _MAKERS.get((relation.schema, relation.name))
        rows = list(maker(self, catalogs, relation.catalog)) if maker else []
        arrays = [
            pa.array([one[i] for one in rows], type=_ARROW[column.type.base])
            for i, column in enumerate(relation.columns)
        ]
        self._registered += 1
        name = f"virtual_{self._registered}"
        names = [column.name for column in relation.columns]
        self._connection.register(name, pa.table(arrays, names=names))
        return name

    def relations(self, catalogs: Catalogs, catalog: str) -> list[RelationInfo]:
        """Everything in a catalog, its virtual tables included."""
        found = [one for one in catalogs.relations.values() if one.catalog.lower() == catalog]
        schemas = _SYSTEM_SCHEMAS if catalog == SYSTEM else (INFORMATION,)
        for schema in schemas:
            for name in self.names(catalog, schema):
                virtual = self.find(catalog, schema, name)
                assert virtual is not None
                found.append(virtual)
        return found

    def catalogs(self, catalogs: Catalogs) -> list[str]:
        return sorted({*catalogs.schemas, SYSTEM})

    def schemas(self, catalogs: Catalogs, catalog: str) -> list[str]:
        return list(_SYSTEM_SCHEMAS) if catalog == SYSTEM else list(catalogs.schemas.get(catalog, ()))


# -- rows


def _tables(v: VirtualTables, c: Catalogs, catalog: str) -> Rows:
    for one in v.relations(c, catalog):
        yield catalog, one.schema, one.name.lower(), "VIEW" if one.view else "BASE TABLE"


def _columns_rows(v: VirtualTables, c: Catalogs, catalog: str) -> Rows:
    for one in v.relations(c, catalog):
        for index, column in enumerate((c for c in one.columns if not c.hidden), 1):
            nullable = "YES" if column.nullable else "NO"
            place = (catalog, one.schema, one.name.lower(), column.name.lower(), index)
            yield (*place, None, nullable, display(column.type), column.comment, None)


def _views(v: VirtualTables, c: Catalogs, catalog: str) -> Rows:
    for one in v.relations(c, catalog):
        if one.view:
            yield catalog, one.schema, one.name.lower(), one.definition


def _schemata(v: VirtualTables, c: Catalogs, catalog: str) -> Rows:
    for schema in v.schemas(c, catalog):
        yield catalog, schema


def _jdbc_catalogs(v: VirtualTables, c: Catalogs, _: str) -> Rows:
    return [(name,) for name in v.catalogs(c)]


def _jdbc_schemas(v: VirtualTables, c: Catalogs, _: str) -> Rows:
    return [(schema, catalog) for catalog in v.catalogs(c) for schema in v.schemas(c, catalog)]


def _jdbc_tables(v: VirtualTables, c: Catalogs, _: str) -> Rows:
    for catalog in v.catalogs(c):
        for one in sorted(v.relations(c, catalog), key=lambda r: (r.schema, r.name)):
            kind = "VIEW" if one.view else "TABLE"
            yield catalog, one.schema, one.name.lower(), kind, one.comment, None, None, None, None, None


def _jdbc_columns(v: VirtualTables, c: Catalogs, _: str) -> Rows:
    for catalog in v.catalogs(c):
        for one in sorted(v.relations(c, catalog), key=lambda r: (r.schema, r.name)):
            for index, column in enumerate((c for c in one.columns if not c.hidden), 1):
                yield _jdbc_column(catalog, one, column, index)


def _jdbc_column(catalog: str, table: RelationInfo, column: ColumnInfo, index: int) -> tuple[Any, ...]:
    kind = column.type
    text_size = kind.precision if kind.base in ("varchar", "char") else None
    octets = 2147483647 if kind.base == "varbinary" else text_size
    digits = (
        kind.scale if kind.base == "decimal" else (kind.precision if kind.base in _TEMPORAL_SIZES else None)
    )
    return (
        catalog, table.schema, table.name.lower(), column.name.lower(), _JDBC_CODES.get(kind.base, _JAVA_OBJECT),
        display(kind), _size(kind), 0, digits, _radix(kind.base), 1 if column.nullable else 0, column.comment, None,
        None, None, octets, index, "YES" if column.nullable else "NO", None, None, None, None, None, None,
    )  # fmt: skip


def _size(kind: TrinoType) -> int | None:
    if kind.base in ("varchar", "char", "decimal"):
        return kind.precision
    if kind.base in _TEMPORAL_SIZES:
        whole, fraction = _TEMPORAL_SIZES[kind.base]
        return fraction + kind.precision if kind.precision else whole
    return _SIZES.get(kind.base)


def _radix(base: str) -> int | None:
    if base in INTEGERS or base == "decimal":
        return 10
    return 2 if base in ("real", "double") else None


def _jdbc_types(v: VirtualTables, c: Catalogs, _: str) -> Rows:
    plain, intervals, parametric = _TYPES
    for base in (*plain, *intervals):
        yield _type_row(base, _JDBC_CODES.get(base, _JAVA_OBJECT), _SIZES.get(base), 3, _radix(base))
    for base in parametric:
        yield _type_row(base, 2003 if base == "array" else _JAVA_OBJECT, None, 0, None)


def _type_row(base: str, code: int, size: int | None, searchable: int, radix: int | None) -> tuple[Any, ...]:
    return (
        base,
        code,
        size,
        None,
        None,
        None,
        1,
        False,
        searchable,
        None,
        False,
        None,
        None,
        0,
        0,
        None,
        None,
        radix,
    )


def _table_comments(v: VirtualTables, c: Catalogs, _: str) -> Rows:
    for catalog in v.catalogs(c):
        for one in v.relations(c, catalog):
            yield catalog, one.schema, one.name.lower(), one.comment


def _metadata_catalogs(v: VirtualTables, c: Catalogs, _: str) -> Rows:
    return [(name, name, v.runtime.connectors.get(name, name)) for name in v.catalogs(c)]


def _nodes(v: VirtualTables, c: Catalogs, _: str) -> Rows:
    return [(v.runtime.node_id, v.runtime.uri, v.runtime.version, True, "active")]


def _queries(v: VirtualTables, c: Catalogs, _: str) -> Rows:
    return v.runtime.queries()


_MAKERS: dict[tuple[str, str], Maker] = {
    (INFORMATION, "tables"): _tables,
    (INFORMATION, "columns"): _columns_rows,
    (INFORMATION, "views"): _views,
    (INFORMATION, "schemata"): _schemata,
    ("jdbc", "catalogs"): _jdbc_catalogs,
    ("jdbc", "schemas"): _jdbc_schemas,
    ("jdbc", "tables"): _jdbc_tables,
    ("jdbc", "columns"): _jdbc_columns,
    ("jdbc", "types"): _jdbc_types,
    ("jdbc", "table_types"): lambda v, c, _: [("TABLE",), ("VIEW",)],
    ("metadata", "catalogs"): _metadata_catalogs,
    ("metadata", "table_comments"): _table_comments,
    ("runtime", "nodes"): _nodes,
    ("runtime", "queries"): _queries,
}


def moment(seconds: float | None) -> datetime | None:
    """A Unix time as a value of a timestamp column."""
    return None if seconds is None else datetime.fromtimestamp(seconds, tz=_utc())


def _utc() -> Any:
    from datetime import UTC

    return UTC
