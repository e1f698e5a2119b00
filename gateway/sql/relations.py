"""Every relation that a statement names, found by walking every node, and resolved lexically.

sqlglot's scopes miss tables (a subquery in a root VALUES, one in the ORDER BY of a UNION, targets of
writes), so they are not used. Each `exp.Table` is looked at by identity; whether its name means a common
table expression is decided by our own resolver, which follows the engines' rules and, in doubt, says
"a table": treating a CTE as a table refuses too much, the reverse would leak.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from sqlglot import exp

from gateway.core.decision import Refusal, RefusalCode
from gateway.core.statement import Position, RelationName, Statement, Wire
from gateway.sql.guard import guard
from gateway.sql.parse import Parsed, Source, parse_inner, start_of
from gateway.sql.shape import Role, Target

RULE = "sql-relations"


class RefKind(StrEnum):
    """What a reference names."""

    TABLE = "table"
    TABLE_FUNCTION = "table_function"
    DICTIONARY = "dictionary"
    PARAMETER = "parameter"
    UNKNOWN = "unknown"
    """A name that cannot be resolved for sure: too many parts, or also the name of an alias."""
    ENGINE = "engine"
    """A ClickHouse table engine or dictionary source that may read elsewhere (Distributed, Merge, MySQL)."""
    SUFFIXED = "suffixed"
    """A Trino name with `$` in it: a hidden metadata table such as `"t$files"`."""


UNSURE = frozenset({RefKind.UNKNOWN, RefKind.PARAMETER})
"""Kinds that must never reach an engine for a principal with restrictions: what they name is not certain."""


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """One place of a statement that names a relation.

    `node` is the tree node to substitute (an `exp.Table`), None where our own grammar found the name.
    `written` are the name's parts as written. `modifiers` name what hangs on the reference ("FINAL",
    "SAMPLE", "TABLESAMPLE", "VERSION", "MATCH_RECOGNIZE", "PREWHERE"). `inner` counts how deep in
    statements inside statements it stands; a reference of an inner statement belongs to `parsed`.
    """

    name: RelationName
    node: exp.Expr | None
    role: Role
    kind: RefKind
    position: Position | None
    modifiers: tuple[str, ...]
    written: tuple[str, ...]
    parsed: Parsed
    alias: str = ""

    def __str__(self) -> str:
        return f"{self.role.value} {self.kind.value} {self.name}"


def references(parsed: Parsed, statement: Statement) -> tuple[Reference, ...] | Refusal:
    """Every reference of the statement and of those inside it, in the order of the walk.

    `EXECUTE name` is followed through `statement.prepared`. Refuses with NOT_FOUND an unknown prepared
    statement and with NOT_SUPPORTED what names a relation in a way that cannot be resolved.
    """
    found: list[Reference] = []
    for part in expanded(parsed, statement):
        if isinstance(part, Refusal):
            return part
        for tree in part.trees():
            found.extend(_of_tree(tree, part, statement))
        if part.shape is not None:
            found.extend(_of_target(target, part, statement) for target in part.shape.targets)
    return tuple(found)


def expanded(parsed: Parsed, statement: Statement) -> Iterator[Parsed | Refusal]:
    """The statement, all statements inside it, and the prepared ones that it executes or describes."""
    for part in parsed.every():
        yield part
        shape = part.shape
        if shape is not None and shape.verb in _BY_NAME and part.dialect is Wire.TRINO:
            yield from _prepared(part, statement)


_BY_NAME = frozenset({"EXECUTE", "DESCRIBE INPUT", "DESCRIBE OUTPUT"})


def _prepared(part: Parsed, statement: Statement) -> Iterator[Parsed | Refusal]:
    inner = prepared_statement(part, statement)
    if isinstance(inner, Refusal):
        yield inner
    else:
        yield from inner.every()


def prepared_statement(part: Parsed, statement: Statement) -> Parsed | Refusal:
    """The statement that `EXECUTE name` runs, parsed. Names of prepared statements are case-sensitive."""
    assert part.shape is not None
    name = part.shape.names[0]
    text = next((text for key, text in statement.prepared if key == name), None)
    if text is None:
        message = f"The prepared statement {name} does not exist. PREPARE it first."
        return Refusal(RefusalCode.NOT_FOUND, message, part.source.place(0), RULE)
    bounds = guard(text, part.dialect)
    if isinstance(bounds, Refusal):
        return Refusal(bounds.code, bounds.message, part.source.place(0), bounds.rule)
    inner = parse_inner(text, part.dialect, Source(part.source.text, part.source.base, exact=False))
    if isinstance(inner, Parsed) and any(each.verb in _BY_NAME for each in inner.every()):
        message = "A prepared statement may not execute another one."
        return Refusal(RefusalCode.NOT_SUPPORTED, message, part.source.place(0), RULE)
    return inner


def _of_target(target: Target, parsed: Parsed, statement: Statement) -> Reference:
    parts = target.name.parts
    kind = RefKind.TABLE_FUNCTION if target.is_function else _kind_of(parts, parsed.dialect)
    return Reference(
        name=qualify(parts, parsed.dialect, statement),
        node=None,
        role=target.role,
        kind=kind,
        position=parsed.source.place(target.name.start),
        modifiers=(),
        written=parts,
        parsed=parsed,
    )


def qualify(parts: tuple[str, ...], dialect: Wire, statement: Statement) -> RelationName:
    """The full name. Trino folds case, also of quoted names; ClickHouse does not. Missing levels are ""."""
    if dialect is Wire.TRINO:
        folded = tuple(part.lower() for part in parts)
        catalog, schema = (statement.catalog or "").lower(), (statement.schema or "").lower()
        padded = (catalog, schema)[: max(3 - len(folded), 0)] + folded
        return RelationName(*padded[-3:])
    database = parts[-2] if len(parts) > 1 else statement.schema or "default"
    return RelationName("", database, parts[-1])


def _kind_of(parts: tuple[str, ...], dialect: Wire) -> RefKind:
    return RefKind.SUFFIXED if dialect is Wire.TRINO and "$" in parts[-1] else RefKind.TABLE


def _of_tree(tree: exp.Expr, parsed: Parsed, statement: Statement) -> Iterator[Reference]:
    for node in tree.walk():
        if isinstance(node, exp.Table):
            reference = _of_table(node, parsed, statement)
            if reference is not None:
                yield reference
        elif isinstance(node, (exp.From, exp.Join)) and not isinstance(node.this, _SOURCES):
            if not (isinstance(node, exp.Join) and node.kind == "ARRAY"):
                yield _unknown(node, parsed)
        elif parsed.dialect is Wire.CLICKHOUSE:
            yield from _hidden(node, parsed, statement)
        elif isinstance(node, exp.Anonymous) and node.name.upper() == "TABLE":
            yield from _table_argument(node, parsed, statement)


_SOURCES = (
    exp.Table,
    exp.Subquery,
    exp.Unnest,
    exp.Lateral,
    exp.Values,
    exp.Final,
    exp.Paren,
    exp.TableSample,
    exp.Query,
)
"""What may stand in FROM. sqlglot makes columns of the tables inside an ARRAY JOIN, for one."""


def _unknown(node: exp.Expr, parsed: Parsed) -> Reference:
    name = RelationName("", "", type(node.this).__name__)
    return Reference(name, node, Role.READ, RefKind.UNKNOWN, parsed.place_of(node), (), (), parsed)


def _of_table(node: exp.Table, parsed: Parsed, statement: Statement) -> Reference | None:
    if isinstance(node.parent, exp.UserDefinedFunction):
        return None
    inside = node.this
    modifiers = tuple(sorted(_modifiers(node)))
    role = _role(node)

    def build(kind: RefKind, parts: tuple[str, ...], name: RelationName) -> Reference:
        return Reference(
            name, node, role, kind, parsed.place_of(node), modifiers, parts, parsed, node.alias or ""
        )

    levels = [node.args.get("catalog"), node.args.get("db"), inside]
    if any(isinstance(level, exp.Placeholder) or _has_placeholder(level) for level in levels):
        return build(RefKind.PARAMETER, (), RelationName("", "", ""))
    if not isinstance(inside, (exp.Identifier, exp.Dot)):
        name = function_name(inside)
        name = name.lower() if parsed.dialect is Wire.TRINO else name
        return build(RefKind.TABLE_FUNCTION, (name,), RelationName("", "", name))
    parts = tuple(part.name for part in node.parts)
    if len(parts) > _MOST_PARTS[parsed.dialect]:
        return build(RefKind.UNKNOWN, parts, RelationName("", "", ".".join(parts)))
    if role is Role.READ and len(parts) == 1 and cte_of(node, parsed.dialect) is not None:
        return None
    return build(_kind_of(parts, parsed.dialect), parts, qualify(parts, parsed.dialect, statement))


_MOST_PARTS = {Wire.TRINO: 3, Wire.CLICKHOUSE: 2}


def _has_placeholder(level: object) -> bool:
    return isinstance(level, exp.Expr) and level.find(exp.Placeholder) is not None


def function_name(node: object) -> str:
    """A called function's name as written; for Trino's `TABLE(f(…))`, the name of f."""
    if not isinstance(node, exp.Expr):
        return ""
    if isinstance(node, exp.Anonymous):
        name = node.name
        inner = node.expressions[0] if node.expressions else None
        if name.upper() == "TABLE" and isinstance(inner, (exp.Func, exp.Dot)):
            return function_name(inner)
        return name
    if isinstance(node, (exp.AnonymousAggFunc, exp.ParameterizedAgg)):
        return node.name
    if isinstance(node, exp.Func):
        return node.sql_name()
    if isinstance(node, exp.Dot):
        left = node.this
        path = left.parts if isinstance(left, (exp.Column, exp.Dot)) else [left]
        return ".".join([*(part.name for part in path), function_name(node.expression)])
    return type(node).__name__


def _modifiers(node: exp.Table) -> Iterator[str]:
    for key, label in (
        ("sample", "SAMPLE"),
        ("version", "VERSION"),
        ("pivots", "PIVOT"),
        ("partition", "PARTITION"),
    ):
        if node.args.get(key):
            yield label
    if node.args.get("joins"):
        yield "JOINS"
    if node.args.get("laterals"):
        yield "LATERALS"
    if node.args.get("match"):
        yield "MATCH_RECOGNIZE"
    parent = node.parent
    if isinstance(parent, exp.Final):
        yield "FINAL"
        parent = parent.parent
    if isinstance(parent, exp.TableSample):
        yield "SAMPLE"
    select = parent.parent if isinstance(parent, (exp.From, exp.Join)) else None
    if isinstance(select, exp.Select) and isinstance(parent, exp.From):
        for key, label in (("prewhere", "PREWHERE"), ("match", "MATCH_RECOGNIZE"), ("sample", "SAMPLE")):
            if select.args.get(key):
                yield label


_TARGETS: tuple[tuple[type[exp.Expr], Role], ...] = (
    (exp.Insert, Role.INSERT),
    (exp.Update, Role.UPDATE),
    (exp.Delete, Role.DELETE),
    (exp.Merge, Role.MERGE),
    (exp.Create, Role.CREATE),
    (exp.Drop, Role.DROP),
    (exp.TruncateTable, Role.DELETE),
    (exp.Alter, Role.ALTER),
    (exp.Describe, Role.DESCRIBE),
)


def _role(node: exp.Table) -> Role:
    """A target is the direct `this` (or listed table) of a writing node; everything else is read."""
    child: exp.Expr = node
    parent = node.parent
    if isinstance(parent, exp.Schema):
        child, parent = parent, parent.parent
    if isinstance(parent, exp.AlterRename):
        return Role.CREATE
    if isinstance(parent, exp.ToTableProperty):
        return Role.INSERT
    for kind, role in _TARGETS:
        if isinstance(parent, kind) and child.arg_key in ("this", "tables", "expressions"):
            return role
    return Role.READ


def cte_of(node: exp.Table, dialect: Wire) -> exp.CTE | None:
    """The common table expression that an unqualified table name means, or None for a real table."""
    if node.args.get("db") or node.args.get("catalog"):
        return None
    return visible_cte(node, node.name, dialect)


def visible_cte(node: exp.Expr, name: str, dialect: Wire) -> exp.CTE | None:
    """The innermost CTE called `name` that is in scope at `node`.

    What an element of a WITH sees of its siblings is `_seen_from`'s; everything else under the query that
    carries the WITH sees all elements.
    """
    wanted = name.lower() if dialect is Wire.TRINO else name
    came_from: exp.Expr = node
    ancestor = node.parent
    while ancestor is not None:
        if isinstance(ancestor, exp.With):
            found = _among(_seen_from(ancestor, came_from, dialect), wanted, dialect)
            if found is not None:
                cyclic = (
                    dialect is Wire.CLICKHOUSE
                    and found is not came_from
                    and _reaches(found, came_from, ancestor)
                )
                return None if cyclic else found
            came_from = ancestor
            ancestor = ancestor.parent
            if ancestor is None:
                return None
            # The query that carries this WITH adds nothing more for its own elements.
            came_from, ancestor = ancestor, ancestor.parent
            continue
        with_ = ancestor.args.get("with_")
        if isinstance(with_, exp.With):
            found = _among(with_.expressions, wanted, dialect)
            if found is not None:
                return found
        came_from, ancestor = ancestor, ancestor.parent
    return None


def _seen_from(with_: exp.With, element: exp.Expr, dialect: Wire) -> list[exp.Expr]:
    """The elements that one element of a WITH may refer to.

    Trino: those before it, and itself under RECURSIVE. ClickHouse also those after it (26.7).
    """
    elements = list(with_.expressions)
    at = next((index for index, each in enumerate(elements) if each is element), None)
    if at is None:
        # Trino's inline functions stand in the WITH, too; they see no tables.
        return []
    seen = elements[:at] + (elements[at + 1 :] if dialect is Wire.CLICKHOUSE else [])
    return [*seen, element] if with_.args.get("recursive") else seen


def _reaches(start: exp.CTE, goal: exp.Expr, with_: exp.With) -> bool:
    """Whether resolving `start` may lead back to `goal`; ClickHouse then reads a real table instead."""
    by_name = {each.alias: each for each in with_.expressions}
    seen: set[str] = set()
    waiting = [start.alias]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in by_name:
            continue
        seen.add(name)
        if by_name[name] is goal:
            return True
        waiting.extend({identifier.name for identifier in by_name[name].this.find_all(exp.Identifier)})
    return False


def _among(elements: list[exp.Expr], wanted: str, dialect: Wire) -> exp.CTE | None:
    for element in reversed(elements):
        if not isinstance(element, exp.CTE) or element.args.get("scalar"):
            continue
        name = element.alias.lower() if dialect is Wire.TRINO else element.alias
        if name == wanted:
            return element
    return None


def _table_argument(node: exp.Anonymous, parsed: Parsed, statement: Statement) -> Iterator[Reference]:
    """Trino's `f(input => TABLE(t))`: a table that sqlglot shows as a column."""
    argument = node.expressions[0] if node.expressions else None
    if not isinstance(argument, (exp.Column, exp.Dot)) or isinstance(node.parent, exp.Table):
        return
    parts = tuple(part.name for part in argument.parts)
    if len(parts) == 1 and visible_cte(node, parts[0], parsed.dialect) is not None:
        return
    kind = _kind_of(parts, parsed.dialect)
    name = qualify(parts, parsed.dialect, statement)
    place = parsed.place_of(argument)
    yield Reference(name, node, Role.READ, kind, place, ("TABLE_ARGUMENT",), parts, parsed)


