"""What an operator decides about the ClickHouse wire."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.edge.contract import WireOptions
from gateway.sql.insert import MAX_HEAD
from gateway.wire.clickhouse.settings import SettingsPolicy


@dataclass(frozen=True, slots=True)
class ClickHouseOptions:
    """Sizes in bytes, times in seconds.

    `id_key` keys the namespaces of query and session ids: every process that serves the same clients needs
    the same key, at least 16 random bytes. `prefix_bytes` of a body are read before an INSERT must have
    shown where its data begins. `max_form_bytes` bounds a multipart request, which is read whole;
    `external_data` allows tables inside it. `pass_roles` sends `role` parameters to the engine: only where
    the engine's user is the principal.
    """

    id_key: bytes
    wire: WireOptions = field(default_factory=WireOptions)
    settings: SettingsPolicy = field(default_factory=SettingsPolicy)
    prefix_bytes: int = 256 * 1024
    max_form_bytes: int = 32 * 1024 * 1024
    external_data: bool = True
    pass_roles: bool = False
    query_timeout_s: float = 3600.0
    """How long an engine may be silent before the first byte of an answer; past it the query is killed."""
    kill_timeout_s: float = 5.0
    server_name: str = "gateway"

    def __post_init__(self) -> None:
        if len(self.id_key) < 16:
            raise ValueError("id_key needs at least 16 bytes")
        if self.prefix_bytes < MAX_HEAD:
            raise ValueError(f"prefix_bytes is at least {MAX_HEAD}, the longest statement part of an INSERT")
