"""Replaces references to relations by subqueries: the mechanism of governance and of rollups.

A table is replaced where it is referenced, so predicates, joins, sorts and groups see what the subquery
lets through. What hangs on a reference (FINAL, SAMPLE, time travel) moves inside, onto the same relation in
the subquery; what cannot be carried is refused by name and place. Common table expressions are renamed on
the way: should the engine ever read a name as a CTE where we did not, or the reverse, it finds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlglot import exp

from gateway.core.decision import Refusal, RefusalCode
from gateway.core.statement import Wire
from gateway.sql.parse import Inner, Parsed
from gateway.sql.relations import Reference, RefKind, cte_of, visible_cte
from gateway.sql.shape import Role

RULE = "sql-substitution"


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def substitute(parsed: Parsed, subqueries: Mapping[Reference, exp.Query]) -> Parsed | Refusal:
    """A new statement in which each given reference reads its subquery instead.

    References are those that `references(parsed, …)` returned. A subquery gives its columns in the
    relation's order under the relation's column names; it must name the relation itself at most once.
    Nothing that was passed in is changed.
    """
    try:
        return _statement(parsed, subqueries)
    except _Refused as refused:
        return refused.refusal


def _statement(parsed: Parsed, subqueries: Mapping[Reference, exp.Query]) -> Parsed:
    own = {ref: query for ref, query in subqueries.items() if ref.parsed is parsed}
    inner = tuple(Inner(_statement(each.parsed, subqueries), each.via) for each in parsed.inner)
    for reference in own:
        if reference.node is None:
            raise _refused(reference, f"{reference.role.value} of a table cannot be rewritten")
    tree = _rewrite(parsed.tree, parsed, own) if parsed.tree is not None else None
    if parsed.expressions and own and parsed.tree is None:
        raise _refused(next(iter(own)), "a table named in an argument cannot be rewritten")
    return replace(parsed, tree=tree, inner=inner)


def _rewrite(original: exp.Expr, parsed: Parsed, subqueries: Mapping[Reference, exp.Query]) -> exp.Expr:
    """A copy with everything replaced. Nodes of original and copy correspond in walking order."""
    twins = dict(zip(map(id, original.walk()), (tree := original.copy()).walk(), strict=True))
    holder = exp.Paren(this=tree)
    _rename_ctes(tree, parsed.dialect)
    sites = [_Site(reference, twins[id(reference.node)], query) for reference, query in subqueries.items()]
    _check_names(sites)
    _unqualify_columns(tree, sites, parsed.dialect)
    for site in sites:
        _replace(site, parsed.dialect)
    result = holder.this
    assert isinstance(result, exp.Expr)
    return result.pop() if result.parent is holder else result


@dataclass(frozen=True, slots=True, eq=False)
class _Site:
    reference: Reference
    node: exp.Expr
    query: exp.Query


def _replace(site: _Site, dialect: Wire) -> None:
    reference = site.reference
    if reference.role is not Role.READ:
        raise _refused(reference, f"{reference.role.value.upper()} of this table cannot be rewritten")
    if reference.kind is not RefKind.TABLE:
        raise _refused(reference, f"a {reference.kind.value.replace('_', ' ')} cannot be rewritten")
    query = _fresh(site.query)
    if isinstance(site.node, exp.Table):
        _replace_table(site, site.node, query, dialect)
    elif "TABLE_ARGUMENT" in reference.modifiers:
        site.node.set("expressions", [query])
    elif "IN" in reference.modifiers:
        _replace_operand(site.node, query)
    else:
        raise _refused(reference, f"{reference.modifiers[0]} reads the table by its name")


def _fresh(query: exp.Query) -> exp.Query:
    """A copy without places: those would be places of another text."""
    twin = query.copy()
    for node in twin.walk():
        if node.args and node.meta:
            for key in ("line", "col", "start", "end"):
                node.meta.pop(key, None)
    return twin


def _replace_table(site: _Site, table: exp.Table, query: exp.Query, dialect: Wire) -> None:
    reference = site.reference
    outer: exp.Expr = table
    if isinstance(table.parent, exp.Final):
        outer = table.parent
    _move_inside(site, table, outer, query)
    alias = table.args.get("alias")
    if alias is None:
        alias = exp.TableAlias(this=_name(table))
    elif alias.this is None:
        alias.set("this", _name(table))
    subquery = exp.Subquery(this=query, alias=alias)
    for key in ("joins", "laterals"):
        if table.args.get(key):
            subquery.set(key, table.args[key])
    for key in ("pivots", "hints", "ordinality", "when", "only", "partition", "changes", "rows_from"):
        if table.args.get(key):
            raise _refused(reference, f"{key.upper()} on this table cannot be carried")
    outer.replace(subquery)


def _name(table: exp.Table) -> exp.Identifier:
    identifier = table.this.copy()
    assert isinstance(identifier, exp.Identifier)
    return identifier


def _move_inside(site: _Site, table: exp.Table, outer: exp.Expr, query: exp.Query) -> None:
    """Put FINAL, SAMPLE and time travel onto the relation inside; turn PREWHERE into WHERE."""
    reference = site.reference
    select = _select_of(outer)
    sample = table.args.get("sample")
    if isinstance(select, exp.Select) and select.args.get("sample") and "SAMPLE" in reference.modifiers:
        sample = select.args["sample"]
        select.set("sample", None)
    version, final = table.args.get("version"), outer is not table
    if sample or version or final:
        base = _base(reference, query)
        if base is None:
            what = ", ".join(reference.modifiers)
            raise _refused(reference, f"{what} cannot be carried onto what this table is replaced by")
        if sample:
            base.set("sample", sample)
        if version:
            base.set("version", version)
        if final:
            base.replace(exp.Final(this=base.copy()))
    if isinstance(select, exp.Select) and select.args.get("prewhere") and "PREWHERE" in reference.modifiers:
        if final:
            raise _refused(reference, "PREWHERE together with FINAL cannot be carried; use WHERE")
        condition = select.args["prewhere"].this
        select.set("prewhere", None)
        select.where(condition, copy=False)


def _select_of(outer: exp.Expr) -> exp.Expr | None:
    parent = outer.parent
    return parent.parent if isinstance(parent, exp.From) else None


def _base(reference: Reference, query: exp.Query) -> exp.Table | None:
    """The one place inside the subquery that names the same relation."""
    wanted = str(reference.name).lower()
    found = [
        table
        for table in query.find_all(exp.Table)
        if ".".join(part.name for part in table.parts).lower() == wanted
    ]
    return found[0] if len(found) == 1 else None


def _replace_operand(node: exp.Expr, query: exp.Query) -> None:
    parent = node.parent
    if isinstance(parent, exp.Paren):
        node, parent = parent, parent.parent
    if isinstance(parent, exp.In):
        parent.set("field", None)
        parent.set("expressions", None)
        parent.set("query", exp.Subquery(this=query))
    else:
        node.replace(exp.Subquery(this=query))


def _check_names(sites: list[_Site]) -> None:
    """Two relations with the same bare name in one FROM would get the same alias."""
    seen: dict[tuple[int, str], Reference] = {}
    for site in sites:
        if isinstance(site.node, exp.Table) and not site.node.alias:
            select = site.node.find_ancestor(exp.Select)
            key = (id(select), site.node.name.lower())
            if key in seen and seen[key].name != site.reference.name:
                raise _refused(
                    site.reference, f"two tables are called {site.node.name} here; give each an alias"
                )
            seen[key] = site.reference


def _unqualify_columns(tree: exp.Expr, sites: list[_Site], dialect: Wire) -> None:
    """`schema.table.column` names nothing once the table is a subquery: drop what stands before `table`."""
    fold = str.lower if dialect is Wire.TRINO else str
    owners = {
        tuple(fold(part) for part in (site.reference.name.schema, site.reference.name.table))
        for site in sites
        if isinstance(site.node, exp.Table) and not site.node.alias
    }
    if not owners:
        return
    for column in tree.find_all(exp.Column):
        if column.args.get("db") and (fold(column.text("db")), fold(column.table)) in owners:
            column.set("db", None)
            column.set("catalog", None)


def _rename_ctes(tree: exp.Expr, dialect: Wire) -> None:
    """Give every CTE a name of ours and keep the old one as alias at each reference."""
    uses: list[tuple[exp.Expr, exp.CTE]] = []
    for node in tree.walk():
        if isinstance(node, exp.Table):
            cte = cte_of(node, dialect)
            if cte is not None:
                uses.append((node, cte))
        elif isinstance(node, exp.In) and dialect is Wire.CLICKHOUSE:
            uses.extend(_cte_operands(node))
    names: dict[int, str] = {}
    for node, cte in uses:
        names.setdefault(id(cte), f"{cte.alias}__cte{len(names) + 1}")
        if isinstance(node, exp.Table):
            _rename_use(node, names[id(cte)])
        else:
            node.replace(exp.to_identifier(names[id(cte)], quoted=True))
    for cte in tree.find_all(exp.CTE):
        name = names.get(id(cte))
        alias = cte.args.get("alias")
        if name and alias is not None and not cte.args.get("scalar"):
            alias.set("this", exp.to_identifier(name, quoted=True))


def _rename_use(table: exp.Table, name: str) -> None:
    if not table.alias:
        alias = table.args.get("alias") or exp.TableAlias()
        alias.set("this", table.this.copy())
        table.set("alias", alias)
    table.set("this", exp.to_identifier(name, quoted=True))


def _cte_operands(node: exp.In) -> list[tuple[exp.Expr, exp.CTE]]:
    operands = [node.args.get("field")]
    if len(node.expressions) == 1:
        operands.append(node.expressions[0])
    found: list[tuple[exp.Expr, exp.CTE]] = []
    for operand in operands:
        if isinstance(operand, exp.Column) and not operand.table:
            cte = visible_cte(operand, operand.name, Wire.CLICKHOUSE)
            if cte is not None:
                found.append((operand, cte))
    return found


def _refused(reference: Reference, why: str) -> _Refused:
    name = ".".join(reference.written) or "this relation"
    message = f"{name}: {why}."
    return _Refused(Refusal(RefusalCode.NOT_SUPPORTED, message, reference.position, RULE))
