"""Keys of programs: `gwk_<id>_<secret>`, as a bearer token or in place of a password.

The secret has 256 random bits, so a plain fast hash is enough: there is nothing to guess. With a pepper the
hashes in the file are useless without the other secret.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterable, Mapping

from gateway.identity.scheme import Rejected, Verified
from gateway.settings.people import ApiKey

PREFIX = "gwk_"
_MAX_KEY = 128
_NO_HASH = "sha256:" + "0" * 64


def new_api_key(pepper: str | None = None) -> tuple[str, str, str]:
    """(key to hand out, its id, hash for the key file): `gateway users key`. The key is shown once."""
    identifier, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    return f"{PREFIX}{identifier}_{secret}", identifier, hash_secret(secret, pepper)


def hash_secret(secret: str, pepper: str | None) -> str:
    """What the key file keeps of a key's secret part."""
    if pepper is None:
        return "sha256:" + hashlib.sha256(secret.encode()).hexdigest()
    return "hmac-sha256:" + hmac.new(pepper.encode(), secret.encode(), hashlib.sha256).hexdigest()


def looks_like_key(text: str | None) -> bool:
    """Whether a password or token is one of our keys."""
    return text is not None and text.startswith(PREFIX)


class ApiKeyScheme:
    """The keys of one version of the key file."""

    method = "api_key"

    def __init__(
        self,
        keys: Iterable[ApiKey],
        scopes: Mapping[str, Iterable[str]],
        pepper: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = {key.id: key for key in keys}
        self._scopes = {name: frozenset(groups) for name, groups in scopes.items()}
        self._pepper = pepper
        self._clock = clock

    def verify(self, key: str, claimed_user: str | None = None) -> Verified:
        """The program's principal, or raises Rejected. `claimed_user` came beside the key, as for a password."""
        identifier, _, secret = key.removeprefix(PREFIX).partition("_")
        entry = self._keys.get(identifier) if len(key) <= _MAX_KEY else None
        expected = entry.hash if entry is not None else _NO_HASH
        holds = hmac.compare_digest(hash_secret(secret[:_MAX_KEY], self._pepper), expected)
        if entry is None or not holds:
            raise Rejected("unknown API key")
        if entry.disabled:
            raise Rejected(f"disabled API key {identifier}")
        if entry.expires is not None and entry.expires <= self._clock():
            raise Rejected(f"expired API key {identifier}")
        if claimed_user not in (None, "default", entry.user):
            raise Rejected(f"API key {identifier} is not of the user named beside it")
        groups = frozenset(entry.groups)
        if entry.scopes:
            groups = frozenset().union(*(self._scopes.get(scope, frozenset()) for scope in entry.scopes))
        attributes = (("api_key", identifier),)
        return Verified(entry.user, self.method, groups, attributes, bool(entry.scopes), entry.expires)
