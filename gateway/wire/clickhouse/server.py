"""The ClickHouse wire: which path is asked for. Statements go to `asking.py`."""

from __future__ import annotations

from gateway.core.tasks import Supervisor
from gateway.edge.contract import Edge
from gateway.wire.clickhouse.asking import Asking
from gateway.wire.clickhouse.ids import Namespaces
from gateway.wire.clickhouse.options import ClickHouseOptions
from gateway.wire.clickhouse.shared import Shared
from gateway.wire.http.client import UpstreamError
from gateway.wire.http.message import BodyTooLarge, Request
from gateway.wire.http.responder import Responder

_PLAIN_OK = [("Content-Type", "text/html; charset=UTF-8")]
_NOT_FOUND = (
    "There is no handle {path}\n\n"
    "Use / or /ping for health checks.\nOr /replicas_status for more sophisticated health checks.\n\n"
    "Send queries from your program with POST method or GET /?query=...\n"
)
_METHODS = frozenset({"GET", "HEAD", "POST"})
_MAX_STATUS_BYTES = 64 * 1024


class ClickHouseWire:
    """`handle` is the handler of an HttpServer. `close()` ends the background KILLs, bounded."""

    def __init__(self, edge: Edge, options: ClickHouseOptions) -> None:
        self._shared = Shared(edge, options, Namespaces(options.id_key), Supervisor("clickhouse-wire"))

    async def close(self) -> None:
        """After the server was closed: let KILLs reach their engines, bounded, and end."""
        await self._shared.close()

    async def handle(self, request: Request, responder: Responder) -> None:
        """Answer one request."""
        path, method = request.path, request.method
        if method == "OPTIONS":
            await responder.send(204, [])
        elif method not in _METHODS:
            await responder.send(501, [])
        elif path in ("/", "/query"):
            if not request.query and method != "POST":
                await responder.send(200, _PLAIN_OK, b"Ok.\n")
            else:
                await Asking(self._shared, request, responder).answer()
        elif path == "/ping":
            await responder.send(200, _PLAIN_OK, b"Ok.\n")
        elif path == "/replicas_status":
            await self._replicas_status(responder)
        else:
            shown = path[:200]
            await responder.send(
                404, [("Content-Type", "text/plain")], _NOT_FOUND.format(path=shown).encode()
            )

    async def _replicas_status(self, responder: Responder) -> None:
        """Ok while at least one backend's own check says so; delays of replicas are shown by none."""
        late = 0
        for backend in self._shared.clickhouse_backends():
            if not backend.healthy:
                continue
            try:
                reply = await backend.pool.request("GET", "/replicas_status", [], head_timeout_s=5.0)
                await reply.read(_MAX_STATUS_BYTES)
            except (UpstreamError, BodyTooLarge):
                continue
            if reply.status == 200:
                await responder.send(200, _PLAIN_OK, b"Ok.\n")
                return
            late += 1
        text = f"No backend is well: {late} with late replicas, the others cannot be reached\n"
        await responder.send(503, [("Content-Type", "text/plain; charset=UTF-8")], text.encode())