_DICTIONARY_CALLS = ("dictget", "dicthas", "dictisin", "joinget")
_IN_CALLS = frozenset(
    {"in", "notin", "globalin", "globalnotin", "nullin", "notnullin", "globalnullin", "globalnotnullin"}
    | {f"{name}ignoreset" for name in ("in", "notin", "globalin", "globalnotin")}
)


def _hidden(node: exp.Expr, parsed: Parsed, statement: Statement) -> Iterator[Reference]:
    """ClickHouse names relations outside FROM: `x IN t`, `in(x, t)`, dictionary and join functions."""
    if isinstance(node, exp.In):
        operand = node.args.get("field")
        if isinstance(operand, exp.Expr):
            yield from _operand(operand, parsed, statement)
        if len(node.expressions) == 1 and not node.args.get("query"):
            # `x IN (t)`: one bracketed name is the table itself.
            yield from _operand(node.expressions[0], parsed, statement)
    elif isinstance(node, (exp.EngineProperty, exp.DictProperty)):
        name = function_name(node.this) if isinstance(node.this, exp.Func) else node.name
        relation = RelationName("", "", name)
        place = parsed.place_of(node)
        yield Reference(relation, node, Role.READ, RefKind.ENGINE, place, (), (name,), parsed)
    elif isinstance(node, exp.Anonymous):
        name = node.name.lower()
        if name in _IN_CALLS and len(node.expressions) > 1:
            yield from _operand(node.expressions[1], parsed, statement)
        elif name.startswith(_DICTIONARY_CALLS) and node.expressions:
            yield _dictionary(node, node.expressions[0], parsed, statement)


