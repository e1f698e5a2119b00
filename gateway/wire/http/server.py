"""The HTTP/1.1 server of the data plane: listeners, limits, drain."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import ipaddress
import logging
import socket
import ssl as ssl_module
import time
from collections.abc import Callable, Sequence
from email.utils import formatdate
from pathlib import Path

from gateway.core.tasks import Supervisor
from gateway.wire.http.connection import Handler, ServerConnection, ServerLimits
from gateway.wire.http.message import BadMessage, Peer
from gateway.wire.http.proxy_protocol import ProxyHeaderError, read_proxy_header
from gateway.wire.http.sweep import Sweeper, tick_for

log = logging.getLogger(__name__)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
TlsSource = ssl_module.SSLContext | Callable[[], ssl_module.SSLContext]

_BACKLOG = 1024
_HANDSHAKE_TIMEOUT_S = 15.0
_PROXY_HEADER_TIMEOUT_S = 5.0

__all__ = ["Handler", "HttpServer", "ServerLimits"]


class HttpServer:
    """Serves `handler` on any number of listeners. One instance per wire and process."""

    def __init__(self, handler: Handler, limits: ServerLimits | None = None, name: str = "http") -> None:
        self.handler = handler
        self.limits = limits or ServerLimits()
        self.name = name
        self.draining = False
        self.context = contextvars.copy_context()
        self.running: set[asyncio.Task[None]] = set()
        self.on_refused: Callable[[BadMessage], None] | None = None
        self._connections: set[ServerConnection] = set()
        self._sweeper = Sweeper(
            tick_for(
                self.limits.header_timeout_s,
                self.limits.idle_timeout_s,
                self.limits.body_idle_timeout_s,
                self.limits.write_idle_timeout_s,
                self.limits.half_close_grace_s,
            )
        )
        self._servers: list[asyncio.Server] = []
        self._sockets: list[socket.socket] = []
        self._unix_paths: list[Path] = []
        self._supervisor = Supervisor(f"http-{name}")
        self._opening = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._date = ""
        self._date_second = 0

    # -- listeners

    async def start(
        self,
        host: str | None = None,
        port: int = 0,
        *,
        ssl: TlsSource | None = None,
        reuse_port: bool = False,
        unix_path: str | Path | None = None,
        proxy_protocol_from: Sequence[Network] = (),
    ) -> int:
        """Listen on `host:port` (0: any free port) or on a Unix socket; returns the port, 0 for a path.

        `ssl` may be a function, asked for its context at each new connection: that is how certificates
        reload. Peers inside `proxy_protocol_from` must send a PROXY header (v1 or v2) first. May be called
        several times. Raises OSError when the address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        if unix_path is not None:
            if ssl is not None or proxy_protocol_from:
                raise ValueError("a Unix socket listener takes neither TLS nor the PROXY protocol")
            server = await loop.create_unix_server(
                lambda: ServerConnection(self), str(unix_path), backlog=_BACKLOG
            )
            self._servers.append(server)
            self._unix_paths.append(Path(unix_path))
            return 0
        if ssl is None and not proxy_protocol_from:
            server = await loop.create_server(
                lambda: ServerConnection(self), host, port, backlog=_BACKLOG, reuse_port=reuse_port or None
            )
            self._servers.append(server)
            return int(server.sockets[0].getsockname()[1])
        return await self._start_accepting(host, port, ssl, reuse_port, tuple(proxy_protocol_from))

    async def _start_accepting(
        self,
        host: str | None,
        port: int,
        tls: TlsSource | None,
        reuse_port: bool,
        trusted: tuple[Network, ...],
    ) -> int:
        """Listeners that do something before HTTP (PROXY header, TLS with the newest certificate)."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            bind_to = (address[0], port or address[1], *address[2:])
            sock = socket.create_server(bind_to, family=family, backlog=_BACKLOG, reuse_port=reuse_port)
            sock.setblocking(False)
            port = port or sock.getsockname()[1]
            self._sockets.append(sock)
            self._supervisor.spawn(self._accept_forever(sock, tls, trusted), f"accept-{port}")
        return port

    async def _accept_forever(
        self, listener: socket.socket, tls: TlsSource | None, trusted: tuple[Network, ...]
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno not in (
                    errno.EMFILE,
                    errno.ENFILE,
                    errno.ENOBUFS,
                    errno.ENOMEM,
                    errno.ECONNABORTED,
                ):
                    raise
                log.error("%s: cannot accept connections: %s", self.name, error)
                await asyncio.sleep(0.1)
                continue
            sock.setblocking(False)
            if self._opening + len(self._connections) >= self.limits.max_connections or self.draining:
                sock.close()
                continue
            self._opening += 1
            self._supervisor.spawn(self._open(sock, address, tls, trusted), "open")

    async def _open(
        self,
        sock: socket.socket,
        address: tuple[str, int],
        tls: TlsSource | None,
        trusted: tuple[Network, ...],
    ) -> None:
        try:
            peer = Peer(address[0], address[1], tls is not None)
            if in_networks(address[0], trusted):
                async with asyncio.timeout(_PROXY_HEADER_TIMEOUT_S):
                    source = await read_proxy_header(sock)
                if source is not None:
                    peer = Peer(source[0], source[1], tls is not None, via=address[0])
            context = tls() if callable(tls) else tls
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: ServerConnection(self, peer),
                sock,
                ssl=context,
                ssl_handshake_timeout=_HANDSHAKE_TIMEOUT_S if context is not None else None,
            )
        except ProxyHeaderError as error:
            log.warning("%s: %s sent no valid PROXY header: %s", self.name, address[0], error)
            sock.close()
        except (OSError, TimeoutError, ssl_module.SSLError) as error:
            log.info("%s: connection of %s was not opened: %s", self.name, address[0], error or "timed out")
            sock.close()
        except BaseException:
            sock.close()
            raise
        finally:
            self._opening -= 1

    @property
    def sockets(self) -> list[socket.socket]:
        """The listening sockets."""
        return [s for server in self._servers for s in server.sockets] + list(self._sockets)

    @property
    def ports(self) -> list[int]:
        return [s.getsockname()[1] for s in self.sockets if s.family != socket.AF_UNIX]

    @property
    def connections(self) -> int:
        return len(self._connections)

    # -- for connections

    def register(self, connection: ServerConnection) -> bool:
        """False when there is no room: the connection must refuse and go."""
        self._connections.add(connection)
        self._sweeper.add(connection)
        self._empty.clear()
        return len(self._connections) <= self.limits.max_connections

    def unregister(self, connection: ServerConnection) -> None:
        self._connections.discard(connection)
        self._sweeper.discard(connection)
        if not self._connections:
            self._empty.set()

    def refused(self, error: BadMessage) -> None:
        if self.on_refused is not None:
            self.on_refused(error)

    def date_line(self) -> str:
        now = int(time.time())
        if now != self._date_second:
            self._date_second = now
            self._date = f"Date: {formatdate(now, usegmt=True)}\r\n"
        return self._date

    # -- the end

    async def drain(self, timeout: float) -> bool:
        """Stop accepting, let running exchanges finish, close each connection after its answer.

        Returns True when every connection ended within `timeout` seconds."""
        self.draining = True
        await self._close_listeners()
        for connection in tuple(self._connections):
            connection.close_if_idle()
        try:
            async with asyncio.timeout(timeout):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Stop now: listeners, connections, then handlers that do not end by themselves."""
        self.draining = True
        await self._close_listeners()
        for connection in tuple(self._connections):
            connection.reset()
        await asyncio.sleep(0)
        running = tuple(self.running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=5.0)
        await self._supervisor.close()

    async def _close_listeners(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        for path in self._unix_paths:
            path.unlink(missing_ok=True)
        self._unix_paths.clear()
        if self._sockets:
            # The accept loops own these sockets: end the loops first, their waits hold the descriptors.
            await self._supervisor.close()
            for sock in self._sockets:
                sock.close()
            self._sockets.clear()


def in_networks(host: str, networks: Sequence[Network]) -> bool:
    """Is the address `host` inside one of `networks`? IPv4 in IPv6 form counts as IPv4."""
    if not networks:
        return False
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
