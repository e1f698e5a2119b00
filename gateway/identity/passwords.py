"""Users with passwords: argon2id, checked in a bounded pool of threads (argon2 releases the interpreter lock)."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type

from gateway.identity.http import MAX_PASSWORD
from gateway.identity.scheme import Rejected, TemporarilyUnavailable, Verified
from gateway.settings.people import PasswordUser

_HASHER = PasswordHasher(type=Type.ID)


def hash_password(password: str) -> str:
    """An argon2id hash for a users file (`gateway users hash`). Raises ValueError for unfit passwords."""
    if not password or len(password) > MAX_PASSWORD:
        raise ValueError(f"a password has 1 to {MAX_PASSWORD} characters")
    return _HASHER.hash(password)


class PasswordPool:
    """A few threads that verify hashes, and a bounded queue before them. Lives on when settings are reloaded."""

    def __init__(self, threads: int, queue: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._room = threads + queue
        self.shape = (threads, queue)

    async def verify(self, stored: str, password: str) -> bool:
        """Whether the hash is of this password. Raises TemporarilyUnavailable when too many wait."""
        if self._room <= 0:
            raise TemporarilyUnavailable("Too many log-ins at once; try again", retry_after=1.0)
        self._room -= 1
        work = asyncio.get_running_loop().run_in_executor(self._executor, _matches, stored, password)
        # A client that goes away does not free the thread, so the room is given back when the work is done.
        work.add_done_callback(self._leave)
        return await asyncio.shield(work)

    def _leave(self, work: asyncio.Future[bool]) -> None:
        self._room += 1
        if not work.cancelled():
            work.exception()

    def retire(self) -> None:
        """Take no more work; what is queued is still done. The threads end after it."""
        self._executor.shutdown(wait=False)

    def close(self) -> None:
        """Stop; queued work is dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _matches(stored: str, password: str) -> bool:
    try:
        return _HASHER.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


class PasswordScheme:
    """The users of one version of the password file."""

    method = "password"

    def __init__(
        self, users: Iterable[PasswordUser], pool: PasswordPool, clock: Callable[[], float] = time.time
    ) -> None:
        self._users = {user.name: user for user in users}
        self._pool = pool
        self._clock = clock
        self._dummy = _dummy_hash([user.password for user in self._users.values()])

    async def verify(self, name: str, password: str) -> Verified:
        """The user, or raises Rejected. Unknown and expired users cost the same time as wrong passwords.

        (Whether a name is disabled is asked after any proof, in one place: the directory.)
        """
        user = self._users.get(name)
        matches = await self._pool.verify(user.password if user is not None else self._dummy, password)
        if user is None:
            raise Rejected("unknown user")
        if not matches:
            raise Rejected("wrong password")
        if user.expires is not None and user.expires <= self._clock():
            raise Rejected("expired password")
        return Verified(name, self.method, expires_at=user.expires)


def _dummy_hash(hashes: list[str]) -> str:
    """A hash of nothing anyone knows, as costly as most hashes of the file."""
    if not hashes:
        return _HASHER.hash(_random_text())
    usual, _ = Counter(h.rsplit("$", 2)[0] for h in hashes).most_common(1)[0]
    return PasswordHasher.from_parameters(
        extract_parameters(next(h for h in hashes if h.startswith(f"{usual}$")))
    ).hash(_random_text())


def _random_text() -> str:

    return secrets.token_urlsafe(32)
