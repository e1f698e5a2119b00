"""What each protocol lets through."""

from __future__ import annotations

from typing import Literal

from gateway.settings.kinds import Duration, Items, NonEmpty, Section


class ClickHouseWire(Section):
    """The ClickHouse HTTP protocol."""

    settings_allowed: Items[NonEmpty] = ()
    """Settings that a client may send in addition to the built-in list, which holds those that change speed,
    limits or the look of results, never what may be read."""
    settings_denied: Items[NonEmpty] = ()
    """Settings of the built-in list that a client may not send."""
    on_forbidden_setting: Literal["refuse", "drop", "pass"] = "refuse"
    """What happens to a request with another setting: refused; run without it, and told so in a header; or
    passed to the engine (never those that would change the dialect or read around the gateway)."""
    external_data: Literal["allow", "refuse"] = "allow"
    """Whether clients may send temporary tables along (multipart)."""
    pass_roles: bool = False
    """Whether `role` parameters reach the engine: only where the engine's user is the principal."""


class TrinoWire(Section):
    """The Trino client protocol. Spooled results are not offered: they would bypass the gateway."""

    extra_credentials: Items[NonEmpty] = ()
    """Names of `X-Trino-Extra-Credential` that may reach an engine; others are refused."""
    unpolled_after: Duration = 60.0
    """A statement whose client never asks for its first page gives its slot back after this time."""
    replay_writes: bool = False
    """Whether a statement that writes may be registered elsewhere when its backend dies before the first
    page. Only safe where no other gateway may have asked for that page."""
