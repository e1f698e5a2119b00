"""What the gateway keeps, reports, and how its processes run."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo

from gateway.settings.kinds import LocalPath, SecretRef, Section, WebUrl, base_directory, wrong


def _store_url(url: str, info: ValidationInfo) -> str:
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        raise wrong("expected sqlite:///path or postgresql://user@host/database") from None
    if parts.scheme not in ("sqlite", "postgresql"):
        raise wrong("expected sqlite:///path or postgresql://user@host/database")
    if password is not None or "password=" in parts.query:
        raise wrong("a URL holds no password here; give it by reference in store.password")
    if (
        parts.scheme == "sqlite"
        and parts.path not in ("", "/", "/:memory:")
        and not parts.path.startswith("//")
    ):
        return f"sqlite:///{(base_directory(info) / parts.path[1:]).absolute()}"
    return url


class Store(Section):
    """The database of history, budgets and approvals."""

    url: Annotated[str, AfterValidator(_store_url)] = Field("sqlite:///gateway.db", validate_default=True)
    """`sqlite:///path` (it starts at the directory of this file; four slashes for an absolute path) or
    `postgresql://user@host:port/database`."""
    password: SecretRef | None = None
    """The password of the PostgreSQL user."""
    encryption_key: SecretRef | None = None
    """Encrypts statement texts, which hold literals. Null stores no texts, only fingerprints."""
    retention_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """Days that query history is kept."""
    text_retention_days: Annotated[int, Field(ge=1, le=3650)] = 7
    """Days that encrypted statement texts are kept."""
    pool: Annotated[int, Field(ge=1, le=200)] = 5
    """Connections to PostgreSQL per process."""


class Audit(Section):
    """The hash-chained record of who ran what; written before the first byte of a result."""

    directory: LocalPath = Field("audit", validate_default=True)
    """Where segments are written."""
    on_failure: Literal["refuse", "continue"] = "refuse"
    """What happens to queries while the record cannot be written."""
    sync: Literal["os", "fsync"] = "os"
    """os survives a crash of the gateway; fsync also one of the machine, at some milliseconds a group."""
    retention_days: Annotated[int, Field(ge=1, le=36500)] = 400
    """Days that segments are kept."""


class Telemetry(Section):
    """Logs and traces."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important messages that are logged."""
    log_format: Literal["json", "console"] = "json"
    """json for machines, console for people."""
    otlp_endpoint: WebUrl | None = None
    """Where OpenTelemetry traces are sent (OTLP over HTTP); null sends none."""


class Server(Section):
    """The processes."""

    state: LocalPath = Field("var", validate_default=True)
    """Directory for sockets, embedded databases and the generated key; open to the gateway's user only."""
    key: SecretRef | None = None
    """Keys what clients carry between requests (transaction ids, query id prefixes), at least 32 characters.
    All gateways that serve the same clients need the same; null keeps a generated one under `state`."""

    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Proxy processes that share the ports."""
    drain_seconds: Annotated[float, Field(ge=0, le=86400)] = 30.0
    """The longest wait for running queries at shutdown, in seconds."""
    reload: bool = True
    """Whether changed files are taken up by themselves; SIGHUP always does."""
