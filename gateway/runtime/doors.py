"""The listeners of a process: an HTTP server with its wire behind each."""

from __future__ import annotations

import ipaddress
import logging
import ssl
from collections import Counter
from dataclasses import dataclass

from gateway.admin.pages import query_page
from gateway.core.principal import Principal
from gateway.core.statement import Wire
from gateway.edge.live import LiveEdge
from gateway.runtime import build
from gateway.runtime.ledger import query_record
from gateway.runtime.state import StateDir, derived
from gateway.settings import Settings
from gateway.settings.sections.doors import Listener
from gateway.wire.clickhouse.options import ClickHouseOptions
from gateway.wire.clickhouse.server import ClickHouseWire
from gateway.wire.clickhouse.settings import SettingsPolicy, UnknownSettings
from gateway.wire.http.server import HttpServer
from gateway.wire.http.tls import ReloadingTls
from gateway.wire.trino.options import TrinoOptions
from gateway.wire.trino.request import RequestRules
from gateway.wire.trino.server import TrinoWire

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Door:
    """One open listener. `siblings` takes requests that reached another process of this host."""

    listener: Listener
    wire: TrinoWire | ClickHouseWire
    server: HttpServer
    tls: ReloadingTls | None
    port: int = 0
    siblings: HttpServer | None = None


class Doors:
    """All listeners of a process."""

    def __init__(self, edge: LiveEdge, key: bytes, state: StateDir) -> None:
        self._edge = edge
        self._key = key
        self._state = state
        self.doors: list[Door] = []

    async def open(self, settings: Settings, *, reuse_port: bool) -> None:
        """Open all. Raises OSError naming the listener whose address cannot be bound."""
        for listener in settings.listeners:
            door = self._door(settings, listener)
            self.doors.append(door)
            networks = tuple(map(ipaddress.ip_network, listener.proxy_protocol_from))
            try:
                door.port = await door.server.start(
                    listener.host,
                    listener.port,
                    ssl=door.tls,
                    reuse_port=reuse_port,
                    proxy_protocol_from=networks,
                )
            except OSError as error:
                raise OSError(
                    f"listener {listener.name}: cannot listen on {listener.host}:{listener.port}: {error}"
                ) from error
            if isinstance(door.wire, TrinoWire):
                door.siblings = await self._open_for_siblings(door.wire)
            log.info("%s listens on %s:%d", listener.name, listener.host, door.port)

    async def _open_for_siblings(self, wire: TrinoWire) -> HttpServer:
        server = HttpServer(wire.handle, name="siblings")
        path = self._state.wire_socket(wire.suffix)
        await server.start(unix_path=path)
        path.chmod(0o600)
        return server

    def _door(self, settings: Settings, listener: Listener) -> Door:
        options = build.wire_options(settings, listener)
        wire: TrinoWire | ClickHouseWire
        if listener.wire is Wire.TRINO:
            key = derived(self._key, "trino transactions")
            trino = TrinoOptions(
                transaction_key=key,
                info_page=self._query_page,
                rules=RequestRules(extra_credentials=frozenset(settings.trino.extra_credentials)),
                unpolled_after_s=settings.trino.unpolled_after,
                replay_writes=settings.trino.replay_writes,
            )
            wire = TrinoWire(self._edge, options, trino)
        else:
            wire = ClickHouseWire(self._edge, self._clickhouse(settings, listener))
        files = build.tls_files(listener)
        server = HttpServer(wire.handle, build.server_limits(settings), name=listener.name)
        labels = {"wire": listener.wire.value}
        server.on_refused = lambda bad: self._edge.count(
            "gateway_http_rejected_total", {**labels, "code": str(bad.status)}
        )
        return Door(listener, wire, server, ReloadingTls(files) if files is not None else None)

    def _query_page(self, engine_query_id: str, principal: Principal) -> bytes | None:
        query = self._edge.recent(engine_query_id)
        if query is None or query.principal.name != principal.name:
            return None
        return query_page(query_record(query, ""), f"Query {engine_query_id}").encode()

    def _clickhouse(self, settings: Settings, listener: Listener) -> ClickHouseOptions:
        chosen = settings.clickhouse
        unknown = UnknownSettings(chosen.on_forbidden_setting)
        return ClickHouseOptions(
            id_key=derived(self._key, "clickhouse ids"),
            wire=build.wire_options(settings, listener),
            settings=SettingsPolicy(
                frozenset(chosen.settings_allowed), frozenset(chosen.settings_denied), unknown=unknown
            ),
            external_data=chosen.external_data == "allow",
            pass_roles=chosen.pass_roles,
            query_timeout_s=settings.limits.engine_idle_timeout,
        )

    def connections(self) -> Counter[Wire]:
        """Open client connections by wire."""
        found: Counter[Wire] = Counter()
        for door in self.doors:
            found[door.listener.wire] += door.server.connections
        return found

    def reload(self, settings: Settings) -> None:
        """Take up replaced certificates; say what needs a restart."""
        by_name = {listener.name: listener for listener in settings.listeners}
        for door in self.doors:
            wanted = by_name.get(door.listener.name)
            files = build.tls_files(wanted) if wanted is not None else None
            if door.tls is not None and files is not None:
                try:
                    door.tls.reload(files)
                except (OSError, ssl.SSLError, ValueError) as error:
                    log.error(
                        "listener %s: new certificate not usable, the old one stays: %s",
                        door.listener.name,
                        error,
                    )
        if {door.listener for door in self.doors} != set(settings.listeners):
            log.warning("listeners changed in the settings; addresses and TLS modes need a restart")

    async def close(self) -> None:
        """Close listeners, connections and wires."""
        for door in self.doors:
            await door.server.close()
            if door.siblings is not None:
                await door.siblings.close()
            await door.wire.close()
            if isinstance(door.wire, TrinoWire):
                self._state.wire_socket(door.wire.suffix).unlink(missing_ok=True)
