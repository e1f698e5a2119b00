"""The engines behind the gateway, and how they are grouped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from gateway.core.decision import EngineKind
from gateway.core.statement import Wire
from gateway.settings.kinds import (
    Duration,
    ExistingFile,
    LocalPath,
    Name,
    NonEmpty,
    SecretRef,
    Section,
    web_url,
    wrong,
)

WIRE_OF_ENGINE = {
    EngineKind.TRINO: Wire.TRINO,
    EngineKind.DUCKDB: Wire.TRINO,
    EngineKind.CLICKHOUSE: Wire.CLICKHOUSE,
    EngineKind.CHDB: Wire.CLICKHOUSE,
}
"""The protocol each engine is reached by (the embedded two speak one through their child process)."""

_EMBEDDED = (EngineKind.DUCKDB, EngineKind.CHDB)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A backend's URL taken apart. `unix_path` is set instead of host and port for `unix:` URLs."""

    scheme: Literal["http", "https", "unix"]
    host: str = ""
    port: int = 0
    unix_path: str | None = None


def parse_endpoint(url: str) -> Endpoint:
    """Raises a settings error for anything but `http(s)://host:port` and `unix:/path`."""
    if url.startswith("unix:"):
        path = url.removeprefix("unix:")
        if not path.startswith("/") or len(path) > 107:
            raise wrong("expected unix: and an absolute path of at most 107 characters")
        return Endpoint("unix", unix_path=path)
    parts = urlsplit(web_url(url))
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise wrong("expected only http(s)://host:port; a path, query or fragment is not supported")
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    return Endpoint(scheme, parts.hostname or "", parts.port or (443 if scheme == "https" else 80))


def _endpoint_url(url: str) -> str:
    parse_endpoint(url)
    return url


class BackendTls(Section):
    """How the gateway checks an https backend, and shows who it is."""

    ca: ExistingFile | None = None
    """PEM file with the authorities to believe; null takes the system's."""
    verify: bool = True
    """Whether the backend's certificate is checked. False is for trials only."""
    certificate: ExistingFile | None = None
    """PEM file with the gateway's own client certificate."""
    key: ExistingFile | None = None
    """PEM file with the key of that certificate."""

    @model_validator(mode="after")
    def _certificate_and_key_go_together(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise wrong("certificate and key are given together or not at all")
        return self


class EngineCredentials(Section):
    """What the gateway itself logs in with. Clients' credentials never reach an engine."""

    user: NonEmpty | None = None
    """The user; needed with a password."""
    password: SecretRef | None = None
    """Its password."""
    token: SecretRef | None = None
    """A bearer token, instead of a password."""

    @model_validator(mode="after")
    def _one_proof(self) -> Self:
        if self.password is not None and self.token is not None:
            raise wrong("expected at most one of password and token")
        if self.password is not None and self.user is None:
            raise wrong("a password needs a user", "password")
        return self


class Health(Section):
    """How a backend is probed."""

    interval: Duration = 5.0
    """Time between probes."""
    timeout: Duration = 3.0
    """A probe that takes longer has failed."""
    statement: NonEmpty | None = None
    """A statement that must succeed; null asks the engine's own health end point."""
    failures: Annotated[int, Field(ge=1, le=100)] = 2
    """Failed probes in a row before the backend gets no more queries."""


class Backend(Section):
    """One end point of an engine."""

    name: Name
    """Names it in logs, metrics, rules and the audit."""
    engine: Annotated[EngineKind, Field(strict=False)]
    """What it is: trino, clickhouse, duckdb or chdb."""
    url: Annotated[str, AfterValidator(_endpoint_url)] | None = None
    """`http://host:port`, `https://host:port` or `unix:/path`. May be left out for duckdb and chdb only:
    the gateway then runs the engine itself, as a child process."""
    database: LocalPath | None = None
    """duckdb and chdb without `url`: where the child keeps its data; null keeps it in memory."""
    group: Name | None = None
    """The group it serves in; null joins the group named after its wire."""
    region: Name | None = None
    """Where it is; used by placement and sovereignty rules."""
    process_forwarded: bool = True
    """Trino: whether it runs with `http-server.process-forwarded=true`. False rewrites URIs in answers."""
    tls: BackendTls = BackendTls()
    """Checks on an https backend."""
    credentials: EngineCredentials = EngineCredentials()
    """What the gateway logs in with."""
    user_mode: Literal["impersonate", "mapped", "service"] = "impersonate"
    """Whom the engine sees: the principal itself, a user from `user_map`, or always `credentials.user`."""
    user_map: dict[NonEmpty, NonEmpty] = Field(default_factory=dict)
    """mapped: principal to engine user; the key `*` is for everyone else. Without it others are refused."""
    max_concurrent: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Queries that run on it at a time, over all processes of this host."""
    max_connections: Annotated[int, Field(ge=1, le=100_000)] = 200
    """Connections that each gateway process keeps to it."""
    health: Health = Health()
    """How it is probed."""
    draining: bool = False
    """True sends it no new queries and lets the running ones finish."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.url is None and self.engine not in _EMBEDDED:
            raise wrong("is missing; only duckdb and chdb can be run by the gateway itself", "url")
        if self.database is not None and (self.url is not None or self.engine not in _EMBEDDED):
            raise wrong("is for duckdb and chdb without url only", "database")
        if self.user_mode == "mapped" and not self.user_map:
            raise wrong("is missing; user_mode: mapped needs at least one entry", "user_map")
        if self.user_mode == "service" and self.credentials.user is None and self.url is not None:
            raise wrong("is missing; user_mode: service logs in as this user", "credentials", "user")
        return self

    @property
    def wire(self) -> Wire:
        """The protocol the gateway speaks to it."""
        return WIRE_OF_ENGINE[self.engine]

    @property
    def group_name(self) -> str:
        """The group it serves in, also where the file leaves it out."""
        return self.group or self.wire.value

    @property
    def endpoint(self) -> Endpoint | None:
        """The URL taken apart; None where the gateway runs the engine itself."""
        return parse_endpoint(self.url) if self.url is not None else None


class Group(Section):
    """Backends that serve the same data and can stand in for each other."""

    wire: Annotated[Wire, Field(strict=False)]
    """The protocol its backends are reached by."""
    default: bool = False
    """Whether statements of that wire go here when no routing rule says otherwise."""
    description: str = ""
    """What it is for."""
