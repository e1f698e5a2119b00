"""CREATE, DROP, INSERT, DELETE, UPDATE, MERGE, ALTER, TRUNCATE and COMMENT, as DuckDB statements."""

# ruff: noqa: S608 - SQL is made here, from a parsed tree and quoted names; a client's text is never pasted.

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlglot import exp

from gateway.core.statement import Position
from gateway.engines.duckdb.catalog import ColumnInfo, RelationInfo, column_note, comment_sql, note
from gateway.engines.duckdb.coercion import TEXT, common
from gateway.engines.duckdb.expressions import data_type
from gateway.engines.duckdb.failures import fail
from gateway.engines.duckdb.listings import name_parts, relation_at
from gateway.engines.duckdb.queries import WHERE, Queries
from gateway.engines.duckdb.representation import duck_type
from gateway.engines.duckdb.scope import Field, Output, Scope, Typed, quote
from gateway.engines.duckdb.syntax import Source
from gateway.engines.duckdb.virtual import SYSTEM
from gateway.engines.duckdb.work import Change, Work
from gateway.wire.trino.types import UNKNOWN, TrinoType, client_name, display

if TYPE_CHECKING:
    from gateway.engines.duckdb.statements import Analysis


def change(analysis: Analysis, source: Source, words: list[str]) -> Work:
    """Any statement that changes data or definitions."""
    return _Changes(analysis, source, words).work()


