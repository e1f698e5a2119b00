"""What all requests of one wire share."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field

from gateway.core.decision import EngineKind
from gateway.core.tasks import Supervisor
from gateway.edge.contract import Backend, Edge
from gateway.wire.clickhouse.ids import Namespaces
from gateway.wire.clickhouse.options import ClickHouseOptions


@dataclass(frozen=True, slots=True)
class Shared:
    """The edge, the operator's choices, the id namespaces, and who owns background work."""

    edge: Edge
    options: ClickHouseOptions
    namespaces: Namespaces
    supervisor: Supervisor
    _kills: set[asyncio.Task[None]] = field(default_factory=set)

    def spawn_kill(self, work: Coroutine[None, None, None], query_id: str) -> None:
        """Stop a query in the background; `close` waits for it."""
        task = self.supervisor.spawn(work, f"kill-{query_id}")
        self._kills.add(task)
        task.add_done_callback(self._kills.discard)

    async def close(self) -> None:
        """Let KILLs that were begun reach their engines, bounded, then end."""
        if self._kills:
            await asyncio.wait(list(self._kills), timeout=self.options.kill_timeout_s)
        await self.supervisor.close()

    def clickhouse_backends(self) -> list[Backend]:
        """Backends that speak this wire."""
        kinds = (EngineKind.CLICKHOUSE, EngineKind.CHDB)
        return [backend for backend in self.edge.backends.all() if backend.kind in kinds]
