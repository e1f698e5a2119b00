"""Passwords with real argon2 (cheap parameters where many are needed)."""

from __future__ import annotations

import asyncio
import time

import pytest
from argon2 import PasswordHasher

from gateway.identity.contract import AuthenticationFailed, Credentials
from gateway.identity.passwords import PasswordPool, hash_password
from gateway.identity.scheme import TemporarilyUnavailable
from gateway.settings import SettingsError

from .conftest import Clock, Door

QUICK = PasswordHasher(time_cost=1, memory_cost=15_360, parallelism=1)
ALICE = QUICK.hash("correct horse")


def offer(user: str, password: str, peer: str = "10.0.0.1", act_as: str | None = None) -> Credentials:
    return Credentials(user=user, password=password, peer=peer, act_as=act_as)


async def with_users(door: Door, *extra: str, settings: str = "") -> None:
    users = [f"{{name: alice, password: '{ALICE}', groups: [traders], attributes: {{desk: gas}}}}", *extra]
    door.write("users.yaml", "users:\n" + "".join(f"  - {user}\n" for user in users))
    await door.configure("passwords: {file: users.yaml}\n" + settings)


async def test_a_right_password_gives_the_principal_of_the_file(door: Door) -> None:
    await with_users(door)
    principal = await door.service.authenticate(offer("alice", "correct horse"))
    assert (principal.name, principal.groups, principal.method) == ("alice", {"traders"}, "password")
    assert principal.attribute("desk") == "gas"


@pytest.mark.parametrize(
    ("user", "password", "reason"),
    [
        ("alice", "wrong", "wrong password"),
        ("alice", "", "no user, no password"),
        ("mallory", "correct horse", "unknown user"),
        ("gone", "correct horse", "disabled user"),
        ("old", "correct horse", "expired password"),
        ("alice", "x" * 2000, "too long a password"),
        ("Alice", "correct horse", "unknown user"),
    ],
)
async def test_what_is_wrong_is_told_to_the_audit_only(
    door: Door, user: str, password: str, reason: str
) -> None:
    await with_users(
        door,
        f"{{name: gone, password: '{ALICE}', disabled: true}}",
        f"{{name: old, password: '{ALICE}', expires: 2020-01-01}}",
    )
    with pytest.raises(AuthenticationFailed) as refusal:
        await door.service.authenticate(offer(user, password))
    assert str(refusal.value) == "Invalid credentials"
    assert reason in door.reasons()[-1]
    assert "horse" not in str(door.events)


async def test_unknown_users_cost_the_same_time(door: Door) -> None:
    slow = PasswordHasher(time_cost=1, memory_cost=32_768, parallelism=1).hash("pw")
    door.write("users.yaml", f"users: [{{name: alice, password: '{slow}'}}]")
    await door.configure("passwords: {file: users.yaml}\nlogin_rate: {attempts: 1000}\n")

    async def quickest(user: str) -> float:
        times = []
        for number in range(4):
            started = time.perf_counter()
            with pytest.raises(AuthenticationFailed):
                await door.service.authenticate(offer(user, f"wrong-{number}"))
            times.append(time.perf_counter() - started)
        return min(times)

    known, unknown = await quickest("alice"), await quickest("nobody")
    assert 0.4 < known / unknown < 2.5, (known, unknown)


async def test_a_verified_password_is_remembered_and_forgotten(door: Door, clock: Clock) -> None:
    await with_users(door)
    offered = offer("alice", "correct horse")
    assert door.service.remembered(offered) is None
    principal = await door.service.authenticate(offered)
    assert door.service.remembered(offered) == principal
    assert door.service.remembered(offer("alice", "correct horsf")) is None
    assert door.service.remembered(Credentials(user="alicecorrect", password=" horse")) is None
    assert door.service.remembered(Credentials(token="alicecorrect horse")) is None
    clock.pass_by(61)
    assert door.service.remembered(offered) is None
    await door.service.authenticate(offered)
    await with_users(door)
    assert door.service.remembered(offered) is None, "a reload forgets"


