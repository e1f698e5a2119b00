"""SHOW and DESCRIBE: what exists, as small results."""

# ruff: noqa: S608 - SQL is made here, from a parsed tree and quoted names; a client's text is never pasted.

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlglot.tokenizer_core import TokenType

from gateway.engines.duckdb.aggregates import AGGREGATES, WINDOWS
from gateway.engines.duckdb.catalog import RelationInfo
from gateway.engines.duckdb.failures import fail
from gateway.engines.duckdb.names import FUNCTIONS, SPECIAL
from gateway.engines.duckdb.overloads import KIND_NAMES, Overload
from gateway.engines.duckdb.scalars import SCALARS
from gateway.engines.duckdb.syntax import Source
from gateway.engines.duckdb.virtual import SYSTEM
from gateway.engines.duckdb.work import Known, Select, Work, texts
from gateway.wire.trino.documents import ResultColumn
from gateway.wire.trino.types import BIGINT, BOOLEAN, DOUBLE, VARCHAR, TrinoType, client_name, display

if TYPE_CHECKING:
    from gateway.engines.duckdb.statements import Analysis


def name_parts(source: Source, index: int) -> list[str]:
    """A dotted name from a token on."""
    parts = []
    while index < len(source.tokens):
        parts.append(source.tokens[index].text)
        index += 1
        if index >= len(source.tokens) or source.tokens[index].token_type != TokenType.DOT:
            break
        index += 1
    return parts


def _like(source: Source, words: list[str]) -> re.Pattern[str] | None:
    """`LIKE 'a!_%' ESCAPE '!'` as a pattern; None when there is none."""
    if "like" not in words:
        return None
    at = words.index("like")
    if at + 1 >= len(words) or source.tokens[at + 1].token_type != TokenType.STRING:
        fail("SYNTAX_ERROR", "LIKE takes a string", source.end)
    escape = (
        source.tokens[at + 3].text if words[at + 2 : at + 3] == ["escape"] and len(words) > at + 3 else None
    )
    pattern, out, index = source.tokens[at + 1].text, [], 0
    while index < len(pattern):
        char = pattern[index]
        if escape and char == escape and index + 1 < len(pattern):
            index += 1
            out.append(re.escape(pattern[index]))
        else:
            out.append({"%": ".*", "_": "."}.get(char) or re.escape(char))
        index += 1
    return re.compile("".join(out), re.DOTALL)


def _kept(names: list[str], like: re.Pattern[str] | None) -> list[list[str]]:
    return [[name] for name in names if like is None or like.fullmatch(name)]


def show(analysis: Analysis, source: Source, words: list[str]) -> Work:
    """Any SHOW."""
    handlers = {
        "catalogs": _catalogs, "schemas": _schemas, "tables": _tables, "columns": lambda a, s, w: columns(a, s, 3),
        "functions": _functions, "session": _session, "stats": _stats, "create": _create,
        "roles": lambda a, s, w: texts(["Role"], []), "grants": _grants,
    }  # fmt: skip
    if words[1:3] == ["current", "roles"]:
        return texts(["Role"], [])
    if words[1:3] == ["role", "grants"]:
        return texts(["Role Grants"], [])
    handler = handlers.get(words[1]) if len(words) > 1 else None
    if handler is None:
        expecting = ", ".join(f"'{word.upper()}'" for word in sorted(handlers))
        if len(words) < 2:
            fail("SYNTAX_ERROR", f"mismatched input '<EOF>'. Expecting: {expecting}", source.end)
        token = source.tokens[1]
        fail(
            "SYNTAX_ERROR",
            f"mismatched input '{token.text}'. Expecting: {expecting}",
            source.place(token.start),
        )
    return handler(analysis, source, words)


def _catalogs(analysis: Analysis, source: Source, words: list[str]) -> Work:
    return texts(["Catalog"], _kept(analysis.virtual.catalogs(analysis.catalogs), _like(source, words)))


def _from(words: list[str]) -> int | None:
    """The token after FROM or IN."""
    for index in range(2, min(len(words), 3)):
        if words[index] in ("from", "in"):
            return index + 1
    return None


def _checked_catalog(analysis: Analysis, source: Source, catalog: str | None) -> str:
    place = source.place(source.tokens[0].start)
    if catalog is None:
        fail("MISSING_CATALOG_NAME", "Catalog must be specified when session catalog is not set", place)
    if catalog not in analysis.virtual.catalogs(analysis.catalogs):
        fail("CATALOG_NOT_FOUND", f"Catalog '{catalog}' not found", place)
    return catalog


