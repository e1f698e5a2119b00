"""The door as a whole: keys, certificates, anonymous, acting as somebody else, and the brake."""

from __future__ import annotations

import asyncio
import datetime as dt
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.identity.api_keys import hash_secret, new_api_key
from gateway.identity.contract import AuthenticationFailed, Authenticator, Credentials, ImpersonationDenied
from gateway.identity.events import LogIn
from gateway.identity.http import CredentialsRefused

from .conftest import Clock, Door
from .test_passwords import ALICE, offer, with_users


def test_it_is_the_contract(door: Door) -> None:
    authenticator: Authenticator = door.service
    assert authenticator.remembered(Credentials()) is None


async def test_before_any_settings_nobody_comes_in(door: Door) -> None:
    for offered in (Credentials(), offer("a", "b"), Credentials(token="t"), Credentials(certificate=b"x")):
        with pytest.raises(AuthenticationFailed):
            await door.service.authenticate(offered)


async def test_several_proofs_at_once_are_refused(door: Door) -> None:
    await with_users(door)
    with pytest.raises(CredentialsRefused):
        await door.service.authenticate(Credentials(user="alice", password="correct horse", token="t"))


# -- anonymous


async def test_anonymous_only_if_configured(door: Door) -> None:
    await with_users(door)
    with pytest.raises(AuthenticationFailed, match="Authentication is required"):
        await door.service.authenticate(Credentials(act_as="alice"))
    await door.configure("anonymous: {enabled: true, name: guest, groups: [public]}")
    principal = await door.service.authenticate(Credentials())
    assert (principal.name, principal.groups, principal.method) == ("guest", {"public"}, "anonymous")


async def test_a_name_claimed_without_proof_is_not_believed(door: Door) -> None:
    door.write("users.yaml", "users: [{name: root, groups: [admins]}]")
    await door.configure("anonymous: {enabled: true}\nusers_file: users.yaml\n")
    assert (await door.service.authenticate(Credentials(act_as="root"))).name == "anonymous"
    await door.configure(
        "anonymous: {enabled: true}\nusers_file: users.yaml\n"
        "impersonation: [{who: [anonymous], may_act_as: ['demo-*']}]\n"
    )
    assert (await door.service.authenticate(Credentials(act_as="root"))).name == "anonymous"
    acting = await door.service.authenticate(Credentials(act_as="demo-1"))
    assert (acting.name, acting.impersonator) == ("demo-1", "anonymous")


# -- API keys


async def with_key(door: Door, entry: str = "", settings: str = "", pepper: str | None = None) -> str:
    key, identifier, hashed = new_api_key(pepper)
    door.write("keys.yaml", f"keys: [{{id: {identifier}, hash: '{hashed}', user: bot{entry}}}]")
    door.write("users.yaml", "users: [{name: bot, groups: [robots]}]")
    extra = ", pepper: {env: PEPPER}" if pepper else ""
    await door.configure(
        "api_keys: {file: keys.yaml, scopes: {read: [readers], write: [writers]}" + extra + "}\n"
        "users_file: users.yaml\n" + settings
    )
    return key


async def test_a_key_comes_as_token_or_as_password(door: Door) -> None:
    key = await with_key(door, ", groups: [more]")
    for offered in (Credentials(token=key), offer("bot", key), offer("default", key)):
        principal = await door.service.authenticate(offered)
        assert (principal.name, principal.method, principal.groups) == ("bot", "api_key", {"robots", "more"})
    with pytest.raises(AuthenticationFailed):
        await door.service.authenticate(offer("alice", key))


async def test_a_key_with_scopes_has_their_groups_only_and_acts_for_nobody_else(door: Door) -> None:
    key = await with_key(door, ", scopes: [read]", "impersonation: [{who: [bot], may_act_as: ['*']}]\n")
    assert (await door.service.authenticate(Credentials(token=key))).groups == {"readers"}
    with pytest.raises(ImpersonationDenied):
        await door.service.authenticate(Credentials(token=key, act_as="alice"))


async def test_keys_that_are_wrong_expired_or_disabled(door: Door, clock: Clock) -> None:
    key = await with_key(door)
    head, identifier, secret = key.split("_", 2)
    for wrong in (
        f"{key}x",
        key[:-1],
        f"{head}_{identifier}_",
        f"{head}_ffff_{secret}",
        "gwk_",
        "gwk_" + "a" * 500,
    ):
        with pytest.raises(AuthenticationFailed):
            await door.service.authenticate(Credentials(token=wrong))
    for entry in (", disabled: true", ", expires: 2020-01-01"):
        key = await with_key(door, entry)
        with pytest.raises(AuthenticationFailed):
            await door.service.authenticate(Credentials(token=key))
    tomorrow = (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=30)).isoformat()
    key = await with_key(door, f", expires: '{tomorrow}'")
    assert (await door.service.authenticate(Credentials(token=key))).expires_at
    clock.pass_by(31)
    with pytest.raises(AuthenticationFailed):
        await door.service.authenticate(Credentials(token=key))


