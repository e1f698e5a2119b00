"""What names mean while a query is translated: typed SQL, fields of relations, scopes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.wire.trino.types import TrinoType


@dataclass(frozen=True, slots=True)
class Typed:
    """DuckDB SQL of an expression, with its Trino type. `literal` is a constant's value where it is known."""

    sql: str
    type: TrinoType
    literal: object = None


@dataclass(frozen=True, slots=True)
class Field:
    """A column that can be named: `sql` is how DuckDB refers to it."""

    name: str | None
    type: TrinoType
    sql: str
    relation: str | None = None
    hidden_from_star: bool = False
    qualifiers: tuple[str, ...] = ()

    def answers_to(self, parts: tuple[str, ...]) -> bool:
        """Whether `parts` (lower case; catalog, schema, table, column as far as given) name this field."""
        if self.name is None or self.name.lower() != parts[-1]:
            return False
        prefix = parts[:-1]
        if not prefix:
            return True
        full = (*self.qualifiers, self.relation.lower() if self.relation else "")
        return self.relation is not None and len(prefix) <= len(full) and full[-len(prefix) :] == prefix


@dataclass(slots=True)
class Scope:
    """The fields of one FROM clause, and the scope around it (for correlated subqueries and lambdas)."""

    fields: list[Field] = field(default_factory=list)
    parent: Scope | None = None

    def find(self, parts: tuple[str, ...]) -> list[Field]:
        """The fields of the innermost scope in which anything answers to `parts`."""
        here: Scope | None = self
        while here is not None:
            found = [one for one in here.fields if one.answers_to(parts)]
            if found:
                return found
            here = here.parent
        return []

    def of_relation(self, parts: tuple[str, ...]) -> list[Field]:
        """The fields of the relation called `parts`, for `t.*`."""
        here: Scope | None = self
        while here is not None:
            found = [
                one
                for one in here.fields
                if one.relation is not None
                and (*one.qualifiers, one.relation.lower())[-len(parts) :] == parts
            ]
            if found:
                return found
            here = here.parent
        return []


@dataclass(frozen=True, slots=True)
class Output:
    """A translated query: its SQL, and its columns, called c0, c1, … in DuckDB."""

    sql: str
    names: tuple[str, ...]
    types: tuple[TrinoType, ...]
    named: tuple[bool, ...]

    @property
    def columns(self) -> Iterable[tuple[str, TrinoType]]:
        return zip(self.names, self.types, strict=True)


def quote(name: str) -> str:
    """A DuckDB identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A DuckDB string literal."""
    return "'" + value.replace("'", "''") + "'"