def _schemas(analysis: Analysis, source: Source, words: list[str]) -> Work:
    at = _from(words)
    catalog = _checked_catalog(analysis, source, words[at] if at else analysis.session.catalog)
    return texts(
        ["Schema"], _kept(sorted(analysis.virtual.schemas(analysis.catalogs, catalog)), _like(source, words))
    )


def _tables(analysis: Analysis, source: Source, words: list[str]) -> Work:
    at = _from(words)
    parts = [part.lower() for part in name_parts(source, at)] if at else []
    place = source.place(source.tokens[0].start)
    schema = parts[-1] if parts else analysis.session.schema
    catalog = _checked_catalog(analysis, source, parts[0] if len(parts) == 2 else analysis.session.catalog)
    if schema is None:
        fail("MISSING_SCHEMA_NAME", "Schema must be specified when session schema is not set", place)
    if schema not in analysis.virtual.schemas(analysis.catalogs, catalog):
        fail("SCHEMA_NOT_FOUND", f"Schema '{schema}' does not exist", place)
    names = [
        one.name.lower()
        for one in analysis.virtual.relations(analysis.catalogs, catalog)
        if one.schema == schema
    ]
    return texts(["Table"], _kept(sorted(names), _like(source, words)))


def relation_at(analysis: Analysis, source: Source, index: int) -> RelationInfo:
    """The table or view named from a token on; failures are placed at the start, as Trino does here."""
    parts = [part.lower() for part in name_parts(source, index)]
    place = source.place(source.tokens[0].start)
    if not 1 <= len(parts) <= 3:
        fail("SYNTAX_ERROR", "A table name has one to three parts", place)
    schema = parts[-2] if len(parts) > 1 else analysis.session.schema
    if schema is None:
        fail("MISSING_SCHEMA_NAME", "Schema must be specified when session schema is not set", place)
    catalog = _checked_catalog(analysis, source, parts[0] if len(parts) == 3 else analysis.session.catalog)
    if schema not in analysis.virtual.schemas(analysis.catalogs, catalog):
        fail("SCHEMA_NOT_FOUND", f"Schema '{schema}' does not exist", place)
    found = analysis.virtual.find(catalog, schema, parts[-1]) or analysis.catalogs.relation(
        catalog, schema, parts[-1]
    )
    if found is None:
        fail("TABLE_NOT_FOUND", f"Table '{catalog}.{schema}.{parts[-1]}' does not exist", place)
    return found


def columns(analysis: Analysis, source: Source, index: int) -> Work:
    """SHOW COLUMNS and DESCRIBE."""
    relation = relation_at(analysis, source, index)
    like = _like(source, source.words())
    rows = [
        [one.name.lower(), display(one.type), "", one.comment or ""]
        for one in relation.columns
        if not one.hidden and (like is None or like.fullmatch(one.name.lower()))
    ]
    return texts(["Column", "Type", "Extra", "Comment"], rows)


def _grants(analysis: Analysis, source: Source, words: list[str]) -> Work:
    _checked_catalog(analysis, source, analysis.session.catalog)
    grant = ["Grantor", "Grantor Type", "Grantee", "Grantee Type"]
    return texts([*grant, "Catalog", "Schema", "Table", "Privilege", "Grantable"], [])


# -- functions


def _functions(analysis: Analysis, source: Source, words: list[str]) -> Work:
    like = _like(source, words)
    rows = []
    for name in sorted(FUNCTIONS - SPECIAL):
        if name.endswith("_literal") or (like is not None and not like.fullmatch(name)):
            continue
        for kind, table in (("scalar", SCALARS), ("aggregate", AGGREGATES), ("window", WINDOWS)):
            rows += [[name, _returned(one), _arguments(one), kind, True, ""] for one in table.get(name, ())]
        if not any(name in table for table in (SCALARS, AGGREGATES, WINDOWS)):
            rows.append([name, "T", "T", "scalar", True, ""])
    names = ("Function", "Return Type", "Argument Types", "Function Type", "Deterministic", "Description")
    return Known(
        tuple(ResultColumn(name, BOOLEAN if name == "Deterministic" else VARCHAR) for name in names), rows
    )


def _returned(overload: Overload) -> str:
    return display(overload.returns) if isinstance(overload.returns, TrinoType) else "T"


def _arguments(overload: Overload) -> str:
    return ", ".join(KIND_NAMES[kind[0]] for kind in overload.kinds)


# -- session properties

