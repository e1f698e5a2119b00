"""The brake on guessing passwords: per user and peer network, and per peer network; memory is bounded."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MAX_KEYS = 20_000


def network_of(peer: str) -> str:
    """The /24 or /64 that a peer's address is in; other names (a Unix socket) stand for themselves."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer[:64]
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 64), strict=False))


@dataclass(slots=True)
class _Count:
    """Failures since `since`; refused until `until` (monotonic seconds)."""

    since: float
    failures: int = 0
    until: float = 0.0
    told: bool = False


class _Window:
    """Counts per key, the least recently used forgotten first."""

    def __init__(self, attempts: int, per_s: float, lockout_s: float) -> None:
        self._attempts, self._per_s, self._lockout_s = attempts, per_s, lockout_s
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def wait(self, key: str, now: float) -> tuple[float, bool]:
        """(seconds until the key may try again, whether it is the first to be told); 0 means now."""
        count = self._counts.get(key)
        if count is None or count.until <= now:
            return 0.0, False
        first, count.told = not count.told, True
        return count.until - now, first

    def add(self, key: str, now: float) -> None:
        """Count one failure (or one attempt, to be taken back if it does not fail)."""
        count = self._counts.get(key)
        if count is None or (now - count.since > self._per_s and count.until <= now):
            count = self._counts[key] = _Count(now)
        self._counts.move_to_end(key)
        count.failures += 1
        if count.failures >= self._attempts:
            count.until, count.told = now + self._lockout_s, False
        while len(self._counts) > MAX_KEYS:
            self._counts.popitem(last=False)

    def take_back(self, key: str) -> None:
        """The attempt did not fail."""
        count = self._counts.get(key)
        if count is None:
            return
        count.failures = max(0, count.failures - 1)
        if count.failures < self._attempts:
            count.until = 0.0

    def forget(self, key: str) -> None:
        self._counts.pop(key, None)

    def __len__(self) -> int:
        return len(self._counts)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One log-in under way; it ends by `succeeded`, `failed` or `unknown`."""

    user: str
    network: str
    wait_s: float = 0.0
    """Over 0: the attempt must not be made before that many seconds; it was not counted."""
    first_refusal: bool = False
    """The first one refused in this lock-out: worth an audit record; the following thousands are not."""


class Throttle:
    """Keeps failed log-ins per (user, network) and per network. Lives on when settings are reloaded.

    A network that fails too often is held up as a whole, except users who have logged in from there before:
    one broken program behind an address translator does not lock out its neighbours.
    """

    def __init__(
        self,
        *,
        attempts: int,
        per_s: float,
        lockout_s: float,
        network_attempts: int,
        clock: Callable[[], float],
    ) -> None:
        self._users = _Window(attempts, per_s, lockout_s)
        self._networks = _Window(network_attempts, per_s, min(lockout_s, per_s))
        self._known: OrderedDict[str, None] = OrderedDict()
        self._clock = clock

    def begin(self, user: str | None, peer: str) -> Attempt:
        """An attempt; it may go on unless it has a `wait_s`.

        `user` is None for tokens and keys that failed: nobody can guess those, so networks count them apart, only
        to keep a flood out of the audit.
        """
        now, network = (
            self._clock(),
            network_of(peer) if user is not None else f"tokens of {network_of(peer)}",
        )
        key = _key(user, network) if user is not None else ""
        wait, first = self._users.wait(key, now) if key else (0.0, False)
        if not wait and key not in self._known:
            wait, first = self._networks.wait(network, now)
        if not wait and key:
            self._users.add(key, now)
        return Attempt(key, network, wait, first)

    def failed(self, attempt: Attempt) -> None:
        """The log-in did not hold. (Its user was counted at the beginning: parallel guesses count, too.)"""
        self._networks.add(attempt.network, self._clock())

    def succeeded(self, attempt: Attempt) -> None:
        """The log-in held: the user's count starts anew, and the user is known on that network."""
        if attempt.user:
            self._users.forget(attempt.user)
            self._known[attempt.user] = None
            self._known.move_to_end(attempt.user)
            while len(self._known) > MAX_KEYS:
                self._known.popitem(last=False)

    def unknown(self, attempt: Attempt) -> None:
        """Nobody could say whether it held (overload, keys out of reach): it counts as neither."""
        if attempt.user:
            self._users.take_back(attempt.user)

    @property
    def size(self) -> int:
        """Keys held, for tests and metrics."""
        return len(self._users) + len(self._networks) + len(self._known)


def _key(user: str, network: str) -> str:
    return f"{network}\0{user[:256]}"
