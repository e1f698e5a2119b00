"""Who is asking."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

AttributeValue = str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated identity with what policies may read of it.

    `attributes` are claims or file entries, sorted by name. `impersonator` is the authenticated name when
    `name` is somebody that it is allowed to act for. `expires_at` is a Unix time in seconds.
    """

    name: str
    groups: frozenset[str] = frozenset()
    attributes: tuple[tuple[str, AttributeValue], ...] = ()
    method: str = "anonymous"
    impersonator: str | None = None
    expires_at: float | None = field(default=None, compare=False)

    def attribute(self, name: str) -> AttributeValue | None:
        """The attribute's value, or None where the principal has none of that name."""
        return next((value for key, value in self.attributes if key == name), None)

    def percentile(self, salt: str) -> int:
        """A stable number from 0 to 99 for this name, used to switch features on by percentage."""
        digest = hashlib.blake2b(f"{salt}\0{self.name}".encode(), digest_size=4).digest()
        return int.from_bytes(digest, "big") % 100
