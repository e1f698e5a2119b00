"""Queries of Trino's SQL to DuckDB's: FROM, WHERE, GROUP BY, set operations, WITH.

Each query becomes `SELECT … AS c0, … AS c1`; names that a client sees are kept beside, so anonymous and repeated
columns need no care. Every reference is qualified by an alias of our own (`r1.c0`), so DuckDB resolves nothing.
"""

# ruff: noqa: S608 - SQL is made here, from a parsed tree and quoted names; a client's text is never pasted.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NoReturn

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from gateway.engines.duckdb.aggregates import AGGREGATES
from gateway.engines.duckdb.catalog import Catalogs, RelationInfo
from gateway.engines.duckdb.coercion import common
from gateway.engines.duckdb.expressions import Clause, Expressions, Parameter, SessionView, direction
from gateway.engines.duckdb.failures import fail
from gateway.engines.duckdb.representation import field_name
from gateway.engines.duckdb.scope import Field, Output, Scope, Typed, text
from gateway.engines.duckdb.syntax import Source, call_of
from gateway.engines.duckdb.virtual import SYSTEM, VirtualTables
from gateway.wire.trino.types import BIGINT, UNKNOWN, TrinoType, display

_SETS: dict[type[exp.Expr], str] = {
    exp.Union: "UNION",
    exp.Except: "EXCEPT",
    exp.Intersect: "INTERSECT",
}
SELECT = Clause("SELECT", aggregates=True, windows=True)
WHERE = Clause("WHERE")
GROUP_BY = Clause("GROUP BY")
HAVING = Clause("HAVING", aggregates=True)
ORDER_BY = Clause("ORDER BY", aggregates=True, windows=True)
JOIN_ON = Clause("JOIN")


@dataclass(frozen=True, slots=True)
class _Cte:
    sql_name: str
    names: tuple[str, ...]
    types: tuple[TrinoType, ...]


@dataclass(frozen=True, slots=True)
class _From:
    sql: str
    fields: list[Field]


@dataclass(frozen=True, slots=True)
class _Item:
    """One column of a SELECT list."""

    value: Typed
    name: str | None
    node: exp.Expr | None = None


