"""JSON Web Tokens: judged by the one configured issuer they name, by an allow-list of everything.

The token chooses nothing: not its algorithm (allow-list of the issuer; each key is bound to what it is fit
for), not its key (`jku`, `x5u`, `x5c`, `jwk` are not read; `kid` only selects among the issuer's keys by
equality), not its rules (`crit` is refused). Sources: RFC 7515, 7519, 8725.
"""

from __future__ import annotations

import base64
import binascii
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import orjson

from gateway.core.principal import AttributeValue
from gateway.identity.http import MAX_USER
from gateway.identity.keys import MAX_KID, KeySource
from gateway.identity.scheme import Rejected, Verified
from gateway.settings.sections.identity import JwtIssuer

MAX_TOKEN = 16 * 1024
MAX_GROUPS = 1000
MAX_TEXT = 4096

_SCALARS = (str, int, float, bool, type(None))


class JwtScheme:
    """The configured issuers, each with the source of its keys."""

    method = "jwt"

    def __init__(
        self,
        issuers: Mapping[str, tuple[JwtIssuer, KeySource]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuers = dict(issuers)
        self._clock = clock
        self._jws = jwt.PyJWS()

    async def verify(self, token: str) -> Verified:
        """The principal, or raises Rejected (and TemporarilyUnavailable while keys cannot be fetched)."""
        header, unproven = _peek(token)
        named = unproven.get("iss")
        issuer, source = self._issuers.get(named, (None, None)) if isinstance(named, str) else (None, None)
        if issuer is None or source is None:
            raise Rejected("the token is not from a configured issuer")
        algorithm, kid = _checked_header(header, issuer)
        keys = await source.candidates(algorithm, kid)
        claims = self._proven(token, algorithm, keys)
        if claims.get("iss") != issuer.issuer:
            raise Rejected("the token is not from its issuer")
        _check_times(claims, issuer, self._clock())
        _check_audience(claims, issuer)
        _check_required(claims, issuer)
        return _verified(claims, issuer)

    def _proven(self, token: str, algorithm: str, keys: Any) -> dict[str, Any]:
        """The claims, once the signature holds under one of the keys."""
        for key in keys:
            try:
                payload = self._jws.decode_complete(token, key, algorithms=[algorithm])["payload"]
            except (jwt.PyJWTError, ValueError, TypeError):
                continue
            claims = _json(payload)
            if claims is not None:
                return claims
        raise Rejected("no key of the issuer verifies the token" if keys else "unknown key id")


def _json(raw: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _peek(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(header, payload) of a token that nobody has verified yet."""
    if len(token) > MAX_TOKEN:
        raise Rejected(f"the token is longer than {MAX_TOKEN} bytes")
    parts = token.split(".")
    if len(parts) != 3 or not all(parts):
        raise Rejected("the token is not a signed JWT")
    try:
        raw = [base64.b64decode(part + "=" * (-len(part) % 4), b"-_", validate=True) for part in parts[:2]]
    except (binascii.Error, ValueError):
        raise Rejected("the token is not base64url") from None
    header, payload = map(_json, raw)
    if header is None or payload is None:
        raise Rejected("the token is not JSON")
    return header, payload


def _checked_header(header: dict[str, Any], issuer: JwtIssuer) -> tuple[str, str | None]:
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
        raise Rejected("the token's algorithm is not among those of its issuer")
    if "crit" in header or "b64" in header or "zip" in header or "enc" in header:
        raise Rejected("the token's header asks for extensions")
    if kid is not None and not (isinstance(kid, str) and len(kid) <= MAX_KID):
        raise Rejected("the token's kid is not a short text")
    accepted = {name.lower().removeprefix("application/") for name in issuer.types}
    if kind is not None and (
        not isinstance(kind, str) or kind.lower().removeprefix("application/") not in accepted
    ):
        raise Rejected("the token is of another type")
    for value in header.values():
        flat = isinstance(value, _SCALARS) or (
            isinstance(value, list) and all(isinstance(v, str) for v in value)
        )
        if not flat:
            raise Rejected("the token's header is nested")
    return algorithm, kid


def _moment(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Rejected(f"the token's {name} is not a time")
    return float(value)


def _check_times(claims: dict[str, Any], issuer: JwtIssuer, now: float) -> None:
    expiry, not_before, issued = (_moment(claims, name) for name in ("exp", "nbf", "iat"))
    if expiry is None and issuer.require_expiry:
        raise Rejected("the token never expires")
    if expiry is not None and now >= expiry + issuer.leeway:
        raise Rejected("the token has expired")
    if not_before is not None and now < not_before - issuer.leeway:
        raise Rejected("the token is not valid yet")
    if issued is not None and now < issued - issuer.leeway:
        raise Rejected("the token was issued in the future")
    if issuer.max_age is not None and (issued is None or now > issued + issuer.max_age + issuer.leeway):
        raise Rejected("the token is too old")


def _check_audience(claims: dict[str, Any], issuer: JwtIssuer) -> None:
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not any(isinstance(a, str) and a in issuer.audience for a in named):
        raise Rejected("the token is for another audience")


def _check_required(claims: dict[str, Any], issuer: JwtIssuer) -> None:
    for path, accepted in issuer.required_claims.items():
        value = _claim(claims, (path,) if "://" in path else tuple(path.split(".")))
        held = value if isinstance(value, list) else [value]
        if not any(isinstance(v, str) and v in accepted for v in held):
            raise Rejected(f"the token's {path} is not as required")


def _claim(claims: dict[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = claims
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _texts(value: Any, what: str) -> tuple[str, ...]:
    values = (value,) if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or len(values) > MAX_GROUPS:
        raise Rejected(f"the token's {what} is not text or a list of at most {MAX_GROUPS} texts")
    if not all(isinstance(v, str) and len(v) <= MAX_TEXT for v in values):
        raise Rejected(f"the token's {what} holds something else than short texts")
    return tuple(values)


def _attribute(value: Any, name: str) -> AttributeValue:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    texts = _texts(value, f"attribute {name}")
    return texts[0] if isinstance(value, str) else texts


def _verified(claims: dict[str, Any], issuer: JwtIssuer) -> Verified:
    user = _claim(claims, issuer.user_claim)
    name = f"{issuer.user_prefix}{user}" if isinstance(user, str) else ""
    if not user or not name or len(name) > MAX_USER or not name.isprintable():
        raise Rejected(f"the token's {'.'.join(issuer.user_claim)} cannot be a user name")
    groups = _claim(claims, issuer.groups_claim) if issuer.groups_claim is not None else None
    attributes = {key: _claim(claims, path) for key, path in issuer.attributes.items()}
    return Verified(
        name,
        JwtScheme.method,
        frozenset(issuer.groups_prefix + name for name in _texts(groups, "groups"))
        if groups is not None
        else frozenset(),
        tuple(
            sorted((key, _attribute(value, key)) for key, value in attributes.items() if value is not None)
        ),
        expires_at=_moment(claims, "exp"),
    )
