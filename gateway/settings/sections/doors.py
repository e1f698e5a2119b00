"""Where clients, operators and monitoring come in."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from gateway.core.statement import Wire
from gateway.settings.kinds import (
    ExistingFile,
    Host,
    Items,
    LocalPath,
    Name,
    Network,
    Port,
    SecretRef,
    Section,
    WebUrl,
    is_loopback,
    wrong,
)


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, float) else value


TlsVersion = Annotated[Literal["1.2", "1.3"], BeforeValidator(_as_text)]


class ListenerTls(Section):
    """The TLS side of a listener. Replaced certificate files are taken up without a restart."""

    certificate: ExistingFile
    """PEM file with the certificate chain, leaf first."""
    key: ExistingFile
    """PEM file with the private key."""
    client_ca: ExistingFile | None = None
    """PEM file with the authorities whose client certificates are believed."""
    require_client_certificate: bool = False
    """Whether a connection without a client certificate is closed."""
    min_version: TlsVersion = "1.2"
    """The oldest TLS version that is spoken."""

    @model_validator(mode="after")
    def _client_certificates_need_an_authority(self) -> Self:
        if self.require_client_certificate and self.client_ca is None:
            raise wrong("needs client_ca to verify certificates with", "require_client_certificate")
        return self


class Listener(Section):
    """One port that clients connect to."""

    name: Name
    """Names the listener in logs and metrics."""
    wire: Annotated[Wire, Field(strict=False)]
    """The protocol spoken on it."""
    host: Host = "127.0.0.1"
    """The address to listen on; 0.0.0.0 for all of IPv4, `::` for all of IPv6."""
    port: Port
    """The port; 0 takes a free one and logs it."""
    tls: ListenerTls | None = None
    """Null speaks plain HTTP: for loopback, or behind a proxy that ends TLS."""
    proxy_protocol_from: Items[Network] = ()
    """Networks of load balancers whose PROXY protocol header is required and believed."""
    forwarded_from: Items[Network] = ()
    """Networks of HTTP proxies whose `X-Forwarded-*` headers are believed."""
    external_url: WebUrl | None = None
    """The base URL that clients reach this listener by; null derives it from each request."""


class Admin(Section):
    """The admin API, used by the live commands (`gateway top`, `gateway backends drain`, …)."""

    socket: LocalPath | None = None
    """Path of its Unix socket, open to the gateway's own user only; null opens none."""
    host: Host = "127.0.0.1"
    """The address of its TCP port."""
    port: Port | None = None
    """Its TCP port; null opens none. Needs `token`."""
    token: SecretRef | None = None
    """The bearer token that callers on TCP must show."""

    @model_validator(mode="after")
    def _network_needs_a_token(self) -> Self:
        if self.port is not None and self.token is None:
            raise wrong("needs a token: anyone who reaches the port could cancel queries", "port")
        return self


class Metrics(Section):
    """Prometheus metrics, `/livez` and `/readyz`."""

    host: Host = "127.0.0.1"
    """The address to listen on."""
    port: Port = 9090
    """The port."""

    @property
    def local_only(self) -> bool:
        return is_loopback(self.host)