def _operand(operand: exp.Expr, parsed: Parsed, statement: Statement) -> Iterator[Reference]:
    bare = operand.unnest() if isinstance(operand, exp.Paren) else operand
    if isinstance(bare, exp.Placeholder):
        if str(bare.args.get("kind")) == "Identifier":
            yield _hidden_reference(bare, (), RefKind.PARAMETER, parsed, statement)
        return
    if isinstance(bare, exp.Column):
        parts = tuple(part.name for part in bare.parts)
    elif isinstance(bare, (exp.Identifier, exp.Var)):
        parts = (bare.name,)
    elif isinstance(bare, exp.Dot):
        parts = tuple(part.name for part in bare.parts)
    elif isinstance(bare, exp.Func) and not isinstance(bare, (exp.Array, exp.Tuple, exp.Cast)):
        yield _hidden_reference(bare, (function_name(bare),), RefKind.TABLE_FUNCTION, parsed, statement)
        return
    else:
        return
    if len(parts) == 1 and visible_cte(bare, parts[0], parsed.dialect) is not None:
        return
    # ClickHouse prefers an alias of that name; which one it takes depends on where it stands.
    kind = (
        RefKind.UNKNOWN
        if len(parts) > 2 or (len(parts) == 1 and _is_alias(bare, parts[0]))
        else RefKind.TABLE
    )
    yield _hidden_reference(bare, parts, kind, parsed, statement)


