"""What the wires may call: the order of work around `decide`, and a handle on each running query.

principal = await edge.authenticate(credentials)
query = await edge.open(statement, principal)        # decided; audit record committed
match query.decision: Refusal -> answer; Answer -> answer; Plan -> below
lease = await edge.admit(query)                       # a slot, and the backend to use; may queue
... talk to lease.backend ...
query.progress(...); query.finish(...)                # settles history, audit, budget; frees the slot
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gateway.core.decision import Decision, EngineKind, Refusal
from gateway.core.principal import Principal
from gateway.core.statement import Statement
from gateway.identity.contract import Credentials
from gateway.wire.http.client import UpstreamPool


class Refused(Exception):
    """A refusal that happened after the decision (queue full, no healthy backend, shutting down)."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Outcome(StrEnum):
    """How a query ended. UNKNOWN is said as such, never as success or failure (invariant 7)."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    DISCONNECTED = "disconnected"
    UNKNOWN = "unknown"


class Backend(Protocol):
    """One end point of an engine, alive: its connection pool and what is known of it."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> EngineKind: ...
    @property
    def url(self) -> str: ...
    @property
    def pool(self) -> UpstreamPool: ...
    @property
    def healthy(self) -> bool: ...
    @property
    def process_forwarded(self) -> bool:
        """Trino: whether it accepts `X-Forwarded-*` (`http-server.process-forwarded=true`)."""
        ...

    def engine_headers(self, principal: Principal) -> list[tuple[str, str]]:
        """Credentials and user headers the gateway itself sends to this engine for this principal."""
        ...


class Lease(Protocol):
    """A slot on a backend. Released by `Query.finish`, or by `release` when nothing was started."""

    @property
    def backend(self) -> Backend: ...
    def release(self) -> None: ...


class Query(Protocol):
    """One query from decision to settlement. `finish` is idempotent; the first call counts."""

    @property
    def id(self) -> str:
        """The gateway's own id (UUIDv7 text); the same in audit, history, logs and traces."""
        ...

    @property
    def statement(self) -> Statement: ...
    @property
    def principal(self) -> Principal: ...
    @property
    def decision(self) -> Decision: ...

    def started(self, backend: Backend, engine_query_id: str, cancel: Callable[[], None]) -> None:
        """The engine knows the query by this id; `cancel` stops it (called from any task of the loop)."""
        ...

    def progress(
        self,
        *,
        rows: int | None = None,
        bytes_out: int | None = None,
        bytes_scanned: int | None = None,
        fraction: float | None = None,
        state: str | None = None,
    ) -> None:
        """Totals so far (not increments); cheap, may be called per page."""
        ...

    def finish(
        self, outcome: Outcome, *, error_code: str | None = None, error_text: str | None = None
    ) -> None:
        """Settle. `error_text` goes to the audit only, never to a log."""
        ...


class Backends(Protocol):
    """The live backends of this process."""

    def get(self, name: str) -> Backend | None: ...
    def all(self) -> Sequence[Backend]: ...

    def by_coordinator(self, suffix: str) -> Backend | None:
        """The Trino backend whose query ids end with this 5-character suffix, if known."""
        ...

    def learn_coordinator(self, suffix: str, backend: Backend) -> None:
        """A POST reply showed that ids with this suffix belong to this backend."""
        ...

    async def find_coordinator(self, suffix: str, timeout_s: float) -> Backend | None:
        """Ask all Trino backends (single flight) for a suffix not known yet; None if nobody has it."""
        ...


class Edge(Protocol):
    """Everything around `decide`."""

    @property
    def backends(self) -> Backends: ...

    async def authenticate(self, credentials: Credentials) -> Principal:
        """Raises AuthenticationFailed (already rate-limited, counted and audited)."""
        ...

    async def open(
        self, statement: Statement, principal: Principal, *, peer: str = "", traceparent: str | None = None
    ) -> Query:
        """Decide, register as a live query, commit the audit record. Never raises for a refusal."""
        ...

    async def admit(self, query: Query, *, exclude: frozenset[str] = frozenset()) -> Lease:
        """Wait for a slot (bounded, fair) and choose the least loaded healthy backend of the plan.

        `exclude` names backends that just failed. Raises `Refused`.
        """
        ...

    def find(self, engine_query_id: str) -> Query | None:
        """A live query of this process by the engine's (or our own Trino) query id."""
        ...

    def count(self, name: str, labels: Mapping[str, str] | None = None, by: float = 1) -> None:
        """Add to a counter of the catalogue in telemetry (no label may hold a principal or statement)."""
        ...


@dataclass(frozen=True, slots=True)
class WireOptions:
    """Bounds and trust common to both wires."""

    max_statement_bytes: int = 1_000_000
    external_url: str | None = None
    """The base URL that clients reach us by; None derives it from each request."""
    forwarded_from: tuple[str, ...] = ()
    """Networks (CIDR) whose `X-Forwarded-*` headers are believed."""
    upstream_head_timeout_s: float = 65.0
    upstream_idle_timeout_s: float = 300.0
    disconnect_grace_s: float = 0.0