class Queries(Expressions):
    """Translates whole queries against what exists. `used` collects the tables that were read."""

    def __init__(
        self,
        source: Source,
        session: SessionView,
        catalogs: Catalogs,
        virtual: VirtualTables,
        parameters: Sequence[Parameter] = (),
    ) -> None:
        super().__init__(source, session, parameters)
        self.catalogs = catalogs
        self.virtual = virtual
        self.used: dict[tuple[str, str, str], RelationInfo] = {}
        self._ctes: list[dict[str, _Cte]] = []
        self._aliases = 0

    def alias(self, prefix: str = "r") -> str:
        self._aliases += 1
        return f"{prefix}{self._aliases}"

    @contextmanager
    def in_clause(self, clause: Clause) -> Iterator[None]:
        before, self.clause = self.clause, clause
        try:
            yield
        finally:
            self.clause = before

    # -- queries

    def subquery(self, node: exp.Expr, scope: Scope) -> Output:
        with self.in_clause(SELECT):
            return self.query(node, scope)

    def top(self, node: exp.Expr) -> Output:
        """The whole statement; checks that every parameter was used."""
        self.check_parameters()
        return self.query(node, None)

    def check_parameters(self) -> None:
        """As many values as question marks."""
        if len(self.parameters) != len(self.source.placeholders):
            self.wrong_parameters()

    def query(self, node: exp.Expr, parent: Scope | None) -> Output:
        """Any query: SELECT, set operation, VALUES, or one in brackets."""
        self._depth += 1
        if self._depth > 200:
            fail("STACK_OVERFLOW", "The query is nested too deeply", self.source.of(node))
        try:
            return self._with(node, parent)
        finally:
            self._depth -= 1

    def _with(self, node: exp.Expr, parent: Scope | None) -> Output:
        with_ = node.args.get("with_")
        if with_ is None:
            return self._body(node, parent)
        frame: dict[str, _Cte] = {}
        self._ctes.append(frame)
        try:
            parts = []
            for cte in with_.expressions:
                name = cte.alias.lower()
                if name in frame:
                    fail(
                        "DUPLICATE_NAMED_QUERY",
                        f"WITH query name '{name}' specified more than once",
                        self.source.of(cte),
                    )
                parts.append(self._cte(cte, bool(with_.args.get("recursive")), frame, parent))
            output = self._body(node, parent)
        finally:
            self._ctes.pop()
        word = "WITH RECURSIVE" if with_.args.get("recursive") else "WITH"
        return replace(output, sql=f"{word} {', '.join(parts)} {output.sql}")

    def _cte(self, cte: exp.Expr, recursive: bool, frame: dict[str, _Cte], parent: Scope | None) -> str:
        name, alias = cte.alias.lower(), self.alias("q")
        columns = [one.name for one in cte.args["alias"].args.get("columns") or ()]
        body = cte.this
        refers = (
            recursive
            and isinstance(body, exp.Union)
            and any(t.name.lower() == name for t in body.find_all(exp.Table))
        )
        if refers:
            if not columns:
                fail(
                    "MISSING_COLUMN_ALIASES",
                    "missing column aliases in recursive WITH query",
                    self.source.of(cte),
                )
            return self._recursive(name, alias, columns, body, frame, parent)
        output = self.subquery(body, parent or Scope()) if parent else self.query(body, None)
        names = self._renamed(columns, output, name, cte)
        frame[name] = _Cte(alias, names, output.types)
        return f"{alias} AS ({output.sql})"

    def _recursive(
        self,
        name: str,
        alias: str,
        columns: list[str],
        body: exp.Expr,
        frame: dict[str, _Cte],
        parent: Scope | None,
    ) -> str:
        base = self.query(body.this, parent)
        frame[name] = _Cte(alias, tuple(columns), base.types)
        step = self.query(body.expression, parent)
        converted = self._as_types(step, base.types)
        listed = ", ".join(f"c{i}" for i in range(len(base.types)))
        word = "UNION" if body.args.get("distinct") else "UNION ALL"
        return f"{alias}({listed}) AS (({self._as_types(base, base.types)}) {word} ({converted}))"

    def _body(self, node: exp.Expr, parent: Scope | None) -> Output:
        if isinstance(node, exp.Select):
            return self._select(node, parent)
        if isinstance(node, exp.SetOperation):
            return self._set_operation(node, parent)
        if isinstance(node, exp.Values):
            return self._values(node, parent)
        if isinstance(node, exp.Subquery):
            return self._in_brackets(node, parent)
        if isinstance(node, exp.Table):
            return self._select(exp.Select(expressions=[exp.Star()], from_=exp.From(this=node)), parent)
        fail(
            "NOT_SUPPORTED",
            f"The embedded engine cannot run this as a query: {node.key}",
            self.source.of(node),
        )

    def _in_brackets(self, node: exp.Subquery, parent: Scope | None) -> Output:
        inner = self.query(node.this, parent)
        tail = self._tail_of_output(node, inner)
        return replace(inner, sql=f"SELECT * FROM ({inner.sql}){tail}") if tail else inner

    def _set_operation(self, node: exp.SetOperation, parent: Scope | None) -> Output:
        # A long chain leans to the left; gather it so that it is not nested.
        parts: list[tuple[str, exp.Expr]] = []
        here: exp.Expr = node
        while (
            isinstance(here, exp.SetOperation)
            and type(here) is type(node)
            and (
                here is node
                or not (here.args.get("order") or here.args.get("limit") or here.args.get("offset"))
            )
            and here.args.get("distinct") == node.args.get("distinct")
            and not isinstance(here, exp.Except)
        ):
            parts.append((_word(here), here.expression))
            here = here.this
        if not parts:
            parts, here = [(_word(node), node.expression)], node.this
        outputs = [self.query(here, parent), *(self.query(one, parent) for _, one in reversed(parts))]
        types = self._common_types(outputs, node)
        words = [word for word, _ in reversed(parts)]
        sql = f"({self._as_types(outputs[0], types)})"
        for word, output in zip(words, outputs[1:], strict=True):
            sql += f" {word} ({self._as_types(output, types)})"
        merged = Output(sql, outputs[0].names, types, outputs[0].named)
        tail = self._tail_of_output(node, merged)
        return replace(merged, sql=f"SELECT * FROM ({sql}){tail}") if tail else merged

    def _common_types(self, outputs: Sequence[Output], node: exp.Expr) -> tuple[TrinoType, ...]:
        types = list(outputs[0].types)
        for output in outputs[1:]:
            if len(output.types) != len(types):
                fail(
                    "TYPE_MISMATCH",
                    f"{_SETS[type(node)]} query has different number of fields: {len(types)}, {len(output.types)}",
                    self.source.of(node),
                )
            for index, kind in enumerate(output.types):
                merged = common(types[index], kind)
                if merged is None:
                    fail(
                        "TYPE_MISMATCH",
                        f"column {index + 1} in {_SETS[type(node)]} query has incompatible types: "
                        f"{display(types[index])}, {display(kind)}",
                        self.source.of(node),
                    )
                types[index] = merged
        return tuple(types)

    def _as_types(self, output: Output, types: Sequence[TrinoType]) -> str:
        parts = [
            self.casts.implicit(Typed(f"c{i}", kind), types[i]).sql for i, kind in enumerate(output.types)
        ]
        if all(part == f"c{i}" for i, part in enumerate(parts)):
            return output.sql
        shown = ", ".join(f"{part} AS c{i}" for i, part in enumerate(parts))
        return f"SELECT {shown} FROM ({output.sql})"

    def _values(self, node: exp.Values, parent: Scope | None) -> Output:
        rows: list[list[Typed]] = []
        with self.in_clause(Clause("VALUES")):
            for one in node.expressions:
                items = one.expressions if isinstance(one, exp.Tuple) else [one]
                values = [self.expression(item, Scope([], parent)) for item in items]
                if len(values) == 1 and values[0].type.base == "row":
                    source = values[0]
                    values = [
                        Typed(f"({source.sql})[{text(field_name(source.type, i))}]", kind)
                        for i, kind in enumerate(source.type.items)
                    ]
                rows.append(values)
        types = [value.type for value in rows[0]]
        for values in rows[1:]:
            merged = [common(a, value.type) for a, value in zip(types, values, strict=False)]
            if len(values) != len(types) or any(one is None for one in merged):
                fail("TYPE_MISMATCH", "Values rows have mismatched types", self.source.of(node))
            types = [one for one in merged if one is not None]
        lines = []
        for values in rows:
            shown = ", ".join(
                self.casts.implicit(value, types[i]).sql if types[i] != UNKNOWN else "CAST(NULL AS INTEGER)"
                for i, value in enumerate(values)
            )
            lines.append(f"({shown})")
        listed = ", ".join(f"c{i}" for i in range(len(types)))
        sql = f"SELECT * FROM (VALUES {', '.join(lines)}) AS v({listed})"
        names = tuple(f"_col{i}" for i in range(len(types)))
        output = Output(sql, names, tuple(types), (False,) * len(types))
        tail = self._tail_of_output(node, output)
        return replace(output, sql=f"{sql}{tail}") if tail else output

    # -- SELECT

    def _select(self, node: exp.Select, parent: Scope | None) -> Output:
        before = self._window_names
        self._window_names = {
            window.this.name.lower(): window
            for window in node.args.get("windows") or ()
            if window.this is not None
        }
        try:
            return self._select_body(node, parent)
        finally:
            self._window_names = before

    def _select_body(self, node: exp.Select, parent: Scope | None) -> Output:
        if not node.expressions:
            self._empty_list(node)
        source = self._from(node, parent)
        scope = Scope(source.fields, parent)
        with self.in_clause(WHERE):
            where = node.args.get("where")
            filtered = f" WHERE {self.condition(where.this, scope, 'WHERE clause')}" if where else ""
        with self.in_clause(SELECT):
            items = self._items(node, scope)
        grouped, keys = self._group_by(node, scope, items)
        with self.in_clause(HAVING):
            having = node.args.get("having")
            kept = f" HAVING {self.condition(having.this, scope, 'HAVING clause')}" if having else ""
        if grouped is not None or having or any(self._aggregates_in(item.node) for item in items):
            self._check_grouped(items, keys, scope, having)
        distinct = "DISTINCT " if node.args.get("distinct") else ""
        shown = ", ".join(f"{_selectable(item.value)} AS c{i}" for i, item in enumerate(items))
        qualify, tail = self._tail(node, scope, items, bool(distinct))
        sql = f"SELECT {distinct}{shown}{source.sql}{filtered}{grouped or ''}{kept}{qualify}{tail}"
        names = tuple(f"_col{i}" if item.name is None else item.name for i, item in enumerate(items))
        return Output(
            sql,
            names,
            tuple(item.value.type for item in items),
            tuple(item.name is not None for item in items),
        )

    def _empty_list(self, node: exp.Select) -> NoReturn:
        tokens = self.source.tokens
        for index, token in enumerate(tokens[:-1]):
            if token.token_type == TokenType.SELECT and tokens[index + 1].token_type == TokenType.FROM:
                follows = tokens[index + 1]
                fail(
                    "SYNTAX_ERROR",
                    f"mismatched input '{follows.text}'. Expecting: '*', 'ALL', 'DISTINCT', <expression>",
                    self.source.place(follows.start),
                )
        fail("SYNTAX_ERROR", "mismatched input '<EOF>'. Expecting: <expression>", self.source.end)

    def _items(self, node: exp.Select, scope: Scope) -> list[_Item]:
        items: list[_Item] = []
        for one in node.expressions:
            if isinstance(one, exp.Star) or (isinstance(one, exp.Column) and isinstance(one.this, exp.Star)):
                items += self._star(one, scope)
            elif isinstance(one, exp.Alias):
                items.append(_Item(self.expression(one.this, scope), one.alias, one.this))
            else:
                items.append(_Item(self.expression(one, scope), _own_name(one), one))
        return items

    def _star(self, node: exp.Expr, scope: Scope) -> list[_Item]:
        if isinstance(node, exp.Column):
            parts = tuple(part.name.lower() for part in node.parts[:-1])
            fields = scope.of_relation(parts)
            if not fields:
                fail(
                    "TABLE_NOT_FOUND", f"Unable to resolve reference {'.'.join(parts)}", self.source.of(node)
                )
            fields = [one for one in fields if not one.hidden_from_star]
        else:
            fields = [one for one in scope.fields if not one.hidden_from_star]
            if not fields:
                fail(
                    "COLUMN_NOT_FOUND",
                    "SELECT * not allowed in queries without FROM clause",
                    self.source.of(node),
                )
        return [_Item(Typed(one.sql, one.type), one.name) for one in fields]

    # -- GROUP BY

    def _group_by(self, node: exp.Select, scope: Scope, items: list[_Item]) -> tuple[str | None, set[str]]:
        group = node.args.get("group")
        if group is None:
            return None, set()
        keys: set[str] = set()
        with self.in_clause(GROUP_BY):
            parts = [self._key(one, scope, items, keys) for one in group.expressions]
            for kind, word in (("rollup", "ROLLUP"), ("cube", "CUBE"), ("grouping_sets", "GROUPING SETS")):
                parts += [self._grouping(one, word, scope, items, keys) for one in group.args.get(kind) or ()]
        return f" GROUP BY {', '.join(parts) if parts else '()'}", keys

    def _key(self, node: exp.Expr, scope: Scope, items: list[_Item], keys: set[str]) -> str:
        for kind, word in ((exp.Rollup, "ROLLUP"), (exp.Cube, "CUBE"), (exp.GroupingSets, "GROUPING SETS")):
            if isinstance(node, kind):
                return self._grouping(node, word, scope, items, keys)
        if isinstance(node, exp.Literal) and not node.is_string:
            index = int(node.name) if node.name.isdigit() else 0
            if not 1 <= index <= len(items):
                fail(
                    "INVALID_COLUMN_REFERENCE",
                    f"GROUP BY position {index} is not in select list",
                    self.source.of(node),
                )
            sql = items[index - 1].value.sql
        else:
            sql = self.expression(node, scope).sql
        keys.add(sql)
        return f"({sql})" if not sql.isdigit() else f"CAST({sql} AS INTEGER)"

    def _grouping(self, node: exp.Expr, word: str, scope: Scope, items: list[_Item], keys: set[str]) -> str:
        sets = []
        for one in node.expressions:
            inner = (
                one.expressions
                if isinstance(one, exp.Tuple)
                else [one.this if isinstance(one, exp.Paren) else one]
            )
            if len(inner) == 1 and isinstance(inner[0], exp.Rollup | exp.Cube | exp.GroupingSets):
                sets.append(self._key(inner[0], scope, items, keys))
            else:
                sets.append(f"({', '.join(self._key(key, scope, items, keys) for key in inner)})")
        return f"{word} ({', '.join(sets)})"

    def _aggregates_in(self, node: exp.Expr | None) -> bool:
        """Whether a plain aggregate (not over a window) is in the expression itself."""
        if node is None or isinstance(node, exp.Query):
            return False
        if isinstance(node, exp.Window):
            inner = node.this
            while not isinstance(inner, exp.Anonymous | exp.Count) and isinstance(inner.this, exp.Expr):
                inner = inner.this
            parts = [
                *inner.iter_expressions(),
                *(node.args.get("partition_by") or ()),
                node.args.get("order"),
            ]
            return any(self._aggregates_in(one) for one in parts if one is not None)
        if isinstance(node, exp.Count) or (
            isinstance(node, exp.Anonymous) and call_of(node)[0] in AGGREGATES
        ):
            return True
        return any(self._aggregates_in(one) for one in node.iter_expressions())

    def _check_grouped(
        self, items: list[_Item], keys: set[str], scope: Scope, having: exp.Expr | None
    ) -> None:
        for item in items:
            if item.node is None:
                if item.value.sql not in keys:
                    fail(
                        "EXPRESSION_NOT_AGGREGATE",
                        f"'{item.name}' must be an aggregate expression or appear in GROUP BY clause",
                    )
            else:
                self._check_key(item.node, keys, scope)
        if having is not None:
            self._check_key(having.this, keys, scope)

    def _check_key(self, node: exp.Expr, keys: set[str], scope: Scope) -> None:
        if isinstance(node, exp.Column | exp.Identifier):
            sql = self.expression(node, scope).sql
            local = {one.sql for one in scope.fields}
            if sql in keys or not any(sql == one or sql.startswith(f"({one})[") for one in local):
                return
            if any(sql.startswith(f"({key})[") for key in keys):
                return
            name = node.sql(dialect="trino")
            fail(
                "EXPRESSION_NOT_AGGREGATE",
                f"'{name}' must be an aggregate expression or appear in GROUP BY clause",
                self.source.of(node),
            )
        if isinstance(node, exp.Query | exp.Lambda | exp.Filter | exp.WithinGroup | exp.Literal):
            return
        if isinstance(node, exp.Count) or (
            isinstance(node, exp.Anonymous) and call_of(node)[0] in {*AGGREGATES, "grouping"}
        ):
            return
        if isinstance(node, exp.Window):
            self._check_window(node, keys, scope)
            return
        if keys and not isinstance(node, exp.Paren) and self._is_key(node, keys, scope):
            return
        for inner in node.iter_expressions():
            if not isinstance(inner, exp.DataType):
                self._check_key(inner, keys, scope)

    def _check_window(self, node: exp.Window, keys: set[str], scope: Scope) -> None:
        inner = node.this
        while not isinstance(inner, exp.Anonymous | exp.Count) and isinstance(inner.this, exp.Expr):
            inner = inner.this
        order = node.args.get("order")
        for one in (
            *inner.iter_expressions(),
            *(node.args.get("partition_by") or ()),
            *(order.expressions if order else ()),
        ):
            self._check_key(one.this if isinstance(one, exp.Ordered) else one, keys, scope)

    def _is_key(self, node: exp.Expr, keys: set[str], scope: Scope) -> bool:
        if self._aggregates_in(node) or node.find(exp.Window) or node.find(exp.Query):
            return False
        if not isinstance(
            node, exp.Condition | exp.Func | exp.Binary | exp.Unary | exp.Cast | exp.Case | exp.Bracket
        ):
            return False
        if isinstance(node, exp.Star | exp.Interval):
            return False
        sql = self.expression(node, scope).sql
        return sql in keys or f"({sql})" in keys

    # -- ORDER BY, LIMIT

    def _tail(self, node: exp.Select, scope: Scope, items: list[_Item], distinct: bool) -> tuple[str, str]:
        order = node.args.get("order")
        listed = self._order(order.expressions, scope, items, distinct) if order else []
        limit, ties = self._limit(node)
        offset = self._offset(node)
        if ties:
            if not listed:
                fail(
                    "MISSING_ORDER_BY", "FETCH FIRST WITH TIES clause requires ORDER BY", self.source.of(node)
                )
            ranked = f" QUALIFY rank() OVER (ORDER BY {', '.join(_unaliased(one, items) for one in listed)}) <= {limit}"
            return ranked, f" ORDER BY {', '.join(listed)}{offset}"
        tail = f" ORDER BY {', '.join(listed)}" if listed else ""
        return "", f"{tail}{f' LIMIT {limit}' if limit is not None else ''}{offset}"

    def _order(
        self, nodes: Sequence[exp.Expr], scope: Scope, items: list[_Item], distinct: bool
    ) -> list[str]:
        outer = Scope(
            [
                Field(item.name, item.value.type, f"({item.value.sql})")
                for item in items
                if item.name is not None
            ],
            scope,
        )
        listed = []
        for ordered in nodes:
            node = ordered.this if isinstance(ordered, exp.Ordered) else ordered
            index = self._position_of(node, items)
            if index is None:
                with self.in_clause(ORDER_BY):
                    sql = self.expression(node, self._without_repeats(outer, scope, node)).sql
                index = next(
                    (i for i, item in enumerate(items) if sql in (item.value.sql, f"({item.value.sql})")),
                    None,
                )
                if index is None and distinct:
                    fail(
                        "EXPRESSION_NOT_IN_DISTINCT",
                        "For SELECT DISTINCT, ORDER BY expressions must appear in select list",
                        self.source.of(node),
                    )
            listed.append(f"{index + 1 if index is not None else sql}{direction(ordered)}")
        return listed

    def _without_repeats(self, outer: Scope, scope: Scope, node: exp.Expr) -> Scope:
        """Output names win over columns; the same output twice is no ambiguity."""
        kept: dict[tuple[str, str], Field] = {}
        for one in outer.fields:
            kept.setdefault(((one.name or "").lower(), one.sql), one)
        return Scope(list(kept.values()), scope)

    def _position_of(self, node: exp.Expr, items: list[_Item]) -> int | None:
        if isinstance(node, exp.Literal) and not node.is_string:
            index = int(node.name) if node.name.isdigit() else 0
            if not 1 <= index <= len(items):
                fail(
                    "INVALID_COLUMN_REFERENCE",
                    f"ORDER BY position {index} is not in select list",
                    self.source.of(node),
                )
            return index - 1
        return None

    def _limit(self, node: exp.Expr) -> tuple[str | None, bool]:
        limit = node.args.get("limit")
        if limit is None:
            return None, False
        ties = False
        if isinstance(limit, exp.Fetch):
            options = limit.args.get("limit_options")
            ties = bool(options and options.args.get("with_ties"))
            value = limit.args.get("count")
            if value is None:
                return "1", ties
        else:
            value = limit.expression
        if isinstance(value, exp.Var) or (isinstance(value, exp.Column) and value.name.lower() == "all"):
            return None, False
        return self._count(value), ties

    def _offset(self, node: exp.Expr) -> str:
        offset = node.args.get("offset")
        return "" if offset is None else f" OFFSET {self._count(offset.expression)}"

    def _count(self, node: exp.Expr) -> str:
        value = self.expression(node, Scope())
        if not isinstance(value.literal, int) or value.literal < 0:
            fail(
                "SYNTAX_ERROR",
                f"mismatched input '{node.sql(dialect='trino')}'. Expecting: '?', 'ALL', <integer>",
                self.source.of(node),
            )
        return str(value.literal)

    def _tail_of_output(self, node: exp.Expr, output: Output) -> str:
        """ORDER BY and LIMIT behind a set operation, VALUES or brackets: only output columns are in scope."""
        order = node.args.get("order")
        parts = []
        if order:
            fields = [
                Field(name if named else None, kind, f"c{i}")
                for i, (name, kind, named) in enumerate(
                    zip(output.names, output.types, output.named, strict=True)
                )
            ]
            items = [_Item(Typed(one.sql, one.type), one.name) for one in fields]
            parts.append(
                f" ORDER BY {', '.join(self._order(order.expressions, Scope(fields), items, False))}"
            )
        limit, _ = self._limit(node)
        if limit is not None:
            parts.append(f" LIMIT {limit}")
        return "".join(parts) + self._offset(node)

    # -- FROM

    def _from(self, node: exp.Select, parent: Scope | None) -> _From:
        from_ = node.args.get("from_")
        if from_ is None:
            return _From("", [])
        first = self._joined(from_.this, parent)
        sql, fields = self._joins(first, node.args.get("joins") or (), parent)
        return _From(f" FROM {sql}", fields)

    def relation(self, node: exp.Expr) -> _From:
        """One relation on its own (the source of a MERGE)."""
        return self._relation(node, None, [])

    def _joined(self, node: exp.Expr, parent: Scope | None) -> _From:
        """A relation with the joins that the parser hung on it."""
        first = self._relation(node, parent, [])
        joins = node.args.get("joins") or ()
        if not joins or isinstance(node, exp.Subquery):
            return first
        return _From(*self._joins(first, joins, parent))

    def _joins(
        self, first: _From, joins: Sequence[exp.Expr], parent: Scope | None
    ) -> tuple[str, list[Field]]:
        sql, fields = first.sql, list(first.fields)
        for join in joins:
            right = self._relation(join.this, parent, fields)
            if join.this.args.get("joins") and not isinstance(join.this, exp.Subquery):
                right = _From(*self._joins(right, join.this.args["joins"], parent))
                right = _From(f"({right.sql})", right.fields)
            sql, fields = self._join(sql, fields, right, join, parent)
        return sql, fields

    def _join(
        self, sql: str, fields: list[Field], right: _From, join: exp.Expr, parent: Scope | None
    ) -> tuple[str, list[Field]]:
        side = str(join.args.get("side") or "").upper()
        on, using = join.args.get("on"), join.args.get("using")
        if on is None and not using:
            return f"{sql} CROSS JOIN {right.sql}", fields + right.fields
        word = f"{side} JOIN" if side else "JOIN"
        if using:
            return self._using(sql, fields, right, word, using)
        with self.in_clause(JOIN_ON):
            condition = self.condition(on, Scope(fields + right.fields, parent), "JOIN ON clause")  # type: ignore[arg-type]
        return f"{sql} {word} {right.sql} ON {condition}", fields + right.fields

    def _using(
        self, sql: str, fields: list[Field], right: _From, word: str, using: Sequence[exp.Expr]
    ) -> tuple[str, list[Field]]:
        conditions, merged = [], []
        left_rest, right_rest = list(fields), list(right.fields)
        for one in using:
            name = one.name.lower()
            a = self._single(left_rest, name, "left", one)
            b = self._single(right_rest, name, "right", one)
            kind = common(a.type, b.type)
            if kind is None:
                fail(
                    "TYPE_MISMATCH",
                    f"Column types of left and right side are not comparable: left={display(a.type)}, "
                    f"right={display(b.type)}",
                    self.source.of(one),
                )
            x, y = (self.casts.implicit(Typed(side.sql, side.type), kind).sql for side in (a, b))
            conditions.append(f"{x} = {y}")
            value = x if word in ("JOIN", "LEFT JOIN") else f"coalesce({x}, {y})"
            merged.append(Field(a.name, kind, value))
            left_rest.remove(a)
            right_rest.remove(b)
        return f"{sql} {word} {right.sql} ON {' AND '.join(conditions)}", merged + left_rest + right_rest

    def _single(self, fields: list[Field], name: str, side: str, node: exp.Expr) -> Field:
        found = [one for one in fields if (one.name or "").lower() == name]
        if not found:
            fail(
                "COLUMN_NOT_FOUND",
                f"Column '{name}' is missing from {side} side of join",
                self.source.of(node),
            )
        if len(found) > 1:
            fail("AMBIGUOUS_NAME", f"Column '{name}' is ambiguous", self.source.of(node))
        return found[0]

    def _relation(self, node: exp.Expr, parent: Scope | None, left: list[Field]) -> _From:
        if isinstance(node, exp.Table):
            return self._sampled(node, self._table(node))
        if isinstance(node, exp.Unnest):
            return self._unnest(node, Scope(left, parent))
        if isinstance(node, exp.Lateral):
            return self._lateral(node, Scope(left, parent))
        if isinstance(node, exp.Values):
            bare = exp.Values(expressions=node.expressions)
            return self._derived(node, self._values(bare, parent))
        if isinstance(node, exp.Subquery):
            inner = node.this
            if isinstance(inner, exp.Table | exp.Unnest | exp.Lateral) or (
                isinstance(inner, exp.Subquery) and inner.args.get("joins")
            ):
                nested = self._joined_in_brackets(inner, parent)
                return self._aliased(node, nested)
            if node.args.get("joins") and not node.alias:
                first = self._derived(exp.Subquery(this=inner), self.subquery(inner, parent or Scope()))
                return _From(*self._joins(first, node.args["joins"], parent))
            if isinstance(inner, exp.Subquery) and inner.alias:
                return self._aliased(node, self._relation(inner, parent, left))
            return self._sampled(node, self._derived(node, self.subquery(inner, parent or Scope())))
        fail("NOT_SUPPORTED", f"The embedded engine cannot read from this: {node.key}", self.source.of(node))

    def _joined_in_brackets(self, node: exp.Expr, parent: Scope | None) -> _From:
        first = self._relation(node, parent, [])
        sql, fields = self._joins(first, node.args.get("joins") or (), parent)
        return _From(f"({sql})", fields)

    def _aliased(self, node: exp.Subquery, inner: _From) -> _From:
        if not node.alias:
            return inner
        fields = [replace(one, relation=node.alias, qualifiers=()) for one in inner.fields]
        return _From(inner.sql, fields)

    def _sampled(self, node: exp.Expr, relation: _From) -> _From:
        sample = node.args.get("sample")
        if sample is None:
            return relation
        percent = sample.args.get("percent")
        if not isinstance(percent, exp.Literal) or percent.is_string:
            fail(
                "NOT_SUPPORTED",
                "TABLESAMPLE needs a literal percentage in the embedded engine",
                self.source.of(node),
            )
        return _From(f"{relation.sql} TABLESAMPLE {percent.name} PERCENT (bernoulli)", relation.fields)

    def _derived(self, node: exp.Expr, output: Output) -> _From:
        """A query as a relation, with the alias and column names that it was given."""
        alias, name = self.alias(), node.alias or None
        given = node.args.get("alias")
        columns = (
            [one.name for one in (given.args.get("columns") or ())]
            if isinstance(given, exp.TableAlias)
            else []
        )
        names = self._renamed(columns, output, name or "", node)
        fields = [
            Field(one if columns or named else None, kind, f"{alias}.c{i}", name)
            for i, (one, kind, named) in enumerate(zip(names, output.types, output.named, strict=True))
        ]
        return _From(f"({output.sql}) AS {alias}", fields)

    def _renamed(self, columns: list[str], output: Output, name: str, node: exp.Expr) -> tuple[str, ...]:
        if columns and len(columns) != len(output.types):
            fail(
                "MISMATCHED_COLUMN_ALIASES",
                f"Column alias list has {len(columns)} entries but '{name}' has {len(output.types)} columns available",
                self.source.of(node),
            )
        return tuple(columns) if columns else output.names

    def _table(self, node: exp.Table) -> _From:
        if not isinstance(node.this, exp.Identifier):
            fail("NOT_SUPPORTED", "The embedded engine has no table functions", self.source.of(node))
        cte = self._cte_named(node)
        if cte is not None:
            alias = self.alias()
            fields = [
                Field(n, t, f"{alias}.c{i}")
                for i, (n, t) in enumerate(zip(cte.names, cte.types, strict=True))
            ]
            return self._with_alias(node, f"{cte.sql_name} AS {alias}", fields, ())
        catalog, schema, name = self.qualified(node)
        relation = self.find(catalog, schema, name, node)
        alias = self.alias()
        if relation.catalog == SYSTEM or relation.schema == "information_schema":
            read = self.virtual.register(relation, self.catalogs)
        else:
            read = relation.sql
        self.used[(catalog, schema, name)] = relation
        fields = [
            Field(one.name, one.type, one.read(alias), hidden_from_star=one.hidden)
            for one in relation.columns
        ]
        return self._with_alias(node, f"{read} AS {alias}", fields, (catalog, schema))

    def _with_alias(
        self, node: exp.Table, sql: str, fields: list[Field], qualifiers: tuple[str, ...]
    ) -> _From:
        given = node.args.get("alias")
        name = given.name if given is not None and given.this is not None else node.name
        columns = [one.name for one in (given.args.get("columns") or ())] if given is not None else []
        if columns and len(columns) != len(fields):
            fail(
                "MISMATCHED_COLUMN_ALIASES",
                f"Column alias list has {len(columns)} entries but '{name}' has {len(fields)} columns available",
                self.source.of(node),
            )
        kept = () if given is not None and given.this is not None else qualifiers
        shown = [
            replace(one, name=columns[i] if columns else one.name, relation=name, qualifiers=kept)
            for i, one in enumerate(fields)
        ]
        return _From(sql, shown)

    def _cte_named(self, node: exp.Table) -> _Cte | None:
        if node.args.get("db") is not None:
            return None
        for frame in reversed(self._ctes):
            if node.name.lower() in frame:
                return frame[node.name.lower()]
        return None

    def qualified(self, node: exp.Table) -> tuple[str, str, str]:
        """Catalog, schema and table in lower case, from the session where not written."""
        catalog = node.catalog.lower() or (self.session.catalog or "").lower()
        schema = node.db.lower() or (self.session.schema or "").lower()
        if not schema:
            fail(
                "MISSING_SCHEMA_NAME",
                "Schema must be specified when session schema is not set",
                self.source.of(node),
            )
        if not catalog:
            fail(
                "MISSING_CATALOG_NAME",
                "Catalog must be specified when session catalog is not set",
                self.source.of(node),
            )
        return catalog, schema, node.name.lower()

    def find(self, catalog: str, schema: str, name: str, node: exp.Expr) -> RelationInfo:
        """The relation, or the failure that says which part of its name is wrong."""
        place = self.source.of(node)
        if catalog != SYSTEM and catalog not in self.catalogs.schemas:
            fail("CATALOG_NOT_FOUND", f"Catalog '{catalog}' not found", place)
        if not (self.virtual.has_schema(catalog, schema) or self.catalogs.has_schema(catalog, schema)):
            fail("SCHEMA_NOT_FOUND", f"Schema '{schema}' does not exist", place)
        found = self.virtual.find(catalog, schema, name) or self.catalogs.relation(catalog, schema, name)
        if found is None:
            fail("TABLE_NOT_FOUND", f"Table '{catalog}.{schema}.{name}' does not exist", place)
        return found

    # -- UNNEST, LATERAL

    def _lateral(self, node: exp.Lateral, scope: Scope) -> _From:
        inner = node.this
        if not isinstance(inner, exp.Subquery):
            fail("NOT_SUPPORTED", "LATERAL takes a query in brackets", self.source.of(node))
        relation = self._derived(node, self.subquery(inner.this, scope))
        return _From(f"LATERAL {relation.sql}", relation.fields)

    def _unnest(self, node: exp.Unnest, scope: Scope) -> _From:
        alias = self.alias()
        selected: list[str] = []
        fields: list[tuple[TrinoType, str]] = []
        lengths: list[str] = []
        for one in node.expressions:
            value = self.expression(one, scope)
            if value.type.base == "array":
                lengths.append(f"len({value.sql})")
                fields += self._element_fields(value, alias, selected)
            elif value.type.base == "map":
                lengths.append(f"len(map_keys({value.sql}))")
                for part, kind in zip(("map_keys", "map_values"), value.type.items, strict=True):
                    fields.append((kind, f"{alias}.u{len(selected)}"))
                    selected.append(f"unnest({part}({value.sql})) AS u{len(selected)}")
            else:
                fail("TYPE_MISMATCH", f"Cannot unnest type: {display(value.type)}", self.source.of(one))
        if node.args.get("offset"):
            fields.append((BIGINT, f"{alias}.u{len(selected)}"))
            longest = f"greatest({', '.join(f'coalesce({one}, 0)' for one in lengths)})"
            selected.append(f"unnest(generate_series(1, {longest})) AS u{len(selected)}")
        given = node.args.get("alias")
        columns = [one.name for one in (given.args.get("columns") or ())] if given is not None else []
        name = given.name if given is not None and given.this is not None else None
        if isinstance(node.args.get("offset"), exp.Expr):
            columns.append(node.args["offset"].name)  # the parser takes the last name for the ordinality
        if columns and len(columns) != len(fields):
            fail(
                "MISMATCHED_COLUMN_ALIASES",
                f"Column alias list has {len(columns)} entries but '{name}' has "
                f"{len(fields)} columns available",
                self.source.of(node),
            )
        shown = [
            Field(columns[i] if columns else None, kind, sql, name) for i, (kind, sql) in enumerate(fields)
        ]
        lateral = "LATERAL " if scope.fields else ""
        return _From(f"{lateral}(SELECT {', '.join(selected)}) AS {alias}", shown)

    def _element_fields(self, value: Typed, alias: str, selected: list[str]) -> list[tuple[TrinoType, str]]:
        column = f"{alias}.u{len(selected)}"
        element = value.type.items[0]
        selected.append(f"unnest({value.sql}) AS u{len(selected)}")
        if element.base != "row":
            return [(element, column)]
        return [(kind, f"({column})[{text(field_name(element, i))}]") for i, kind in enumerate(element.items)]


def _word(node: exp.Expr) -> str:
    return _SETS[type(node)] + ("" if node.args.get("distinct") else " ALL")


def _own_name(node: exp.Expr) -> str | None:
    """The name of a column without alias: as it was written, when it is a plain reference."""
    if isinstance(node, exp.Column):
        return None if node.name.lower() in ("current_schema", "current_path") else node.name
    if isinstance(node, exp.Dot):
        return str(node.expression.name)
    return None


def _selectable(value: Typed) -> str:
    """An untyped NULL needs a type in DuckDB."""
    return "CAST(NULL AS INTEGER)" if value.type == UNKNOWN else value.sql


def _unaliased(listed: str, items: list[_Item]) -> str:
    """ORDER BY 2 inside of a window: the expression instead of its number."""
    head, _, tail = listed.partition(" ")
    return f"{items[int(head) - 1].value.sql} {tail}" if head.isdigit() else listed
