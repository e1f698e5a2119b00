"""One immutable value that holds everything a decision may read."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Protocol, TypeVar, runtime_checkable


@runtime_checkable
class Part(Protocol):
    """A versioned, immutable piece of a snapshot: metadata, policies, rules, limits, topology, …"""

    @property
    def version(self) -> str:
        """Changes whenever the part's meaning changes; equal versions mean equal parts."""
        ...


P = TypeVar("P", bound=Part)


class Snapshot:
    """An immutable set of parts, one per type.

    A feature adds a part by defining a type for it: `snapshot[Routing]` is typed as `Routing`.
    Refreshers build a new snapshot by `with_parts` and swap it; a request keeps the one it started with.
    """

    __slots__ = ("_parts", "version")

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = MappingProxyType({type(part): part for part in parts})
        self.version = tuple(sorted((kind.__name__, part.version) for kind, part in self._parts.items()))
        """((part name, version), …), sorted: a key for caches."""

    def __getitem__(self, kind: type[P]) -> P:
        part = self._parts.get(kind)
        if not isinstance(part, kind):
            raise KeyError(f"the snapshot has no part {kind.__name__}")
        return part

    def __reduce__(self) -> tuple[type[Snapshot], tuple[list[Part]]]:
        return Snapshot, (list(self._parts.values()),)

    def __contains__(self, kind: type[Part]) -> bool:
        return kind in self._parts

    def with_parts(self, *parts: Part) -> Snapshot:
        """A new snapshot in which the given parts replace those of the same type."""
        return Snapshot({**self._parts, **{type(part): part for part in parts}}.values())
