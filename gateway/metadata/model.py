"""Relations and columns as values; the part of the snapshot that says what exists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b

from gateway.core.facts import Probe
from gateway.core.statement import RelationName


class RelationKind(StrEnum):
    TABLE = "table"
    VIEW = "view"
    MATERIALIZED_VIEW = "materialized_view"


@dataclass(frozen=True, slots=True)
class ColumnMeta:
    """`type` is in the engine's own spelling."""

    name: str
    type: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view as an engine describes it.

    `storage` is ClickHouse's table engine ("MergeTree", "Buffer", …), which policies must know, since a
    Buffer or Distributed table reads another one.
    """

    name: RelationName
    kind: RelationKind
    columns: tuple[ColumnMeta, ...]
    view_text: str | None = None
    comment: str = ""
    storage: str = ""

    @property
    def version(self) -> str:
        """A digest of everything said here; equal versions mean an equal description."""
        return blake2b(repr(self).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Described(Probe[Relation | None]):
    """Ask an engine of `group` about one relation that the catalogue does not know (yet)."""

    group: str
    name: RelationName

    def describe(self) -> str:
        return f"describe {self.name} in group {self.group}"


@dataclass(frozen=True, slots=True)
class GroupCatalogue:
    """What one group of backends has. `loaded_at` is a Unix time in seconds; 0 means never."""

    relations: Mapping[RelationName, Relation] = field(default_factory=dict)
    loaded_at: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What exists, by group. A column that is not in here is invisible (invariant 4)."""

    groups: Mapping[str, GroupCatalogue] = field(default_factory=dict)
    version: str = "0"

    def find(self, group: str, name: RelationName) -> Relation | None:
        """The relation as last described, or None where the catalogue does not know it."""
        found = self.groups.get(group)
        return found.relations.get(name) if found else None