async def test_with_a_pepper_the_file_alone_proves_nothing(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEPPER", "p1")
    key = await with_key(door, pepper="p1")
    assert (await door.service.authenticate(Credentials(token=key))).name == "bot"
    assert hash_secret("s", None) != hash_secret("s", "p1") != hash_secret("s", "p2")
    monkeypatch.setenv("PEPPER", "p2")
    await door.configure("api_keys: {file: keys.yaml, pepper: {env: PEPPER}}")
    with pytest.raises(AuthenticationFailed):
        await door.service.authenticate(Credentials(token=key))


# -- certificates


def certificate(*names: str, emails: tuple[str, ...] = (), days: float = 1, start: float = -1) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + dt.timedelta(days=start))
        .not_valid_after(now + dt.timedelta(days=days))
    )
    if emails:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.RFC822Name(e) for e in emails]), False
        )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


async def test_a_certificate_names_its_user(door: Door) -> None:
    await door.configure("certificates: {user_from: common_name, user_prefix: 'cert:'}")
    principal = await door.service.authenticate(Credentials(certificate=certificate("svc")))
    assert (principal.name, principal.method) == ("cert:svc", "certificate")
    assert principal.expires_at == pytest.approx(time.time() + 86400, abs=10)
    await door.configure("certificates: {user_from: san_email}")
    offered = Credentials(certificate=certificate("svc", emails=("a@example.com",)))
    assert (await door.service.authenticate(offered)).name == "a@example.com"


@pytest.mark.parametrize(
    "der",
    [b"junk", certificate(), certificate("a", "b"), certificate("a", days=-0.5), certificate("a", start=0.5)],
    ids=["junk", "no name", "two names", "expired", "not yet"],
)
async def test_certificates_without_one_valid_name(door: Door, der: bytes) -> None:
    await door.configure("certificates: {user_from: common_name}")
    with pytest.raises(AuthenticationFailed):
        await door.service.authenticate(Credentials(certificate=der))


async def test_a_certificate_that_only_opened_the_connection_is_no_login(door: Door) -> None:
    await door.configure("anonymous: {enabled: true}")
    assert (await door.service.authenticate(Credentials(certificate=certificate("root")))).name == "anonymous"


# -- acting as somebody else


async def test_impersonation_needs_a_rule_and_takes_on_the_target_only(door: Door) -> None:
    await with_users(
        door,
        f"{{name: superset, password: '{ALICE}', groups: [service], attributes: {{secret: own}}}}",
        "{name: off, password: '" + ALICE + "', disabled: true}",
        settings="impersonation: [{groups: [service], may_act_as: [alice, 'team.*', off]}]\n",
    )
    principal = await door.service.authenticate(offer("superset", "correct horse", act_as="alice"))
    assert (principal.name, principal.groups, principal.impersonator) == ("alice", {"traders"}, "superset")
    assert principal.attribute("secret") is None
    assert (
        await door.service.authenticate(offer("superset", "correct horse", act_as="team.x"))
    ).groups == frozenset()
    for target in ("bob", "teamXx", "Alice", "alice2", "xalice", "off", "alice\nx"):
        with pytest.raises(ImpersonationDenied, match="User superset cannot impersonate user"):
            await door.service.authenticate(offer("superset", "correct horse", act_as=target))
    with pytest.raises(ImpersonationDenied):
        await door.service.authenticate(offer("alice", "correct horse", act_as="superset"))
    assert (
        await door.service.authenticate(offer("alice", "correct horse", act_as="alice"))
    ).impersonator is None
    denied = [event for event in door.events if event.outcome is LogIn.IMPERSONATION_DENIED]
    assert (denied[0].user, denied[0].act_as) == ("superset", "bob")


async def test_one_verification_serves_every_user_it_acts_as(door: Door) -> None:
    await with_users(door, settings="impersonation: [{who: [alice], may_act_as: ['*']}]\n")
    for number in range(50):
        principal = await door.service.authenticate(offer("alice", "correct horse", act_as=f"u{number}"))
        assert principal.name == f"u{number}"
    assert [event.outcome for event in door.events] == [LogIn.SUCCEEDED]
    assert door.service.remembered(offer("alice", "correct horse", act_as="u7")) is not None
    assert door.service.remembered(offer("alice", "correct horse", act_as="unseen")) is None


async def test_a_disabled_name_is_refused_however_it_logs_in(door: Door) -> None:
    key = await with_key(door)
    door.write("users.yaml", "users: [{name: bot, disabled: true}]")
    await door.configure("api_keys: {file: keys.yaml}\nusers_file: users.yaml\n")
    with pytest.raises(AuthenticationFailed):
        await door.service.authenticate(Credentials(token=key))
    assert door.reasons() == ["disabled user bot"]