async def test_equal_logins_that_arrive_together_are_hashed_once(door: Door) -> None:
    await with_users(door, settings="login_rate: {attempts: 3}\n")
    found = await asyncio.gather(
        *(door.service.authenticate(offer("alice", "correct horse")) for _ in range(20))
    )
    assert {principal.name for principal in found} == {"alice"}
    assert len(door.events) == 1
    failures = await asyncio.gather(
        *(door.service.authenticate(offer("alice", "wrong")) for _ in range(20)), return_exceptions=True
    )
    assert all(isinstance(failure, AuthenticationFailed) for failure in failures)
    assert len(door.events) == 2


async def test_the_first_of_equal_logins_may_leave(door: Door) -> None:
    await with_users(door)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(door.service.authenticate(offer("alice", "correct horse")))
        second = group.create_task(door.service.authenticate(offer("alice", "correct horse")))
        await asyncio.sleep(0.002)
        first.cancel()
    assert second.result().name == "alice"


async def test_too_many_waiting_logins_are_sent_away_at_once() -> None:
    pool = PasswordPool(threads=1, queue=2)
    stored = PasswordHasher(time_cost=2, memory_cost=65_536, parallelism=1).hash("pw")
    outcomes = await asyncio.gather(*(pool.verify(stored, "pw") for _ in range(8)), return_exceptions=True)
    assert outcomes.count(True) == 3
    assert sum(isinstance(outcome, TemporarilyUnavailable) for outcome in outcomes) == 5
    assert await pool.verify(stored, "pw"), "the room is given back"
    pool.close()


async def test_hashing_does_not_stop_the_loop(door: Door) -> None:
    slow = PasswordHasher(time_cost=2, memory_cost=65_536, parallelism=1).hash("pw")
    door.write("users.yaml", f"users: [{{name: alice, password: '{slow}'}}]")
    await door.configure("passwords: {file: users.yaml}\n")
    longest, started = 0.0, time.perf_counter()
    last = started
    async with asyncio.TaskGroup() as group:
        work = group.create_task(door.service.authenticate(offer("alice", "pw")))
        while not work.done():
            await asyncio.sleep(0.001)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
    assert longest < (last - started) / 2, "were the loop held up, one gap would be nearly all of the time"


async def test_a_reload_during_a_login_neither_breaks_it_nor_keeps_it(door: Door) -> None:
    slow = PasswordHasher(time_cost=2, memory_cost=65_536, parallelism=1).hash("pw")
    door.write("users.yaml", f"users: [{{name: alice, password: '{slow}'}}]")
    await door.configure("passwords: {file: users.yaml}\n")
    async with asyncio.TaskGroup() as group:
        work = group.create_task(door.service.authenticate(offer("alice", "pw")))
        await asyncio.sleep(0.01)
        await door.configure("passwords: {file: users.yaml, threads: 1}\n")
    assert work.result().name == "alice"
    assert door.service.remembered(offer("alice", "pw")) is None


async def test_a_bad_file_changes_nothing(door: Door) -> None:
    await with_users(door)
    offered = offer("alice", "correct horse")
    await door.service.authenticate(offered)
    door.write("users.yaml", "users: [{name: alice, password: plain}]")
    with pytest.raises(
        SettingsError, match=r"users.yaml:1:33: users\[0\].password: expected an argon2id hash"
    ):
        await door.configure("passwords: {file: users.yaml}\n")
    assert door.service.remembered(offered) is not None


def test_hashes_made_for_the_file_are_accepted_there() -> None:
    from gateway.settings.people import PasswordUser

    user = PasswordUser(name="a", password=hash_password("pw"))
    assert PasswordHasher().verify(user.password, "pw")
    for unfit in ("", "x" * 1025):
        with pytest.raises(ValueError, match="1 to 1024"):
            hash_password(unfit)
