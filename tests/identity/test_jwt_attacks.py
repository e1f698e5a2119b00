"""Attacks on token verification, numbered. Each must be refused, and for the reason given here.

J1-J9 algorithm and key confusion, J10-J19 header tricks, J20-J29 claims, J30-J39 malformed and oversized input.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.identity.contract import AuthenticationFailed, Credentials
from gateway.settings import SettingsError

from .conftest import AUDIENCE, ISSUER, Door, Signer, default_claims, raw_token


def hs256(header: dict[str, Any], claims: dict[str, Any], key: bytes) -> str:
    """Signed with any bytes as the secret: libraries refuse to, attackers do not."""
    signing_input = raw_token({"alg": "HS256", "typ": "JWT", **header}, claims).rsplit(".", 1)[0]
    signature = hmac.new(key, signing_input.encode(), hashlib.sha256).digest()
    return f"{signing_input}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def tampered(token: str, **claims: Any) -> str:
    header, _, signature = token.split(".")
    payload = base64.urlsafe_b64encode(json.dumps(default_claims(**claims)).encode()).rstrip(b"=").decode()
    return f"{header}.{payload}.{signature}"


def sign_raw(signer: Signer, header: dict[str, Any], payload: bytes) -> str:
    """A true RS256 signature over any payload bytes."""
    import jwt

    return jwt.PyJWS().encode(payload, signer.private, "RS256", headers={"kid": signer.kid, **header})


Forge = Callable[[Signer, Signer], str]
FAR = 4_000_000_000
ATTACKS: list[tuple[str, Forge, str]] = [
    (
        "J1 none",
        lambda s, o: raw_token({"alg": "none"}, default_claims(), b"").rstrip(".") + ".",
        "not a signed JWT",
    ),
    ("J2 none with a signature", lambda s, o: raw_token({"alg": "none"}, default_claims()), "algorithm"),
    ("J3 nOnE", lambda s, o: raw_token({"alg": "nOnE"}, default_claims()), "algorithm"),
    (
        "J4 HS256 keyed with the public PEM",
        lambda s, o: hs256({"kid": s.kid}, default_claims(), s.public_pem),
        "algorithm",
    ),
    (
        "J5 HS256 keyed with the public JWK",
        lambda s, o: hs256({}, default_claims(), json.dumps(s.jwk).encode()),
        "algorithm",
    ),
    ("J6 HS256 keyed with nothing", lambda s, o: hs256({"kid": s.kid}, default_claims(), b""), "algorithm"),
    ("J7 an algorithm that is not allowed", lambda s, o: s.token(algorithm="RS512"), "algorithm"),
    ("J8 another key under our kid", lambda s, o: Signer(o.private, "RS256", s.kid).token(), "no key"),
    ("J9 claims changed after signing", lambda s, o: tampered(s.token(), sub="admin"), "no key"),
    ("J10 crit", lambda s, o: s.token(headers={"crit": ["exp"], "exp": FAR}), "extensions"),
    (
        "J11 b64 false",
        lambda s, o: raw_token({"alg": "RS256", "b64": False, "kid": s.kid}, default_claims()),
        "extensions",
    ),
    ("J12 jwk in the header", lambda s, o: o.token(headers={"jwk": o.jwk, "kid": s.kid}), "nested"),
    (
        "J13 jku to the attacker",
        lambda s, o: o.token(headers={"jku": "http://127.0.0.1:1/k", "kid": s.kid}),
        "no key",
    ),
    (
        "J14 x5u to the attacker",
        lambda s, o: o.token(headers={"x5u": "http://127.0.0.1:1/c", "kid": s.kid}),
        "no key",
    ),
    ("J15 x5c of the attacker", lambda s, o: o.token(headers={"x5c": ["MIIB"], "kid": s.kid}), "no key"),
    (
        "J16 kid as a path",
        lambda s, o: hs256({"kid": "../../../../dev/null"}, default_claims(), b""),
        "algorithm",
    ),
    (
        "J17 kid as a path, own key",
        lambda s, o: Signer(o.private, "RS256", "/proc/self/environ").token(),
        "unknown key id",
    ),
    (
        "J18 kid as SQL",
        lambda s, o: Signer(o.private, "RS256", "x' union select 'k").token(),
        "unknown key id",
    ),
    ("J19 another type of token", lambda s, o: s.token(headers={"typ": "logout+jwt"}), "another type"),
    ("J20 expired", lambda s, o: s.token(exp=int(time.time()) - 3600), "expired"),
    ("J21 no expiry", lambda s, o: s.token(exp=None), "never expires"),
    (
        "J22 expiry at infinity",
        lambda s, o: sign_raw(
            s, {}, json.dumps(default_claims()).replace('"exp": ', '"exp": 1e999, "x": ').encode()
        ),
        "not JSON",
    ),
    ("J23 expiry as text", lambda s, o: s_text_expiry(s), "not a time"),
    ("J24 another audience", lambda s, o: s.token(aud="other"), "another audience"),
    ("J25 no audience", lambda s, o: s.token(aud=None), "another audience"),
    ("J26 audience with our name inside", lambda s, o: s.token(aud=f"{AUDIENCE}-other"), "another audience"),
    ("J27 another issuer", lambda s, o: s.token(iss=ISSUER + "evil"), "not from a configured issuer"),
    (
        "J28 issuer without its slash",
        lambda s, o: s.token(iss=ISSUER.rstrip("/")),
        "not from a configured issuer",
    ),
    ("J29 no subject", lambda s, o: s.token(sub=None), "cannot be a user name"),
    (
        "J30 subject with a line break",
        lambda s, o: s.token(sub="a\nX-Trino-User: root"),
        "cannot be a user name",
    ),
    ("J31 empty subject", lambda s, o: s.token(sub=""), "cannot be a user name"),
    ("J32 oversized", lambda s, o: s.token(pad="x" * 20_000), "longer than"),
    ("J33 two parts", lambda s, o: s.token().rsplit(".", 1)[0], "not a signed JWT"),
    ("J34 encrypted (five parts)", lambda s, o: s.token() + ".a.b", "not a signed JWT"),
    ("J35 not base64", lambda s, o: "ey!.ey!.sig", "not base64url"),
    ("J36 header is a list", lambda s, o: raw_token(["RS256"], default_claims()), "not JSON"),
    (
        "J37 deep nesting in the header",
        lambda s, o: raw_token(b'{"alg":"RS256","a":' + b"[" * 950 + b"]" * 950 + b"}", default_claims()),
        "nested",
    ),
    (
        "J38 deeper nesting than any parser takes",
        lambda s, o: raw_token(b"[" * 5000, default_claims()),
        "not JSON",
    ),
    ("J39 groups that are not text", lambda s, o: s.token(groups=[{"a": 1}]), "something else"),
    ("J40 signature cut off", lambda s, o: s.token()[:-10], "no key"),
    ("J41 signature empty", lambda s, o: s.token().rsplit(".", 1)[0] + ".", "not a signed JWT"),
    ("J42 issuer is a list", lambda s, o: s_list_issuer(s), "not from a configured issuer"),
    ("J43 alg is a list", lambda s, o: raw_token({"alg": ["RS256"]}, default_claims()), "algorithm"),
    ("J44 not valid yet", lambda s, o: s.token(nbf=int(time.time()) + 3600), "not valid yet"),
    ("J45 issued in the future", lambda s, o: s.token(iat=int(time.time()) + 3600), "in the future"),
]


def s_text_expiry(signer: Signer) -> str:
    return sign_raw(signer, {}, json.dumps({**default_claims(), "exp": "4000000000"}).encode())


def s_list_issuer(signer: Signer) -> str:
    return sign_raw(signer, {}, json.dumps({**default_claims(), "iss": [ISSUER]}).encode())


@pytest.mark.parametrize(("name", "forge", "reason"), ATTACKS, ids=[a[0].split()[0] for a in ATTACKS])
async def test_forged_tokens_are_refused(
    door: Door, rsa_signer: Signer, other_rsa: Signer, name: str, forge: Forge, reason: str
) -> None:
    door.write("keys.json", json.dumps({"keys": [rsa_signer.jwk]}))
    await door.configure(
        f"jwt: [{{issuer: '{ISSUER}', audience: {AUDIENCE}, algorithms: [RS256, ES256], jwks_file: keys.json,"
        " groups_claim: groups}]"
    )
    assert (await door.service.authenticate(Credentials(token=rsa_signer.token()))).name == "alice"
    with pytest.raises(AuthenticationFailed) as refusal:
        await door.service.authenticate(Credentials(token=forge(rsa_signer, other_rsa)))
    assert str(refusal.value) == "Invalid credentials"
    assert reason in door.reasons()[-1], (name, door.reasons())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"use": "enc"}, "an encryption key"),
        ({"key_ops": ["encrypt"]}, "a key for encryption"),
        ({"alg": "RS512"}, "a key for another algorithm"),
        ({"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}, "a symmetric key"),
        ({"n": "AQAB"}, "a tiny modulus"),
        ({"n": "!!"}, "a modulus that is no number"),
        ({"kid": "x" * 300}, "an endless name"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_unfit_keys_are_never_used(
    door: Door, rsa_signer: Signer, ec_signer: Signer, change: dict[str, Any], why: str
) -> None:
    door.write("keys.json", json.dumps({"keys": [{**rsa_signer.jwk, **change}, ec_signer.jwk]}))
    await door.configure(
        f"jwt: [{{issuer: '{ISSUER}', audience: {AUDIENCE}, algorithms: [RS256, ES256], jwks_file: keys.json}}]"
    )
    with pytest.raises(AuthenticationFailed):
        await door.service.authenticate(Credentials(token=rsa_signer.token()))
    assert (await door.service.authenticate(Credentials(token=ec_signer.token()))).name == "alice"


@pytest.mark.parametrize(
    ("secret", "algorithms", "message"),
    [
        ("short", "[HS256]", "is shorter than the 32 bytes"),
        ("x" * 40, "[HS512]", "is shorter than the 64 bytes"),
        ("x" * 80, "[HS256, RS256]", "only HS256, HS384 and HS512 make sense"),
        ("-----BEGIN PUBLIC KEY-----" + "x" * 80, "[HS256]", "is a key pair's key"),
    ],
)
def test_confusing_settings_are_errors(
    door: Door, monkeypatch: pytest.MonkeyPatch, secret: str, algorithms: str, message: str
) -> None:
    monkeypatch.setenv("JWT_SECRET", secret)
    with pytest.raises(ValueError, match=message):
        door.identity(
            f"jwt: [{{issuer: i, audience: a, algorithms: {algorithms}, secret: {{env: JWT_SECRET}}}}]"
        )


async def test_hs_with_public_keys_is_a_settings_error(door: Door, rsa_signer: Signer) -> None:
    door.write("keys.json", json.dumps({"keys": [rsa_signer.jwk]}))
    with pytest.raises(ValueError, match="with public keys it would be a forgery"):
        door.identity("jwt: [{issuer: i, audience: a, algorithms: [RS256, HS256], jwks_file: keys.json}]")
    door.write("keys.json", json.dumps({"keys": [{"kty": "oct", "k": "eA"}]}))
    with pytest.raises(SettingsError, match="none of the 1 keys can check RS256"):
        await door.configure("jwt: [{issuer: i, audience: a, algorithms: [RS256], jwks_file: keys.json}]")


@pytest.mark.filterwarnings("ignore:The RSA key is")
async def test_a_key_that_is_too_short_is_not_used_even_if_it_signs(door: Door, rsa_signer: Signer) -> None:
    short = Signer(rsa.generate_private_key(65537, 1024), "RS256", "short")
    door.write("keys.json", json.dumps({"keys": [rsa_signer.jwk, short.jwk]}))
    await door.configure(f"jwt: [{{issuer: '{ISSUER}', audience: {AUDIENCE}, jwks_file: keys.json}}]")
    with pytest.raises(AuthenticationFailed):
        await door.service.authenticate(Credentials(token=short.token()))
    assert door.reasons() == ["unknown key id"]
