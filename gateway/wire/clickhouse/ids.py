"""Namespaces of query and session ids: one for each principal, computed and never stored.

An engine sees `<tag>-<the client's id>`, where the tag is a keyed hash of the principal. What a client names in
its own id, in KILL QUERY or in a look-up is always put under the client's own tag, so there is no text by which
one principal could name another's query or session, guessing included; and because it is a function of the
principal only, every process and every gateway with the same key agrees without talking.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from gateway.core.principal import Principal

TAG_LENGTH = 16
_MAX_TAGS = 4096


class Namespaces:
    """Tags by principal, remembered for speed (bounded)."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._tags: OrderedDict[str, str] = OrderedDict()

    def of(self, principal: Principal) -> Namespace:
        """The namespace of this principal's name; whoever acts for it shares it."""
        name = principal.name
        tag = self._tags.get(name)
        if tag is None:
            digest = hashlib.blake2b(
                name.encode("utf-8", "surrogateescape"),
                key=self._key[:64],
                digest_size=TAG_LENGTH // 2,
                person=b"clickhouse-ids",
            )
            tag = self._tags[name] = digest.hexdigest()
            if len(self._tags) > _MAX_TAGS:
                self._tags.popitem(last=False)
        return Namespace(tag)


class Namespace:
    """Puts ids under a tag and takes them out again."""

    __slots__ = ("prefix",)

    def __init__(self, tag: str) -> None:
        self.prefix = tag + "-"

    def inside(self, client_id: str) -> str:
        """The engine's id for the client's."""
        return self.prefix + client_id

    def outside(self, engine_id: str) -> str | None:
        """The client's id for the engine's; None if it is not in this namespace."""
        return engine_id[len(self.prefix) :] if engine_id.startswith(self.prefix) else None
