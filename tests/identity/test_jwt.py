"""Tokens that are accepted, and what becomes of their claims."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
import pytest

from gateway.identity.contract import AuthenticationFailed, Credentials

from .conftest import AUDIENCE, ISSUER, SECRET, Clock, Door, Signer, default_claims

ENTRY = f"""\
  - issuer: {ISSUER}
    audience: {AUDIENCE}
    jwks_file: keys.json
    algorithms: [RS256, PS256, ES256, EdDSA]
"""


async def with_keys(door: Door, *signers: Signer, more: str = "") -> None:
    door.write("keys.json", json.dumps({"keys": [signer.jwk for signer in signers]}))
    await door.configure("jwt:\n" + ENTRY + more)


def token(value: str) -> Credentials:
    return Credentials(token=value, peer="10.0.0.1")


async def test_each_family_of_algorithms(
    door: Door, rsa_signer: Signer, ec_signer: Signer, ed_signer: Signer
) -> None:
    await with_keys(door, rsa_signer, ec_signer, ed_signer)
    for signer in (rsa_signer, ec_signer, ed_signer):
        principal = await door.service.authenticate(token(signer.token(sub=f"by-{signer.kid}")))
        assert (principal.name, principal.method) == (f"by-{signer.kid}", "jwt")
    principal = await door.service.authenticate(token(rsa_signer.token(algorithm="PS256", sub="pss")))
    assert principal.name == "pss"


async def test_a_token_without_kid_is_tried_with_the_keys_that_fit(
    door: Door, rsa_signer: Signer, other_rsa: Signer, ec_signer: Signer
) -> None:
    await with_keys(door, ec_signer, rsa_signer, other_rsa)
    assert (await door.service.authenticate(token(other_rsa.token(headers={"kid": None})))).name == "alice"


async def test_shared_secret(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", SECRET)
    await door.configure(
        f"jwt: [{{issuer: '{ISSUER}', audience: {AUDIENCE}, algorithms: [HS256, HS512], secret: {{env: JWT_SECRET}}}}]"
    )
    for algorithm in ("HS256", "HS512"):
        signed = jwt.encode(default_claims(), SECRET, algorithm)
        assert (await door.service.authenticate(token(signed))).name == "alice"
    for wrong in (
        jwt.encode(default_claims(), SECRET[::-1], "HS256"),
        jwt.encode(default_claims(), SECRET, "HS384"),
    ):
        with pytest.raises(AuthenticationFailed, match=r"^Invalid credentials$"):
            await door.service.authenticate(token(wrong))


async def test_claims_become_name_groups_and_attributes(door: Door, rsa_signer: Signer) -> None:
    door.write("users.yaml", "users: [{name: 'corp:al', groups: [extra], attributes: {region: from-file}}]")
    await with_keys(
        door,
        rsa_signer,
        more="""\
    user_claim: preferred_username
    user_prefix: "corp:"
    groups_claim: realm_access.roles
    attributes: {region: region, desks: [ "x.y", desks ], level: level, absent: nowhere}
users_file: users.yaml
""",
    )
    claims: dict[str, Any] = {
        "preferred_username": "al",
        "realm_access": {"roles": ["trader", "analyst"]},
        "region": "ERCOT",
        "x.y": {"desks": ["gas", "power"]},
        "level": 3,
    }
    expires = int(time.time()) + 100
    principal = await door.service.authenticate(token(rsa_signer.token(exp=expires, **claims)))
    assert principal.name == "corp:al"
    assert principal.groups == {"trader", "analyst", "extra"}
    assert dict(principal.attributes) == {"region": "from-file", "desks": ("gas", "power"), "level": "3"}
    assert principal.expires_at == expires


async def test_required_claims(door: Door, rsa_signer: Signer) -> None:
    await with_keys(door, rsa_signer, more="    required_claims: {tenant: [a, b], scope.list: sql}\n")
    accepted = rsa_signer.token(tenant="b", scope={"list": ["x", "sql"]})
    assert (await door.service.authenticate(token(accepted))).name == "alice"
    for refused in ({"tenant": "c", "scope": {"list": ["sql"]}}, {"tenant": "a"}, {"scope": {"list": "sql"}}):
        with pytest.raises(AuthenticationFailed):
            await door.service.authenticate(token(rsa_signer.token(**refused)))


async def test_times_are_judged_with_leeway(door: Door, rsa_signer: Signer, clock: Clock) -> None:
    await with_keys(door, rsa_signer, more="    leeway: 10s\n    max_age: 1h\nremember: 0\n")
    now = int(time.time())
    for accepted in ({"exp": now - 5}, {"nbf": now + 5}, {"iat": now + 5}, {"aud": ["other", AUDIENCE]}):
        assert (await door.service.authenticate(token(rsa_signer.token(**accepted)))).name == "alice"
    for refused in (
        {"exp": now - 15},
        {"nbf": now + 15},
        {"iat": now + 15},
        {"iat": now - 3700},
        {"iat": None},
    ):
        with pytest.raises(AuthenticationFailed):
            await door.service.authenticate(token(rsa_signer.token(**refused)))


async def test_an_expired_token_is_no_longer_remembered(door: Door, rsa_signer: Signer, clock: Clock) -> None:
    await with_keys(door, rsa_signer, more="    leeway: 0\n")
    offered = token(rsa_signer.token(exp=int(time.time()) + 20))
    await door.service.authenticate(offered)
    assert door.service.remembered(offered) is not None
    clock.pass_by(21)
    assert door.service.remembered(offered) is None
    with pytest.raises(AuthenticationFailed):
        await door.service.authenticate(offered)


async def test_a_token_without_expiry_only_where_allowed(door: Door, rsa_signer: Signer) -> None:
    await with_keys(door, rsa_signer, more="    require_expiry: false\n")
    assert (await door.service.authenticate(token(rsa_signer.token(exp=None)))).expires_at is None


async def test_two_issuers_do_not_vouch_for_each_other(
    door: Door, rsa_signer: Signer, other_rsa: Signer
) -> None:
    door.write("keys.json", json.dumps({"keys": [rsa_signer.jwk]}))
    door.write("partner.json", json.dumps({"keys": [{**other_rsa.jwk, "kid": rsa_signer.kid}]}))
    partner = "{issuer: partner, audience: gateway, jwks_file: partner.json, user_prefix: 'partner:', "
    partner += "groups_claim: groups, groups_prefix: 'partner:'}"
    await door.configure("jwt:\n" + ENTRY + f"  - {partner}\n")
    same_kid = Signer(other_rsa.private, "RS256", rsa_signer.kid)
    principal = await door.service.authenticate(token(same_kid.token(iss="partner", groups=["admins"])))
    assert (principal.name, principal.groups) == ("partner:alice", {"partner:admins"})
    with pytest.raises(AuthenticationFailed):
        await door.service.authenticate(token(same_kid.token(iss=ISSUER)))