# name -> (default, type, description): those that clients and tools set; the embedded engine accepts and ignores them.
PROPERTIES: dict[str, tuple[str, str, str]] = {
    "query_max_run_time": ("100.00d", "varchar", "Maximum run time of a query (includes the queueing time)"),
    "query_max_execution_time": ("100.00d", "varchar", "Maximum execution time of a query"),
    "query_max_planning_time": ("10.00m", "varchar", "Maximum planning time of a query"),
    "query_max_cpu_time": ("1000000000.00d", "varchar", "Maximum CPU time of a query"),
    "query_max_memory": ("512MB", "varchar", "Maximum amount of distributed memory a query can use"),
    "query_max_total_memory": (
        "1GB",
        "varchar",
        "Maximum amount of distributed total memory a query can use",
    ),
    "query_max_scan_physical_bytes": ("", "varchar", "Maximum scan physical bytes of a query"),
    "query_priority": ("1", "integer", "The priority of queries. Larger numbers are higher priority"),
    "join_distribution_type": ("AUTOMATIC", "varchar", "Join distribution type"),
    "join_reordering_strategy": ("AUTOMATIC", "varchar", "Join reordering strategy"),
    "join_max_broadcast_table_size": (
        "100MB",
        "varchar",
        "Maximum estimated size of a table that can be broadcast",
    ),
    "task_concurrency": ("2", "integer", "Default number of local parallel jobs per worker"),
    "task_writer_count": ("1", "integer", "Number of local parallel table writers per task"),
    "execution_policy": ("phased", "varchar", "Policy used for scheduling query tasks"),
    "retry_policy": ("NONE", "varchar", "Retry policy"),
    "spill_enabled": ("false", "boolean", "Enable spilling"),
    "time_zone_id": ("", "varchar", "Time zone id for the current session"),
    "enable_dynamic_filtering": ("true", "boolean", "Enable dynamic filtering"),
    "optimize_hash_generation": ("false", "boolean", "Compute hash codes early"),
    "redistribute_writes": ("true", "boolean", "Force parallel distributed writes"),
    "scale_writers": ("true", "boolean", "Scale out writers based on throughput"),
    "use_table_statistics": ("true", "boolean", "Use statistics for planning"),
    "statistics_cpu_timer_enabled": ("true", "boolean", "Experimental: Enable cpu time tracking"),
    "resource_overcommit": (
        "false",
        "boolean",
        "Use resources which are not guaranteed to be available to the query",
    ),
}


def check_property(analysis: Analysis, name: str, source: Source) -> None:
    """Raises TrinoFailure for a session property that does not exist. Those of our catalogs are accepted."""
    catalog, dot, _ = name.partition(".")
    if (dot and catalog in analysis.catalogs.schemas) or name in PROPERTIES:
        return
    place = source.place(source.tokens[2].start)
    fail("INVALID_SESSION_PROPERTY", f"Session property '{name}' does not exist", place)


def _session(analysis: Analysis, source: Source, words: list[str]) -> Work:
    like = _like(source, words)
    rows = [
        [name, analysis.session.properties.get(name, default), default, kind, text]
        for name, (default, kind, text) in sorted(PROPERTIES.items())
        if like is None or like.fullmatch(name)
    ]
    return texts(["Name", "Value", "Default", "Type", "Description"], rows)


# -- statistics and definitions


def _stats(analysis: Analysis, source: Source, words: list[str]) -> Work:
    if words[2:3] != ["for"]:
        fail("SYNTAX_ERROR", "mismatched input. Expecting: 'FOR'", source.end)
    names = (
        "column_name",
        "data_size",
        "distinct_values_count",
        "nulls_fraction",
        "row_count",
        "low_value",
        "high_value",
    )
    shown = tuple(
        ResultColumn(n, VARCHAR if n in ("column_name", "low_value", "high_value") else DOUBLE) for n in names
    )
    if words[3:4] == ["("]:
        output = analysis.queries(source).top(source.after(3).parse())
        rows: list[list[object]] = [[name, None, None, None, None, None, None] for name in output.names]
        return Known(shown, [*rows, [None] * 7])
    relation = relation_at(analysis, source, 3)
    if relation.schema in ("information_schema",) or relation.catalog == SYSTEM or relation.view:
        return Known(shown, [*([one.name, *[None] * 6] for one in relation.columns), [None] * 7])
    return Known(shown, _measured(analysis, relation))


