"""Credentials verified a moment ago, under a keyed hash: the hot path of every request.

The key is random per process and per reload, so what is kept here proves nothing elsewhere and nothing later.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Generic, TypeVar

from gateway.identity.contract import Credentials

V = TypeVar("V")


class Memory(Generic[V]):
    """A bounded map that forgets: by time, by reload (the whole object is replaced), the least used first."""

    def __init__(self, capacity: int, clock: Callable[[], float]) -> None:
        self._capacity = capacity
        self._clock = clock
        self._entries: OrderedDict[bytes, tuple[float, V]] = OrderedDict()

    def recall(self, key: bytes) -> V | None:
        """The value, unless its time is over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._clock():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def keep(self, key: bytes, value: V, seconds: float) -> None:
        """Keep it for so long; not at all where that is not in the future."""
        if seconds <= 0:
            return
        self._entries[key] = (self._clock() + seconds, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def __len__(self) -> int:
        return len(self._entries)


class Fingerprints:
    """Keyed hashes of credentials. Fields are told apart by their lengths, so none can pose as another."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def of(self, credentials: Credentials) -> bytes:
        """For the whole of it: proof and wished-for user."""
        return self._hash(credentials, credentials.act_as)

    def of_proof(self, credentials: Credentials) -> bytes:
        """For the proof alone, so that one verification serves every user it acts as."""
        return self._hash(credentials, None)

    def _hash(self, offered: Credentials, act_as: str | None) -> bytes:
        user, password, token = offered.user or "", offered.password or "", offered.token or ""
        text = (
            f"{len(user)},{len(password)},{len(token)},{act_as is not None};{user}{password}{token}{act_as}"
        )
        raw = text.encode("utf-8", "surrogatepass")
        if offered.certificate is not None:
            raw = b"%d;%b%b" % (len(raw), raw, offered.certificate)
        return blake2b(raw, digest_size=16, key=self._key).digest()
