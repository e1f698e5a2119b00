"""The brake's arithmetic and its bounds."""

from __future__ import annotations

import pytest

from gateway.identity.contract import Credentials
from gateway.identity.memory import Fingerprints, Memory
from gateway.identity.throttle import MAX_KEYS, Throttle, network_of


class Now:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("10.1.2.3", "10.1.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:10.1.2.3", "10.1.2.0/24"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_networks(peer: str, network: str) -> None:
    assert network_of(peer) == network


def test_memory_is_bounded_and_a_flood_of_names_does_not_free_the_network() -> None:
    now = Now()
    throttle = Throttle(attempts=3, per_s=60, lockout_s=60, network_attempts=1000, clock=now)
    for number in range(MAX_KEYS + 5000):
        attempt = throttle.begin(f"user-{number}", f"10.{number % 200}.0.1")
        throttle.failed(attempt)
    assert throttle.size <= 2 * MAX_KEYS
    throttle = Throttle(attempts=3, per_s=60, lockout_s=60, network_attempts=100, clock=now)
    allowed = 0
    for number in range(1000):
        attempt = throttle.begin(f"user-{number}", "10.0.0.1")
        if not attempt.wait_s:
            allowed += 1
            throttle.failed(attempt)
    assert allowed == 100
    assert throttle.begin("anyone", "10.0.0.2").wait_s > 0


def test_tokens_count_for_the_network_only() -> None:
    throttle = Throttle(attempts=1, per_s=60, lockout_s=60, network_attempts=5, clock=Now())
    for _ in range(5):
        attempt = throttle.begin(None, "10.0.0.1")
        assert not attempt.wait_s
        throttle.failed(attempt)
    assert throttle.begin(None, "10.0.0.1").wait_s


def test_what_nobody_could_check_is_not_held_against_anyone() -> None:
    throttle = Throttle(attempts=1, per_s=60, lockout_s=60, network_attempts=1, clock=Now())
    for _ in range(10):
        attempt = throttle.begin("alice", "10.0.0.1")
        assert not attempt.wait_s
        throttle.unknown(attempt)


def test_fields_of_credentials_cannot_pose_as_each_other() -> None:
    fingerprints = Fingerprints()
    different = [
        Credentials(user="ab", password="c"),
        Credentials(user="a", password="bc"),
        Credentials(token="abc"),
        Credentials(user="abc"),
        Credentials(password="abc"),
        Credentials(user="a", password="b", act_as="c"),
        Credentials(user="a", password="b", act_as="None"),
        Credentials(user="a", password="b"),
        Credentials(user="a", password="bNone"),
        Credentials(certificate=b"abc"),
        Credentials(user="a", certificate=b"bc"),
        Credentials(user="\udcff"),
        Credentials(user="1,0,0,False;", password="x"),
    ]
    assert len({fingerprints.of(offered) for offered in different}) == len(different)
    assert Fingerprints().of(different[0]) != fingerprints.of(different[0]), "keys are random"


def test_memory_forgets_the_least_used_and_the_old() -> None:
    now = Now()
    memory: Memory[int] = Memory(2, now)
    memory.keep(b"a", 1, 10)
    memory.keep(b"b", 2, 10)
    assert memory.recall(b"a") == 1
    memory.keep(b"c", 3, 10)
    assert memory.recall(b"b") is None
    memory.keep(b"d", 4, 0)
    assert memory.recall(b"d") is None
    now.at = 10.0
    assert memory.recall(b"a") is None
    assert len(memory) == 1
