"""Where clients reach us: the base of every URI that we write."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.wire.http.message import Headers, Peer
from gateway.wire.trino.request import Forwarded

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST = re.compile(r"(?P<host>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?")
_DEFAULT_PORT = {"http": 80, "https": 443}


class BadHost(ValueError):
    """The request does not say properly which host it is for."""


@dataclass(frozen=True, slots=True)
class OriginRules:
    """`external` (a URL) wins; else the request's `Host`, or `X-Forwarded-*` from trusted networks."""

    external: tuple[str, str, int] | None = None
    trusted: tuple[Network, ...] = ()

    @classmethod
    def of(cls, external_url: str | None, forwarded_from: Sequence[str]) -> OriginRules:
        """Raises ValueError for a URL or network that cannot be used."""
        external = None
        if external_url is not None:
            url = urlsplit(external_url)
            if url.scheme not in _DEFAULT_PORT or not url.hostname or url.path not in ("", "/"):
                raise ValueError(
                    "the external URL must look like https://host or https://host:port, without a path"
                )
            host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
            external = (url.scheme, host, url.port or _DEFAULT_PORT[url.scheme])
        return cls(external, tuple(ipaddress.ip_network(network) for network in forwarded_from))

    def of_request(self, headers: Headers, peer: Peer) -> Forwarded:
        """How this client reaches us. Raises BadHost."""
        if self.external is not None:
            return Forwarded(*self.external, client=peer.host)
        scheme, host = "https" if peer.tls else "http", headers.get("Host", "")
        port = None
        if self._trusts(peer.via or peer.host):
            scheme = _first(headers, "X-Forwarded-Proto") or scheme
            host = _first(headers, "X-Forwarded-Host") or host
            port = _first(headers, "X-Forwarded-Port")
        match = _HOST.fullmatch(host or "")
        if match is None or scheme not in _DEFAULT_PORT:
            raise BadHost("the Host header (or X-Forwarded-Host, -Proto) does not name a host")
        number = port if port is not None and port.isascii() and port.isdigit() else match["port"]
        chosen = int(number[:6]) if number else _DEFAULT_PORT[scheme]
        if not 0 < chosen < 65_536:
            raise BadHost("the port in the Host header (or X-Forwarded-Port) is not a port")
        return Forwarded(scheme, match["host"], chosen, client=peer.host)

    def _trusts(self, host: str) -> bool:
        if not host:
            return True  # a Unix socket: only siblings of this process can reach it
        if not self.trusted:
            return False
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self.trusted)


def _first(headers: Headers, name: str) -> str | None:
    value = headers.get(name)
    return value.split(",")[0].strip() if value else None


def base_url(origin: Forwarded) -> str:
    """`scheme://host[:port]`, as clients write it: without the scheme's own port."""
    port = "" if _DEFAULT_PORT[origin.proto] == origin.port else f":{origin.port}"
    return f"{origin.proto}://{origin.host}{port}"
