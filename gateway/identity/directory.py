"""What the operator's files say of a name: groups, attributes, whether it is disabled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.core.principal import AttributeValue
from gateway.settings.people import Person

Attributes = tuple[tuple[str, AttributeValue], ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one name."""

    groups: frozenset[str] = frozenset()
    attributes: Attributes = ()
    disabled: bool = False


UNKNOWN = Entry()


@dataclass(frozen=True, slots=True)
class Directory:
    """Names to entries. The same name is the same person, however it logs in."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def of(self, name: str) -> Entry:
        """The entry; an empty one for names that no file has."""
        return self.entries.get(name, UNKNOWN)


def build_directory(files: Iterable[Iterable[Person]]) -> Directory:
    """Merge files: groups add up, a later file's attributes win, disabled anywhere is disabled."""
    entries: dict[str, Entry] = {}
    for people in files:
        for person in people:
            known = entries.get(person.name, UNKNOWN)
            entries[person.name] = Entry(
                known.groups | frozenset(person.groups),
                merge_attributes(known.attributes, tuple(person.attributes.items())),
                known.disabled or person.disabled,
            )
    return Directory(entries)


def merge_attributes(weak: Attributes, strong: Attributes) -> Attributes:
    """Sorted by name; where both have one, the strong one's value."""
    return tuple(sorted({**dict(weak), **dict(strong)}.items()))
