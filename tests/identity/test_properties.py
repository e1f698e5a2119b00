"""Whatever arrives, the answer is a principal or a refusal: never another exception, never a wrong principal."""

from __future__ import annotations

import asyncio
import json
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.identity.clickhouse import clickhouse_credentials
from gateway.identity.contract import Credentials
from gateway.identity.http import CredentialsRefused
from gateway.identity.jwt import JwtScheme
from gateway.identity.keys import BadKeySet, parse_key_set
from gateway.identity.scheme import Rejected
from gateway.identity.trino import trino_credentials
from gateway.settings.sections.identity import JwtIssuer
from gateway.wire.http.message import Headers

from .conftest import AUDIENCE, ISSUER, Signer, default_claims, raw_token

NAMES = st.sampled_from(
    [
        "Authorization",
        "X-Trino-User",
        "X-ClickHouse-User",
        "X-ClickHouse-Key",
        "X-ClickHouse-SSL-Certificate-Auth",
    ]
)
VALUES = st.one_of(
    st.text(alphabet=st.characters(max_codepoint=255), max_size=40),
    st.sampled_from(
        ["on", "Basic YTpi", "Basic Og==", "Bearer x", "default", "Basic", "bearer a.b.c", "BASIC YTpi"]
    ),
)
JSONS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
CLAIM = st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub", "groups", "x"])
HEADER = st.sampled_from(["alg", "kid", "typ", "crit", "jku", "jwk", "b64", "zip"])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(NAMES, VALUES), max_size=4),
    st.lists(st.tuples(st.sampled_from(["user", "password", "query"]), VALUES), max_size=3),
    st.booleans(),
)
def test_extraction_gives_at_most_one_proof(
    headers: list[tuple[str, str]], url: list[tuple[str, str]], certificate: bool
) -> None:
    der = b"der" if certificate else None
    for extract in (
        lambda: trino_credentials(Headers(headers), certificate=der),
        lambda: clickhouse_credentials(Headers(headers), url, certificate=der),
    ):
        try:
            offered: Credentials = extract()
        except CredentialsRefused:
            continue
        assert sum(x is not None for x in (offered.password, offered.token, offered.certificate)) <= 1


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(HEADER, JSONS, max_size=3),
    st.dictionaries(CLAIM, JSONS, max_size=4),
    st.binary(max_size=40),
)
def test_unsigned_tokens_never_get_in(
    header: dict[str, Any], claims: dict[str, Any], signature: bytes
) -> None:
    token = raw_token({"alg": "RS256", **header}, {**default_claims(), **claims}, signature)
    assert _log_in(token) is None


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(CLAIM, JSONS, min_size=1, max_size=3))
def test_signed_tokens_with_any_claims_get_in_only_with_a_name(claims: dict[str, Any]) -> None:
    payload = {**default_claims(), **claims}
    token = jwt.PyJWS().encode(json.dumps(payload).encode(), _signer().private, "RS256", headers={"kid": "k"})
    name = _log_in(token)
    assert name is None or (name == payload["sub"] and name and name.isprintable())


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.binary(max_size=60), JSONS.map(lambda v: json.dumps({"keys": v}).encode()), st.lists(
    st.dictionaries(st.sampled_from(["kty", "crv", "n", "e", "x", "y", "kid", "use", "alg", "key_ops"]),
                    st.one_of(JSONS, st.sampled_from(["RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "AQAB"])))
).map(lambda v: json.dumps({"keys": v}).encode())))  # fmt: skip
def test_any_key_set_is_read_or_refused(raw: bytes) -> None:
    try:
        parse_key_set(raw, ("RS256", "ES256", "EdDSA"))
    except BadKeySet:
        pass


@cache
def _signer() -> Signer:
    return Signer(rsa.generate_private_key(65537, 2048), "RS256", "k")


@cache
def _scheme() -> JwtScheme:
    keys = parse_key_set(json.dumps({"keys": [_signer().jwk]}).encode(), ["RS256"])
    issuer = JwtIssuer.model_construct(
        issuer=ISSUER, audience=(AUDIENCE,), algorithms=("RS256",), groups_claim=("groups",)
    )
    return JwtScheme({ISSUER: (issuer, keys)})


def _log_in(token: str) -> str | None:
    try:
        return asyncio.run(_scheme().verify(token)).name
    except Rejected:
        return None
