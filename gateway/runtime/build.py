"""From settings to the parts of a process. Pure construction: nothing is started here."""

from __future__ import annotations

import ssl
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

from gateway.core.decision import EngineKind
from gateway.core.statement import Wire
from gateway.edge.admission import AdmissionLimits
from gateway.edge.backends import BackendOptions, LiveBackend
from gateway.edge.contract import WireOptions
from gateway.edge.decider import DeciderLimits
from gateway.edge.live import EdgeLimits
from gateway.geo.model import BackendSpec, Topology
from gateway.settings.model import Settings
from gateway.settings.sections.backends import Backend
from gateway.settings.sections.doors import Listener
from gateway.sql.limits import SqlLimits
from gateway.wire.http.client import PoolLimits, UpstreamPool
from gateway.wire.http.server import ServerLimits
from gateway.wire.http.tls import ClientCertificates, TlsFiles


def topology(settings: Settings) -> Topology:
    """The backends and default groups; its version changes only when they do."""
    backends = tuple(BackendSpec(b.name, b.engine, b.group_name, b.region or "") for b in settings.backends)
    defaults = {wire: group for wire in Wire if (group := settings.default_group(wire)) is not None}
    digest = blake2b(repr((backends, sorted(defaults.items()))).encode(), digest_size=8).hexdigest()
    return Topology(backends, defaults, digest)


def embedded_socket(run_dir: Path, backend: Backend) -> Path:
    """Where the child of a backend that the gateway runs itself listens."""
    return run_dir / f"engine-{backend.name}.sock"


def live_backend(backend: Backend, settings: Settings, run_dir: Path) -> LiveBackend:
    """A backend with its connection pool."""
    limits = settings.limits
    pool_limits = PoolLimits(
        max_connections=backend.max_connections,
        connect_timeout_s=limits.engine_connect_timeout,
        read_idle_timeout_s=limits.engine_idle_timeout,
    )
    endpoint = backend.endpoint
    if endpoint is None or endpoint.scheme == "unix":
        path = str(embedded_socket(run_dir, backend)) if endpoint is None else endpoint.unix_path
        pool = UpstreamPool("localhost", 80, None, pool_limits, unix_path=path)
    else:
        context = _client_tls(backend) if endpoint.scheme == "https" else None
        pool = UpstreamPool(endpoint.host, endpoint.port, context, pool_limits)
    return LiveBackend(_backend_options(backend), pool)


def _backend_options(backend: Backend) -> BackendOptions:
    credentials = backend.credentials
    embedded = backend.endpoint is None
    return BackendOptions(
        name=backend.name,
        kind=backend.engine,
        url=backend.url or f"embedded:{backend.engine.value}",
        group=backend.group_name,
        user=credentials.user or ("default" if backend.engine is EngineKind.CHDB else "gateway"),
        password=credentials.password,
        token=credentials.token,
        user_mode="service" if embedded and backend.wire is Wire.CLICKHOUSE else backend.user_mode,
        user_map=backend.user_map,
        process_forwarded=backend.process_forwarded,
        health_interval_s=backend.health.interval,
        health_timeout_s=backend.health.timeout,
        health_failures=backend.health.failures,
        health_statement=backend.health.statement,
    )


def _client_tls(backend: Backend) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(backend.tls.ca) if backend.tls.ca else None)
    if not backend.tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if backend.tls.certificate is not None:
        context.load_cert_chain(backend.tls.certificate, backend.tls.key)
    return context


def admission_limits(settings: Settings) -> AdmissionLimits:
    """Slots per backend and principal, over all processes of the host."""
    limits = settings.limits
    return AdmissionLimits(
        per_backend={backend.name: backend.max_concurrent for backend in settings.backends},
        per_principal=limits.per_principal_concurrent,
        queued_per_principal=limits.per_principal_queued,
        queued_total=limits.queued,
    )


def edge_limits(settings: Settings) -> EdgeLimits:
    """How long to wait for a slot."""
    return EdgeLimits(queue_seconds=settings.limits.queue_seconds)


def decider_limits(settings: Settings) -> DeciderLimits:
    """Bounds of the decision loop and its cache."""
    limits = settings.limits
    return DeciderLimits(
        probe_timeout_s=limits.probe_timeout,
        cache_entries=limits.decision_cache_entries,
        big_bytes=limits.inline_statement_bytes,
    )


def wire_options(settings: Settings, listener: Listener) -> WireOptions:
    """Bounds and trust of one listener."""
    limits = settings.limits
    return WireOptions(
        max_statement_bytes=limits.statement_bytes,
        external_url=listener.external_url,
        forwarded_from=tuple(listener.forwarded_from),
        upstream_head_timeout_s=limits.engine_head_timeout,
        upstream_idle_timeout_s=limits.engine_idle_timeout,
    )


def server_limits(settings: Settings) -> ServerLimits:
    """Bounds of the HTTP carrier towards clients."""
    limits = settings.limits
    return replace(
        ServerLimits(),
        max_header_bytes=limits.header_bytes,
        max_connections=limits.connections,
        header_timeout_s=limits.request_head_timeout,
        idle_timeout_s=limits.client_idle_timeout,
        write_idle_timeout_s=limits.client_write_timeout,
    )


def sql_limits(settings: Settings) -> SqlLimits:
    """Bounds of statements; the version is the limits themselves."""
    limits = settings.limits
    return SqlLimits(
        max_bytes=limits.statement_bytes,
        max_tokens=limits.statement_tokens,
        max_depth=limits.statement_depth,
        inline_bytes=limits.inline_statement_bytes,
        inline_tokens=limits.inline_statement_tokens,
        version=f"{limits.statement_bytes}/{limits.statement_tokens}/{limits.statement_depth}",
    )


def tls_files(listener: Listener) -> TlsFiles | None:
    """The listener's key material; None for plain HTTP."""
    tls = listener.tls
    if tls is None:
        return None
    wanted = ClientCertificates.NONE
    if tls.client_ca is not None:
        wanted = (
            ClientCertificates.REQUIRED if tls.require_client_certificate else ClientCertificates.OPTIONAL
        )
    oldest = ssl.TLSVersion.TLSv1_3 if tls.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    return TlsFiles(tls.certificate, tls.key, tls.client_ca, wanted, oldest)