def _measured(analysis: Analysis, relation: RelationInfo) -> list[list[object]]:
    """Counted in DuckDB, which is quick on a table of the embedded engine."""
    from gateway.engines.duckdb.scope import quote

    parts = []
    for one in relation.columns:
        name = quote(one.name)
        ranged = one.type.base not in (
            "varchar",
            "char",
            "varbinary",
            "array",
            "map",
            "row",
            "json",
            "boolean",
            "uuid",
        )
        edges = f"CAST(min({name}) AS VARCHAR), CAST(max({name}) AS VARCHAR)" if ranged else "NULL, NULL"
        parts.append(f"approx_count_distinct({name}), count({name}), {edges}")
    query = f"SELECT count(*), {', '.join(parts)} FROM {relation.sql}"
    found = analysis.connection.execute(query).fetchone()
    assert found is not None
    total = int(found[0])
    rows: list[list[object]] = []
    for index, one in enumerate(relation.columns):
        distinct, filled, low, high = found[1 + index * 4 : 5 + index * 4]
        nulls = 0.0 if not total else 1 - filled / total
        rows.append([one.name, None, float(min(distinct, total)), nulls, None, low, high])
    return [*rows, [None, None, None, None, float(total), None, None]]


def _create(analysis: Analysis, source: Source, words: list[str]) -> Work:
    kind = words[2] if len(words) > 2 else ""
    place = source.place(source.tokens[0].start)
    if kind == "schema":
        parts = [part.lower() for part in name_parts(source, 3)]
        catalog = _checked_catalog(
            analysis, source, parts[0] if len(parts) == 2 else analysis.session.catalog
        )
        if not parts or parts[-1] not in analysis.virtual.schemas(analysis.catalogs, catalog):
            fail("SCHEMA_NOT_FOUND", f"Schema '{catalog}.{parts[-1] if parts else ''}' does not exist", place)
        return texts(["Create Schema"], [[f"CREATE SCHEMA {catalog}.{parts[-1]}"]])
    if kind not in ("table", "view"):
        fail("SYNTAX_ERROR", "mismatched input. Expecting: 'SCHEMA', 'TABLE', 'VIEW'", place)
    relation = relation_at(analysis, source, 3)
    name = f"{relation.catalog}.{_shown(relation.schema)}.{_shown(relation.name)}"
    if relation.view != (kind == "view"):
        what = "a view" if relation.view else "a table"
        fail("NOT_SUPPORTED", f"Relation '{name}' is {what}, not a {kind}", place)
    if kind == "view":
        return texts(["Create View"], [[f"CREATE VIEW {name} SECURITY DEFINER AS\n{relation.definition}"]])
    lines = [
        f"   {_shown(one.name)} {client_name(one.type)}"
        + ("" if one.nullable else " NOT NULL")
        + (f" COMMENT {_string(one.comment)}" if one.comment else "")
        for one in relation.columns
    ]
    comment = f"\nCOMMENT {_string(relation.comment)}" if relation.comment else ""
    return texts(["Create Table"], [[f"CREATE TABLE {name} (\n" + ",\n".join(lines) + f"\n){comment}"]])


def _string(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _shown(name: str) -> str:
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'


# -- prepared statements


def described_input(count: int) -> Known:
    """DESCRIBE INPUT: positions; types are not inferred."""
    return Known(
        (ResultColumn("Position", BIGINT), ResultColumn("Type", VARCHAR)),
        [[i, "unknown"] for i in range(count)],
    )


def described_output(work: Work) -> Known:
    """DESCRIBE OUTPUT."""
    names = ("Column Name", "Catalog", "Schema", "Table", "Type", "Type Size", "Aliased")
    kinds = {"Type Size": BIGINT, "Aliased": BOOLEAN}
    shown = tuple(ResultColumn(name, kinds.get(name, VARCHAR)) for name in names)
    if isinstance(work, Select):
        columns_ = list(work.output.columns)
    elif isinstance(work, Known):
        columns_ = [(one.name, one.type) for one in work.columns]
    else:
        columns_ = [("rows", BIGINT)]
    return Known(
        shown, [[name, "", "", "", display(kind), _type_size(kind), False] for name, kind in columns_]
    )


def _type_size(of: TrinoType) -> int:
    """Bytes of a value of fixed width, else 0 (Trino's FixedWidthType)."""
    sizes = {
        "boolean": 1,
        "tinyint": 1,
        "smallint": 2,
        "integer": 4,
        "real": 4,
        "date": 4,
        "bigint": 8,
        "double": 8,
    }
    return sizes.get(of.base, 8 if of.base in ("timestamp", "decimal") else 0)