# -- the brake


async def fail(door: Door, user: str, password: str, peer: str = "10.0.0.1") -> float | None:
    with pytest.raises(AuthenticationFailed) as refusal:
        await door.service.authenticate(offer(user, password, peer))
    return refusal.value.retry_after


async def test_guessing_is_locked_out_per_user_and_network(door: Door, clock: Clock) -> None:
    await with_users(door, settings="login_rate: {attempts: 3, per: 60s, lockout: 40s}\n")
    assert [await fail(door, "alice", f"guess-{n}") for n in range(3)] == [None] * 3
    wait = await fail(door, "alice", "correct horse", "10.0.0.99")
    assert wait is not None
    assert 35 < wait <= 40
    assert (await door.service.authenticate(offer("alice", "correct horse", "192.168.1.1"))).name == "alice"
    clock.pass_by(41)
    assert await fail(door, "alice", "guess-again") is None
    assert await fail(door, "alice", "guess-again-2") is not None, (
        "one guess per lock-out until the window is over"
    )
    clock.pass_by(61)
    assert (await door.service.authenticate(offer("alice", "correct horse"))).name == "alice"
    throttled = [event for event in door.events if event.outcome is LogIn.THROTTLED]
    assert len(throttled) == 2, "one event a lock-out, not one a request"


async def test_parallel_guesses_count_before_they_are_answered(door: Door) -> None:
    await with_users(door, settings="login_rate: {attempts: 3}\n")
    guesses = [door.service.authenticate(offer("alice", f"guess-{n}")) for n in range(40)]
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    assert sum(getattr(o, "retry_after", 1) is None for o in outcomes) == 3


async def test_a_lock_out_does_not_touch_whoever_is_remembered(door: Door) -> None:
    await with_users(door, settings="login_rate: {attempts: 2}\n")
    offered = offer("alice", "correct horse")
    await door.service.authenticate(offered)
    for n in range(4):
        await fail(door, "alice", f"guess-{n}")
    assert door.service.remembered(offered) is not None


async def test_spraying_many_users_holds_up_the_network_except_who_is_known_there(
    door: Door, clock: Clock
) -> None:
    await with_users(
        door,
        f"{{name: bob, password: '{ALICE}'}}",
        settings="login_rate: {network_attempts: 10}\nremember: 0\n",
    )
    await door.service.authenticate(offer("alice", "correct horse"))
    assert [await fail(door, f"user{n}", "Spring2026") for n in range(10)] == [None] * 10
    assert await fail(door, "bob", "correct horse", "10.0.0.7")
    assert (await door.service.authenticate(offer("alice", "correct horse"))).name == "alice"
    assert (await door.service.authenticate(offer("bob", "correct horse", "10.0.1.7"))).name == "bob"


async def test_a_flood_of_bad_tokens_is_told_once_and_keeps_out_neither_good_ones_nor_passwords(
    door: Door,
) -> None:
    key = await with_key(door)
    door.write("people.yaml", f"users: [{{name: alice, password: '{ALICE}'}}]")
    await door.configure(
        "api_keys: {file: keys.yaml}\npasswords: {file: people.yaml}\nlogin_rate: {network_attempts: 5}\n"
    )
    waits = []
    for n in range(50):
        with pytest.raises(AuthenticationFailed) as refusal:
            await door.service.authenticate(Credentials(token=f"gwk_ffff_{n}", peer="10.0.0.1"))
        waits.append(refusal.value.retry_after)
    assert waits[:5] == [None] * 5
    assert all(waits[5:])
    outcomes = [event.outcome for event in door.events]
    assert (outcomes.count(LogIn.FAILED), outcomes.count(LogIn.THROTTLED)) == (5, 1)
    assert (await door.service.authenticate(Credentials(token=key, peer="10.0.0.1"))).name == "bot"
    assert (await door.service.authenticate(offer("alice", "correct horse"))).name == "alice"


async def test_a_reload_does_not_forgive(door: Door) -> None:
    await with_users(door, settings="login_rate: {attempts: 2}\n")
    for n in range(2):
        await fail(door, "alice", f"guess-{n}")
    await with_users(door, settings="login_rate: {attempts: 2}\n")
    assert await fail(door, "alice", "correct horse")


# -- speed


async def test_what_is_remembered_is_found_in_microseconds(door: Door) -> None:
    await with_users(door)
    offered = offer("alice", "correct horse")
    await door.service.authenticate(offered)
    best = min(_time_of(door, offered) for _ in range(20))
    assert best < 15e-6, f"{best * 1e6:.1f} us"


def _time_of(door: Door, offered: Credentials) -> float:
    started = time.perf_counter()
    for _ in range(500):
        door.service.remembered(offered)
    return (time.perf_counter() - started) / 500
