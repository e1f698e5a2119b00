"""What a wire hands to identity, and what it gets back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.core.principal import Principal


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request offers as proof. `repr` never shows a secret.

    Exactly one of `password` (with `user`), `token`, `certificate` is normally set; several at once are
    refused, because engines disagree on which one wins. `act_as` is a user whom the request wants to be
    (`X-Trino-User` beside an authenticated name).
    """

    user: str | None = None
    password: str | None = None
    token: str | None = None
    certificate: bytes | None = None
    act_as: str | None = None
    peer: str = ""

    def __repr__(self) -> str:
        kinds = [k for k in ("password", "token", "certificate") if getattr(self, k) is not None]
        return f"Credentials(user={self.user!r}, act_as={self.act_as!r}, offers={kinds})"


class AuthenticationFailed(Exception):
    """No principal for these credentials. The message is safe to show and never says which part was wrong.

    `retry_after` (seconds) is set when log-ins are being rate-limited.
    """

    def __init__(self, message: str = "Invalid credentials", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ImpersonationDenied(AuthenticationFailed):
    """The authenticated name may not act as the one asked for."""


class Authenticator(Protocol):
    """Turns credentials into a principal."""

    def remembered(self, credentials: Credentials) -> Principal | None:
        """The principal of credentials verified a moment ago; no I/O, no hashing cost, for the hot path."""
        ...

    async def authenticate(self, credentials: Credentials) -> Principal:
        """The principal, or raises AuthenticationFailed."""
        ...
