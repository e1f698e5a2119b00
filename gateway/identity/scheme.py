"""What each way of proving an identity gives back."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.core.principal import AttributeValue
from gateway.identity.contract import AuthenticationFailed


@dataclass(frozen=True, slots=True)
class Verified:
    """A proof that held. `groups` and `attributes` are what the proof itself says.

    `only_these_groups` keeps the directory from adding more (API keys with scopes). `expires_at` is Unix
    seconds: when the proof stops holding.
    """

    name: str
    method: str
    groups: frozenset[str] = frozenset()
    attributes: tuple[tuple[str, AttributeValue], ...] = ()
    only_these_groups: bool = False
    expires_at: float | None = None


class Rejected(Exception):
    """The proof does not hold. The text is for the audit; clients are told only that it failed."""


class TemporarilyUnavailable(AuthenticationFailed):
    """Whether the proof holds cannot be found out now; not counted as a failed log-in."""
