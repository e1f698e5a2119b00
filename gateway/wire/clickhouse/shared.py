"""What all requests of one wire share."""

from __future__ import annotations

from dataclasses import dataclass

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

    def clickhouse_backends(self) -> list[Backend]:
        """Backends that speak this wire."""
        kinds = (EngineKind.CLICKHOUSE, EngineKind.CHDB)
        return [backend for backend in self.edge.backends.all() if backend.kind in kinds]
