"""What a host's gateway processes share on disk: sockets, embedded databases and the generated key."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from gateway.settings.model import Settings

MIN_KEY = 32
MAX_SOCKET_PATH = 107
LONGEST_NAME = len("/engine-.sock") + 30
"""What a socket's name may add to the directory's path."""


class StateUnusable(RuntimeError):
    """The state directory cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class StateDir:
    """`root` is open to the gateway's own user only."""

    root: Path

    @classmethod
    def open(cls, settings: Settings) -> StateDir:
        """Create what is missing. Raises StateUnusable."""
        state = cls.at(settings)
        try:
            state.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            state.run.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StateUnusable(
                f"the state directory {state.root} cannot be used: {error}. Set server.state to a directory "
                "that the gateway's user may write"
            ) from error
        found = state.run.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise StateUnusable(f"{state.run} must be a directory of the gateway's own user, with mode 0700")
        return state

    @classmethod
    def at(cls, settings: Settings) -> StateDir:
        """Where it is, for commands that only look: nothing is created or checked."""
        return cls(settings.server.state.absolute())

    @property
    def run(self) -> Path:
        """Sockets of the running processes. A Unix socket's path has at most 107 bytes, so a deep `root`
        gets a short directory of its own beside the system's temporary files.
        """
        inside = self.root / "run"
        if len(os.fsencode(inside)) + LONGEST_NAME <= MAX_SOCKET_PATH:
            return inside
        digest = hashlib.blake2b(os.fsencode(self.root), digest_size=6).hexdigest()
        return Path("/tmp") / f"gateway-{os.geteuid()}-{digest}"

    @property
    def admission_socket(self) -> Path:
        return self.run / "admission.sock"

    def admin_socket(self, index: int) -> Path:
        """The admin API of one proxy process."""
        return self.run / f"admin-{index}.sock"

    def wire_socket(self, suffix: str) -> Path:
        """Where siblings reach the process whose own query ids end with `suffix`."""
        return self.run / f"wire-{suffix}.sock"


def shared_key(settings: Settings, state: StateDir) -> bytes:
    """32 bytes that all processes serving the same clients share: from the settings, else a kept file.

    Raises StateUnusable for a key that is too short to be one.
    """
    reference = settings.server.key
    if reference is not None:
        secret = reference.reveal().encode()
        if len(secret) < MIN_KEY:
            raise StateUnusable(f"server.key has {len(secret)} characters; at least {MIN_KEY} are needed")
        return hashlib.blake2b(secret, digest_size=32, person=b"gateway-key").digest()
    path = state.root / "gateway.key"
    fresh = path.with_suffix(f".{os.getpid()}")
    if not path.exists():
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
        try:
            os.link(fresh, path)  # of two processes that start at once, one wins and both read its key
        except FileExistsError:
            pass
        fresh.unlink()
    key = path.read_bytes()
    if len(key) != 32:
        raise StateUnusable(f"{path} is not a key of 32 bytes; remove it to have a new one made")
    return key


def derived(key: bytes, purpose: str) -> bytes:
    """A key for one purpose, so that no two uses share one."""
    return hashlib.blake2b(purpose.encode(), key=key, digest_size=32).digest()


def audit_key(settings: Settings, state: StateDir) -> bytes:
    """Keys the audit's hash chain, so that who can write its files cannot forge it. Raises StateUnusable."""
    return derived(shared_key(settings, state), "audit chain")