def _is_alias(node: exp.Expr, name: str) -> bool:
    return any(
        each.alias == name for each in node.root().find_all(exp.Alias, exp.Table, exp.Subquery, exp.CTE)
    )


def _hidden_reference(
    node: exp.Expr, parts: tuple[str, ...], kind: RefKind, parsed: Parsed, statement: Statement
) -> Reference:
    if kind in (RefKind.TABLE, RefKind.UNKNOWN) and 0 < len(parts) < 3:
        name = qualify(parts, parsed.dialect, statement)
    else:
        name = RelationName("", "", parts[0] if parts else "")
    return Reference(name, node, Role.READ, kind, parsed.place_of(node), ("IN",), parts, parsed)


def _dictionary(call: exp.Anonymous, first: exp.Expr, parsed: Parsed, statement: Statement) -> Reference:
    if isinstance(first, exp.Literal) and first.is_string:
        parts = tuple(first.name.split(".", 1))
    elif isinstance(first, (exp.Column, exp.Dot)):
        parts = tuple(part.name for part in first.parts)
    else:
        return Reference(
            RelationName("", "", ""),
            call,
            Role.READ,
            RefKind.PARAMETER,
            parsed.place_of(call),
            (),
            (),
            parsed,
        )
    kind = RefKind.TABLE if call.name.lower().startswith("joinget") else RefKind.DICTIONARY
    name = qualify(parts, parsed.dialect, statement)
    return Reference(name, call, Role.READ, kind, parsed.place_of(call), (call.name,), parts, parsed)


def first_place(node: exp.Expr, parsed: Parsed) -> Position | None:
    """The client's place of a node, for messages."""
    offset = start_of(node)
    return None if offset is None else parsed.source.place(offset)
