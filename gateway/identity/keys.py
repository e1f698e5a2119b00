"""Public keys of token issuers: parsed from a JSON Web Key Set, and bound to the algorithms they are fit for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

MAX_JWKS_BYTES = 256 * 1024
MAX_KEYS = 100
MAX_KID = 256
_MAX_CANDIDATES = 4
"""Keys tried for a token that names none: each costs a signature check."""

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",), "Ed25519": ("EdDSA",)}
# RFC 7518 section 3.3 asks for 2048 bits; the upper bound keeps one check cheap.
_RSA_BITS = range(2048, 8193)


class BadKeySet(ValueError):
    """A key set that gives no usable key; the text says why."""


@dataclass(frozen=True, slots=True)
class Key:
    """One public key with the algorithms that may be checked with it."""

    kid: str | None
    by_algorithm: dict[str, jwt.PyJWK]


class KeySource(Protocol):
    """Where an issuer's keys come from."""

    async def candidates(self, algorithm: str, kid: str | None) -> Sequence[jwt.PyJWK | bytes]:
        """The keys that a token with this header may be signed with; empty if there are none."""
        ...


@dataclass(frozen=True, slots=True)
class KeySet:
    """An issuer's keys at one moment; also the source for keys that come from a file."""

    keys: tuple[Key, ...]

    def matching(self, algorithm: str, kid: str | None) -> list[jwt.PyJWK]:
        """Keys fit for the algorithm; those named `kid` where the token names one."""
        fit = (key for key in self.keys if kid is None or key.kid == kid)
        found = [key.by_algorithm[algorithm] for key in fit if algorithm in key.by_algorithm]
        return found[:_MAX_CANDIDATES]

    def has(self, kid: str) -> bool:
        """Whether a key of that name exists, fit or not."""
        return any(key.kid == kid for key in self.keys)

    async def candidates(self, algorithm: str, kid: str | None) -> Sequence[jwt.PyJWK | bytes]:
        return self.matching(algorithm, kid)


@dataclass(frozen=True, slots=True, repr=False)
class SharedSecret:
    """The source for HS256/384/512."""

    secret: bytes

    async def candidates(self, algorithm: str, kid: str | None) -> Sequence[jwt.PyJWK | bytes]:
        return (self.secret,) if algorithm.startswith("HS") else ()


def parse_key_set(raw: bytes, algorithms: Iterable[str]) -> KeySet:
    """The usable keys of a JSON Web Key Set. Keys of other kinds are passed over. Raises BadKeySet."""
    if len(raw) > MAX_JWKS_BYTES:
        raise BadKeySet(f"the key set is larger than {MAX_JWKS_BYTES} bytes")
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise BadKeySet("the key set is not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise BadKeySet(f"expected an object with a list `keys` of at most {MAX_KEYS} keys")
    wanted = frozenset(algorithms)
    keys = tuple(key for entry in entries if (key := _key(entry, wanted)) is not None)
    if not keys:
        raise BadKeySet(f"none of the {len(entries)} keys can check {', '.join(sorted(wanted))}")
    return KeySet(keys)


def _key(entry: Any, wanted: frozenset[str]) -> Key | None:
    if not isinstance(entry, dict) or not _for_signatures(entry):
        return None
    kid = entry.get("kid")
    if kid is not None and not (isinstance(kid, str) and len(kid) <= MAX_KID):
        return None
    by_algorithm = {
        name: key for name in _algorithms(entry) & wanted if (key := _bound(entry, name)) is not None
    }
    return Key(kid, by_algorithm) if by_algorithm else None


def _for_signatures(entry: dict[str, Any]) -> bool:
    operations = entry.get("key_ops")
    return entry.get("use") in (None, "sig") and (
        operations is None or (isinstance(operations, list) and "verify" in operations)
    )


def _algorithms(entry: dict[str, Any]) -> frozenset[str]:
    """What this key may check. Symmetric keys have no place in a public set: they are never used."""
    kind, curve, named = entry.get("kty"), entry.get("crv"), entry.get("alg")
    if kind == "RSA":
        fit = frozenset(_RSA)
    elif kind in ("EC", "OKP") and isinstance(curve, str):
        fit = frozenset(_CURVES.get(curve, ())) if (kind == "OKP") == curve.startswith("Ed") else frozenset()
    else:
        return frozenset()
    return fit & {named} if isinstance(named, str) else fit


def _bound(entry: dict[str, Any], algorithm: str) -> jwt.PyJWK | None:
    public = {name: value for name, value in entry.items() if name in ("kty", "crv", "n", "e", "x", "y")}
    try:
        key = jwt.PyJWK(public, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError):
        return None
    if isinstance(key.key, RSAPublicKey) and key.key.key_size not in _RSA_BITS:
        return None
    return key