class _Changes:
    def __init__(self, analysis: Analysis, source: Source, words: list[str]) -> None:
        self.analysis = analysis
        self.source = source
        self.words = words
        self.start: Position = source.place(source.tokens[0].start)

    def work(self) -> Work:
        first, second = self.words[0], self.words[1] if len(self.words) > 1 else ""
        if first == "create":
            replace = self.words[1:3] == ["or", "replace"]
            kind = self.words[3 if replace else 1] if len(self.words) > 3 else second
            handlers = {"schema": self._create_schema, "table": self._create_table, "view": self._create_view}
            if kind in handlers:
                return handlers[kind]()
            fail(
                "NOT_SUPPORTED", f"CREATE {kind.upper()} is not supported by the embedded engine", self.start
            )
        if first == "drop":
            drops = {"schema": self._drop_schema, "table": self._drop_relation, "view": self._drop_relation}
            if second in drops:
                return drops[second]()
            fail(
                "NOT_SUPPORTED", f"DROP {second.upper()} is not supported by the embedded engine", self.start
            )
        others = {
            "insert": self._insert, "delete": self._delete, "update": self._update, "merge": self._merge,
            "alter": self._alter, "truncate": self._truncate, "comment": self._comment,
        }  # fmt: skip
        return others[first]()

    # -- names

    @property
    def queries(self) -> Queries:
        return self.analysis.queries(self.source)

    def _schema_name(self, parts: Sequence[str]) -> tuple[str, str]:
        lowered = [part.lower() for part in parts]
        catalog = lowered[0] if len(lowered) == 2 else self.analysis.session.catalog
        if not 1 <= len(lowered) <= 2:
            fail("SYNTAX_ERROR", "A schema name has one or two parts", self.start)
        if catalog is None:
            fail(
                "MISSING_CATALOG_NAME",
                "Catalog must be specified when session catalog is not set",
                self.start,
            )
        if catalog not in self.analysis.virtual.catalogs(self.analysis.catalogs):
            fail("CATALOG_NOT_FOUND", f"Catalog '{catalog}' not found", self.start)
        return catalog, lowered[-1]

    def _new_name(self, table: exp.Table) -> tuple[str, str, str]:
        """The name of something to be created, in a schema that exists and is not virtual."""
        schema = (table.db or self.analysis.session.schema or "").lower()
        if not schema:
            fail("MISSING_SCHEMA_NAME", "Schema must be specified when session schema is not set", self.start)
        catalog, schema = self._schema_name([table.catalog, schema] if table.catalog else [schema])
        self._writable(catalog, schema)
        if not self.analysis.catalogs.has_schema(catalog, schema):
            fail("SCHEMA_NOT_FOUND", f"Schema '{schema}' does not exist", self.start)
        return catalog, schema, table.name.lower()

    def _writable(self, catalog: str, schema: str) -> None:
        if catalog == SYSTEM or schema == "information_schema":
            fail("NOT_SUPPORTED", "This connector does not support changes", self.start)

    def _target(self, node: exp.Expr) -> RelationInfo:
        if not isinstance(node, exp.Table):
            fail("SYNTAX_ERROR", "A table name is expected here", self.start)
        schema = (node.db or self.analysis.session.schema or "").lower()
        if not schema:
            fail("MISSING_SCHEMA_NAME", "Schema must be specified when session schema is not set", self.start)
        catalog, schema = self._schema_name([node.catalog, schema] if node.catalog else [schema])
        self._writable(catalog, schema)
        found = self.analysis.catalogs.relation(catalog, schema, node.name)
        if found is None:
            fail(
                "TABLE_NOT_FOUND",
                f"Table '{catalog}.{schema}.{node.name.lower()}' does not exist",
                self.start,
            )
        if found.view:
            fail("NOT_SUPPORTED", "Changing rows of views is not supported", self.start)
        return found

    # -- schemas

    def _create_schema(self) -> Work:
        at = 5 if self.words[2:5] == ["if", "not", "exists"] else 2
        catalog, schema = self._schema_name(name_parts(self.source, at))
        if catalog == SYSTEM:
            fail("NOT_SUPPORTED", "This connector does not support creating schemas", self.start)
        if schema in self.analysis.virtual.schemas(self.analysis.catalogs, catalog):
            if at == 5:
                return Change("CREATE SCHEMA", ())
            fail("SCHEMA_ALREADY_EXISTS", f"Schema '{catalog}.{schema}' already exists", self.start)
        return Change("CREATE SCHEMA", (f"CREATE SCHEMA {quote(catalog)}.{quote(schema)}",))

    def _drop_schema(self) -> Work:
        exists = self.words[2:4] == ["if", "exists"]
        catalog, schema = self._schema_name(name_parts(self.source, 4 if exists else 2))
        if not self.analysis.catalogs.has_schema(catalog, schema):
            if exists:
                return Change("DROP SCHEMA", ())
            fail("SCHEMA_NOT_FOUND", f"Schema '{catalog}.{schema}' does not exist", self.start)
        self._writable(catalog, schema)
        cascade = self.words[-1] == "cascade"
        if self.analysis.catalogs.in_schema(catalog, schema) and not cascade:
            fail("SCHEMA_NOT_EMPTY", f"Cannot drop non-empty schema '{schema}'", self.start)
        suffix = " CASCADE" if cascade else ""
        return Change("DROP SCHEMA", (f"DROP SCHEMA {quote(catalog)}.{quote(schema)}{suffix}",))

    # -- tables

    def _create_table(self) -> Work:
        tree = self.source.parse()
        if not isinstance(tree, exp.Create):
            fail("SYNTAX_ERROR", "This CREATE TABLE cannot be read", self.start)
        schema = tree.this if isinstance(tree.this, exp.Schema) else None
        table = schema.this if schema is not None else tree.this
        catalog, where, name = self._new_name(table)
        full = f"{quote(catalog)}.{quote(where)}.{quote(name)}"
        existing = self.analysis.catalogs.relation(catalog, where, name)
        query = tree.args.get("expression")
        if existing is not None and not tree.args.get("replace"):
            if tree.args.get("exists"):
                return Change("CREATE TABLE", (), counted=None)
            fail("TABLE_ALREADY_EXISTS", f"Table '{catalog}.{where}.{name}' already exists", self.start)
        word = "CREATE OR REPLACE TABLE" if tree.args.get("replace") else "CREATE TABLE"
        comment = self._table_comment(tree)
        notes = [comment_sql("TABLE", full, comment)] if comment else []
        if query is not None:
            return self._create_as(tree, schema, query, word, full, notes)
        columns = self._defined(schema, tree)
        if not columns:
            fail("MISSING_COLUMN_NAME", "A table needs at least one column", self.start)
        defined = ", ".join(
            f"{quote(one.name)} {duck_type(one.type)}{'' if one.nullable else ' NOT NULL'}" for one in columns
        )
        statements = [f"{word} {full} ({defined})", *notes, *self._column_notes(full, columns)]
        return Change("CREATE TABLE", tuple(statements))

    def _table_comment(self, tree: exp.Expr) -> str | None:
        properties = tree.args.get("properties")
        for one in properties.expressions if properties is not None else ():
            if isinstance(one, exp.SchemaCommentProperty):
                return str(one.this.name)
        return None

    def _defined(self, schema: exp.Schema | None, tree: exp.Expr) -> list[ColumnInfo]:
        columns: list[ColumnInfo] = []
        for one in schema.expressions if schema is not None else ():
            if isinstance(one, exp.ColumnDef):
                columns.append(self._column(one))
            elif isinstance(one, exp.LikeProperty):
                columns += [
                    ColumnInfo(c.name.lower(), c.type, c.nullable, c.comment)
                    for c in self._target(one.this).columns
                ]
            else:
                fail(
                    "NOT_SUPPORTED",
                    "The embedded engine has columns and LIKE in CREATE TABLE",
                    self.source.of(one),
                )
        seen: set[str] = set()
        for column in columns:
            if column.name in seen:
                fail(
                    "DUPLICATE_COLUMN_NAME",
                    f"Column name '{column.name}' specified more than once",
                    self.start,
                )
            seen.add(column.name)
        return columns

    def _column(self, node: exp.ColumnDef) -> ColumnInfo:
        kind = node.args.get("kind")
        if kind is None:
            fail("COLUMN_TYPE_UNKNOWN", f"Column '{node.name}' has no type", self.source.of(node))
        nullable, comment = True, None
        for one in node.args.get("constraints") or ():
            if isinstance(one.args.get("kind"), exp.NotNullColumnConstraint):
                nullable = bool(one.args["kind"].args.get("allow_null"))
            elif isinstance(one.args.get("kind"), exp.CommentColumnConstraint):
                comment = one.args["kind"].this.name
        return ColumnInfo(node.name.lower(), data_type(self.queries, kind), nullable, comment)

    def _column_notes(self, full: str, columns: Sequence[ColumnInfo]) -> list[str]:
        notes = []
        for one in columns:
            kept = column_note(one.type, one.comment)
            if kept is not None:
                notes.append(comment_sql("COLUMN", f"{full}.{quote(one.name)}", kept))
        return notes

    def _create_as(
        self,
        tree: exp.Create,
        schema: exp.Schema | None,
        query: exp.Expr,
        word: str,
        full: str,
        notes: list[str],
    ) -> Work:
        output = self.queries.top(query)
        given = [one.name.lower() for one in schema.expressions] if schema is not None else []
        if given and len(given) != len(output.types):
            fail(
                "MISMATCHED_COLUMN_ALIASES",
                f"Column alias list has {len(given)} entries but relation has {len(output.types)} columns",
                self.start,
            )
        names = given or self._named(output)
        for name, kind in zip(names, output.types, strict=True):
            if kind == UNKNOWN:
                fail("COLUMN_TYPE_UNKNOWN", f"Column type is unknown: {name}", self.start)
        shown = ", ".join(
            f"CAST(c{i} AS {duck_type(kind)}) AS {quote(name)}"
            for i, (name, kind) in enumerate(zip(names, output.types, strict=True))
        )
        columns = [ColumnInfo(name, kind) for name, kind in zip(names, output.types, strict=True)]
        properties = tree.args.get("properties")
        empty = any(
            isinstance(one, exp.WithDataProperty) and one.args.get("no")
            for one in (properties.expressions if properties is not None else ())
        )
        select = f"SELECT {shown} FROM ({output.sql}){' LIMIT 0' if empty else ''}"
        statements = (f"{word} {full} AS {select}", *notes, *self._column_notes(full, columns))
        return Change("CREATE TABLE", statements, counted=0)

    def _named(self, output: Output) -> list[str]:
        seen: set[str] = set()
        for index, (name, named) in enumerate(zip(output.names, output.named, strict=True), 1):
            if not named:
                fail("MISSING_COLUMN_NAME", f"Column name not specified at position {index}", self.start)
            if name.lower() in seen:
                fail("DUPLICATE_COLUMN_NAME", f"Column name '{name}' specified more than once", self.start)
            seen.add(name.lower())
        return [name.lower() for name in output.names]

    def _drop_relation(self) -> Work:
        kind = self.words[1]
        exists = self.words[2:4] == ["if", "exists"]
        parts = [part.lower() for part in name_parts(self.source, 4 if exists else 2)]
        node = exp.Table(this=exp.to_identifier(parts[-1]))
        for key, part in zip(("db", "catalog"), reversed(parts[:-1]), strict=False):
            node.set(key, exp.to_identifier(part))
        if exists:
            catalog = parts[0] if len(parts) == 3 else self.analysis.session.catalog
            schema = parts[-2] if len(parts) > 1 else self.analysis.session.schema
            if (
                catalog is None
                or schema is None
                or self.analysis.catalogs.relation(catalog, schema, parts[-1]) is None
            ):
                return Change(f"DROP {kind.upper()}", ())
        catalog, schema, name = self._new_name(node)
        found = self.analysis.catalogs.relation(catalog, schema, name)
        if found is None:
            what = "Table" if kind == "table" else "View"
            fail("TABLE_NOT_FOUND", f"{what} '{catalog}.{schema}.{name}' does not exist", self.start)
        if found.view != (kind == "view"):
            actual, wanted = ("view", "table") if found.view else ("table", "view")
            fail(
                "TABLE_NOT_FOUND",
                f"{wanted.capitalize()} '{catalog}.{schema}.{name}' does not exist, but a {actual} with "
                f"that name exists.",
                self.start,
            )
        return Change(f"DROP {kind.upper()}", (f"DROP {kind.upper()} {found.sql}",))

    # -- views

    def _create_view(self) -> Work:
        tree = self.source.parse()
        if not isinstance(tree, exp.Create) or tree.args.get("expression") is None:
            fail("SYNTAX_ERROR", "This CREATE VIEW cannot be read", self.start)
        catalog, where, name = self._new_name(tree.this)
        existing = self.analysis.catalogs.relation(catalog, where, name)
        if existing is not None and not (existing.view and tree.args.get("replace")):
            what = "View" if existing.view else "Table"
            fail("TABLE_ALREADY_EXISTS", f"{what} already exists: '{catalog}.{where}.{name}'", self.start)
        output = self.queries.top(tree.args["expression"])
        names = self._named(output)
        shown = ", ".join(f"c{i} AS {quote(one)}" for i, one in enumerate(names))
        full = f"{quote(catalog)}.{quote(where)}.{quote(name)}"
        at = self.words.index("as")
        text = self.source.text[self.source.tokens[at + 1].start :].rstrip().rstrip(";")
        kept = note(
            sql=text, types=[client_name(kind) for kind in output.types], comment=self._table_comment(tree)
        )
        statements = (
            f"CREATE OR REPLACE VIEW {full} AS SELECT {shown} FROM ({output.sql})",
            comment_sql("VIEW", full, kept),
        )
        return Change("CREATE VIEW", statements)

    # -- rows

    def _insert(self) -> Work:
        tree = self.source.parse()
        if not isinstance(tree, exp.Insert):
            fail("SYNTAX_ERROR", "This INSERT cannot be read", self.start)
        into = tree.this
        target = self._target(into.this if isinstance(into, exp.Schema) else into)
        columns = list(target.columns)
        if isinstance(into, exp.Schema):
            columns = [self._column_of(target, one) for one in into.expressions]
        output = self.queries.top(tree.expression)
        wanted = [one.type for one in columns]
        if len(wanted) != len(output.types) or not all(map(_assignable, output.types, wanted)):
            fail(
                "TYPE_MISMATCH",
                f"Insert query has mismatched column types: Table: [{', '.join(map(display, wanted))}], "
                f"Query: [{', '.join(map(display, output.types))}]",
                self.start,
            )
        casts = self.queries.casts
        shown = ", ".join(
            casts.cast_sql(Typed(f"c{i}", kind), wanted[i]) for i, kind in enumerate(output.types)
        )
        listed = ", ".join(quote(one.name) for one in columns)
        return Change(
            "INSERT", (f"INSERT INTO {target.sql} ({listed}) SELECT {shown} FROM ({output.sql})",), counted=0
        )

    def _column_of(self, target: RelationInfo, node: exp.Expr) -> ColumnInfo:
        for one in target.columns:
            if one.name.lower() == node.name.lower():
                return one
        fail(
            "COLUMN_NOT_FOUND", f"Insert column name does not exist in target table: {node.name}", self.start
        )

    def _scope(self, target: RelationInfo, alias: str, name: str | None) -> Scope:
        fields = [
            Field(one.name, one.type, one.read(alias), name or target.name,
                  qualifiers=(target.catalog, target.schema))
            for one in target.columns
        ]  # fmt: skip
        return Scope(fields)

    def _delete(self) -> Work:
        tree = self.source.parse()
        target = self._target(tree.this)
        where = tree.args.get("where")
        if where is None:
            return Change("DELETE", (f"DELETE FROM {target.sql}",), counted=0)
        queries = self.queries
        with queries.in_clause(WHERE):
            condition = queries.condition(where.this, self._scope(target, "d", None), "WHERE clause")
        queries.check_parameters()
        chosen = f"SELECT d.rowid FROM {target.sql} AS d WHERE {condition}"
        return Change("DELETE", (f"DELETE FROM {target.sql} WHERE rowid IN ({chosen})",), counted=0)

    def _update(self) -> Work:
        tree = self.source.parse()
        target = self._target(tree.this)
        queries, scope = self.queries, self._scope(target, "d", None)
        sets, values = [], []
        for index, one in enumerate(tree.expressions):
            column = self._column_of(target, one.this)
            value = queries.expression(one.expression, scope)
            if not _assignable(value.type, column.type):
                fail(
                    "TYPE_MISMATCH",
                    f"UPDATE table column types don't match SET expressions: Table: "
                    f"[{display(column.type)}], Expressions: [{display(value.type)}]",
                    self.start,
                )
            sets.append(f"{quote(column.name)} = s.v{index}")
            values.append(f"{queries.casts.cast_sql(value, column.type)} AS v{index}")
        where = tree.args.get("where")
        filtered = ""
        if where is not None:
            with queries.in_clause(WHERE):
                filtered = f" WHERE {queries.condition(where.this, scope, 'WHERE clause')}"
        queries.check_parameters()
        chosen = f"SELECT d.rowid AS id, {', '.join(values)} FROM {target.sql} AS d{filtered}"
        name = quote(target.name)
        statement = (
            f"UPDATE {target.sql} SET {', '.join(sets)} FROM ({chosen}) AS s WHERE {name}.rowid = s.id"
        )
        return Change("UPDATE", (statement,), counted=0)

    def _merge(self) -> Work:
        tree = self.source.parse()
        if not isinstance(tree, exp.Merge):
            fail("SYNTAX_ERROR", "This MERGE cannot be read", self.start)
        target = self._target(tree.this)
        queries = self.queries
        own = self._scope(target, "d", tree.this.alias or None).fields
        using = queries.relation(tree.args["using"])
        scope = Scope([*own, *using.fields])
        condition = queries.condition(tree.args["on"], scope, "MERGE ON clause")
        arms = [
            self._merge_arm(queries, target, when, scope, Scope(using.fields))
            for when in tree.args["whens"].expressions
        ]
        queries.check_parameters()
        return Change(
            "MERGE",
            (f"MERGE INTO {target.sql} AS d USING {using.sql} ON {condition} {' '.join(arms)}",),
            counted=0,
        )

    def _merge_arm(
        self, queries: Queries, target: RelationInfo, when: exp.Expr, scope: Scope, other: Scope
    ) -> str:
        matched = bool(when.args.get("matched"))
        seen = scope if matched else other
        head = "WHEN MATCHED" if matched else "WHEN NOT MATCHED"
        if when.args.get("condition") is not None:
            head += f" AND {queries.condition(when.args['condition'], seen, 'MERGE condition')}"
        then = when.args["then"]
        if isinstance(then, exp.Update):
            sets = []
            for one in then.expressions:
                column = self._column_of(target, one.this)
                value = queries.expression(one.expression, seen)
                sets.append(f"{quote(column.name)} = {queries.casts.cast_sql(value, column.type)}")
            return f"{head} THEN UPDATE SET {', '.join(sets)}"
        if isinstance(then, exp.Insert):
            names = then.this.expressions if then.this is not None else []
            columns = [self._column_of(target, one) for one in names] or list(target.columns)
            values = [queries.expression(one, seen) for one in then.expression.expressions]
            if len(values) != len(columns):
                fail("TYPE_MISMATCH", "MERGE INSERT has another number of values than columns", self.start)
            shown = ", ".join(queries.casts.cast_sql(v, c.type) for v, c in zip(values, columns, strict=True))
            return f"{head} THEN INSERT ({', '.join(quote(c.name) for c in columns)}) VALUES ({shown})"
        return f"{head} THEN DELETE"

    def _truncate(self) -> Work:
        at = 2 if self.words[1:2] == ["table"] else 1
        relation = relation_at(self.analysis, self.source, at)
        self._writable(relation.catalog, relation.schema)
        return Change("TRUNCATE TABLE", (f"DELETE FROM {relation.sql}",))

    # -- definitions

    def _alter(self) -> Work:
        tree = self.source.parse()
        if not isinstance(tree, exp.Alter) or str(tree.args.get("kind")).upper() != "TABLE":
            fail("NOT_SUPPORTED", "The embedded engine has ALTER TABLE only", self.start)
        target = self._target(tree.this)
        statements: list[str] = []
        for action in tree.args["actions"]:
            statements += self._action(target, action)
        kinds = {exp.AlterRename: "RENAME TABLE", exp.ColumnDef: "ADD COLUMN", exp.Drop: "DROP COLUMN",
                 exp.RenameColumn: "RENAME COLUMN", exp.AlterColumn: "SET COLUMN TYPE"}  # fmt: skip
        return Change(kinds.get(type(tree.args["actions"][0]), "ALTER TABLE"), tuple(statements))

    def _action(self, target: RelationInfo, action: exp.Expr) -> list[str]:
        if isinstance(action, exp.AlterRename):
            return [f"ALTER TABLE {target.sql} RENAME TO {quote(action.this.name.lower())}"]
        if isinstance(action, exp.ColumnDef):
            column = self._column(action)
            if any(one.name.lower() == column.name for one in target.columns):
                fail("COLUMN_ALREADY_EXISTS", f"Column '{column.name}' already exists", self.start)
            added = f"ALTER TABLE {target.sql} ADD COLUMN {quote(column.name)} {duck_type(column.type)}"
            return [added, *self._column_notes(target.sql, [column])]
        if isinstance(action, exp.RenameColumn):
            old, new = action.this.name.lower(), action.args["to"].name.lower()
            return [f"ALTER TABLE {target.sql} RENAME COLUMN {quote(old)} TO {quote(new)}"]
        if isinstance(action, exp.Drop):
            return [f"ALTER TABLE {target.sql} DROP COLUMN {quote(action.this.name.lower())}"]
        fail("NOT_SUPPORTED", "The embedded engine cannot do this ALTER TABLE", self.start)

    def _comment(self) -> Work:
        if (
            self.words[1:2] != ["on"]
            or self.words[2:3] not in (["table"], ["view"], ["column"])
            or "is" not in self.words
        ):
            fail(
                "SYNTAX_ERROR",
                "mismatched input. Expecting: COMMENT ON TABLE | VIEW | COLUMN … IS …",
                self.start,
            )
        value = None if self.words[-1] == "null" else self.source.tokens[-1].text
        parts = name_parts(self.source, 3)
        if self.words[2] != "column":
            relation = relation_at(self.analysis, self.source, 3)
            self._writable(relation.catalog, relation.schema)
            kept = value
            if relation.view:
                kept = note(
                    sql=relation.definition,
                    types=[client_name(c.type) for c in relation.columns],
                    comment=value,
                )
            kind = "VIEW" if relation.view else "TABLE"
            return Change("COMMENT", (comment_sql(kind, relation.sql, kept),))
        node = exp.Table(this=exp.to_identifier(parts[-2]))
        for key, part in zip(("db", "catalog"), reversed(parts[:-2]), strict=False):
            node.set(key, exp.to_identifier(part))
        target = self._target(node)
        column = self._column_of(target, exp.to_identifier(parts[-1]))
        return Change(
            "COMMENT",
            (comment_sql("COLUMN", f"{target.sql}.{quote(column.name)}", column_note(column.type, value)),),
        )


def _assignable(source: TrinoType, target: TrinoType) -> bool:
    """Whether Trino stores a value of one type in a column of another without a cast."""
    if source == UNKNOWN:
        return True
    if source.base in TEXT and target.base in TEXT:
        return True
    if source.base == target.base and source.base in (
        "timestamp",
        "timestamp with time zone",
        "time",
        "row",
        "array",
        "map",
    ):
        return True
    found = common(source, target)
    return found is not None and found.same(target)
