"""What happened at the door, for audit and metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class LogIn(StrEnum):
    """The outcome of one log-in."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    THROTTLED = "throttled"
    IMPERSONATION_DENIED = "impersonation_denied"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class LogInEvent:
    """One log-in that was really checked (remembered credentials make no events).

    `user` is the name claimed, or authenticated where that is known. `reason` is for the audit, never for the
    client. No field holds a credential.
    """

    outcome: LogIn
    method: str
    user: str | None
    peer: str
    reason: str = ""
    act_as: str | None = None


OnLogIn = Callable[[LogInEvent], None]


def nobody_listens(event: LogInEvent) -> None:
    """For where log-ins are not audited (tests, `gateway explain`)."""
