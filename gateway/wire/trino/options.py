"""What an operator can set about the Trino wire, beyond what both wires share (`WireOptions`)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.core.principal import Principal
from gateway.wire.trino.ids import new_suffix
from gateway.wire.trino.pages import PageFacts
from gateway.wire.trino.request import RequestRules


@dataclass(frozen=True, slots=True)
class TrinoOptions:
    """Times in seconds.

    `transaction_key` must be the same in every process that serves the same clients. `suffix` ends the ids
    of queries that this process answers itself. `on_foreign_page` hears of pages whose query this process
    does not know; `info_page(id, principal)` gives the HTML of a query's page, None where the principal may not see it.
    """

    transaction_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    suffix: str = field(default_factory=new_suffix)
    rules: RequestRules = field(default_factory=RequestRules)
    environment: str = "gateway"
    post_timeout_s: float = 10.0
    """How long a backend may take to register a statement before another one is asked."""
    max_attempts: int = 3
    patience_s: float = 1.0
    """How long a POST waits for a slot before the client is told that its query is queued."""
    find_timeout_s: float = 2.0
    max_finds_per_s: int = 5
    """Unknown coordinators that may be looked for; beyond it clients are told to try again."""
    replay_for_s: float = 300.0
    """How long a registered statement may be registered elsewhere (Trino's `query.client.timeout`)."""
    replay_writes: bool = False
    """Also statements that write. Only where no other gateway may have asked for their first page."""
    unpolled_after_s: float = 60.0
    """How long a registered statement keeps its slot without its first page being asked for."""
    unread_after_s: float = 3.0
    """A client silent for so long may have left its results unread (SQLAlchemy's `has_table` does): where the
    engine is through with the query, it no longer needs a slot. Asked again after twice the silence."""
    silent_after_s: float = 330.0
    """A query of which nothing is seen for so long is looked up on its engine and settled."""
    on_foreign_page: Callable[[str, PageFacts], None] | None = None
    info_page: Callable[[str, Principal], bytes | None] | None = None
