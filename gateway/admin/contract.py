"""What the admin API needs from the running gateway. The runtime implements `AdminBackend`.

Values in here are the API's schema too: the OpenAPI document is made from these types. Times are Unix
seconds, durations milliseconds, sizes bytes. Adding an optional field is compatible; renaming is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.store.audit_records import AdminAction
from gateway.store.audit_verify import Report
from gateway.store.records import Page, QueryFilter, QueryRecord


class AdminError(Exception):
    """A request that cannot be carried out. `code` is a word for programs, the message is for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Actor:
    """Who uses the API: a token's name or the account at the other end of the Unix socket."""

    name: str
    peer: str = ""


@dataclass(frozen=True, slots=True)
class LiveQuery:
    """A query that is being decided, waits, or runs. `fraction` is its progress from 0 to 1, if known."""

    id: str
    time: float
    age_ms: float
    principal: str
    wire: str
    kind: str
    state: str
    process: str = ""
    source: str | None = None
    engine: str | None = None
    backend: str | None = None
    engine_query_id: str | None = None
    fraction: float | None = None
    rows: int | None = None
    bytes_out: int | None = None
    bytes_scanned: int | None = None
    queued_ms: float | None = None


@dataclass(frozen=True, slots=True)
class LiveFilter:
    """Which live queries; every field that is set must match."""

    principal: str | None = None
    wire: str | None = None
    state: str | None = None
    engine: str | None = None
    backend: str | None = None

    def matches(self, query: LiveQuery) -> bool:
        wanted = {name: getattr(self, name) for name in ("principal", "wire", "state", "engine", "backend")}
        return all(value is None or getattr(query, name) == value for name, value in wanted.items())


@dataclass(frozen=True, slots=True)
class LiveQueries:
    """All live queries of the host, oldest first."""

    queries: tuple[LiveQuery, ...]


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The query was asked to stop; it ends when its engine has obeyed."""

    id: str
    state: str = "cancelling"


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Ended and live queries from the store, newest first."""

    queries: tuple[QueryRecord, ...]
    cursor: str | None = None

    @classmethod
    def of(cls, page: Page) -> HistoryPage:
        return cls(page.queries, page.cursor)


@dataclass(frozen=True, slots=True)
class QueryTexts:
    """The stored texts of a query by part (original, emitted, error)."""

    id: str
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BackendState:
    """One end point of an engine as this gateway sees it. `url` holds no credentials."""

    name: str
    engine: str
    group: str
    url: str
    healthy: bool
    draining: bool = False
    running: int = 0
    queued: int = 0
    limit: int | None = None
    version: str | None = None
    checked: float | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class BackendStates:
    """All configured backends."""

    backends: tuple[BackendState, ...]


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """What decisions are made from: the version of each part, since when, and what keeps a newer one out."""

    parts: Mapping[str, str]
    activated: float
    processes: Mapping[str, str] = field(default_factory=dict)
    stale: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reloaded:
    """Whether a new configuration became active; if not, every reason, with file and line."""

    active: bool
    problems: tuple[str, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """A statement to decide without running it, as somebody. `as` is a principal's name."""

    sql: str
    as_: str
    wire: str
    catalog: str | None = None
    schema: str | None = None
    groups: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """A decision in full. Which fields are set depends on `decision`: plan, answer or refusal."""

    decision: str
    kind: str
    fingerprint: str
    trail: tuple[Mapping[str, Any], ...]
    text: str | None = None
    rewritten: bool = False
    engine: str | None = None
    group: str | None = None
    backends: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    relations: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    code: str | None = None
    message: str | None = None
    rule: str | None = None
    position: str | None = None
    fixes: tuple[str, ...] = ()
    read_set: Mapping[str, str] = field(default_factory=dict)
    valid_until: float | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """Each thing that should be well, and what is wrong with it (null: it is well)."""

    ok: bool
    version: str
    uptime_ms: float
    checks: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Config:
    """The active configuration; secrets are shown as references or hidden."""

    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AuditProblem:
    """The first broken link of a stream."""

    stream: str
    file: str
    line: int
    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class AuditVerified:
    """The result of following every chain of the audit."""

    ok: bool
    records: int
    streams: int
    lost: int
    torn: tuple[str, ...] = ()
    problems: tuple[AuditProblem, ...] = ()

    @classmethod
    def of(cls, report: Report) -> AuditVerified:
        found = [stream.problem for stream in report.streams if stream.problem is not None]
        return cls(
            ok=report.ok,
            records=report.records,
            streams=len(report.streams),
            lost=sum(stream.lost for stream in report.streams),
            torn=tuple(name for stream in report.streams for name in stream.torn),
            problems=tuple(AuditProblem(p.stream, p.file, p.line, p.what.value, p.detail) for p in found),
        )


class AdminBackend(Protocol):
    """The running gateway, as the admin API sees it. Any method may raise AdminError."""

    async def record(self, action: AdminAction) -> None:
        """Commit to the audit. Raises AuditUnavailable; the action is then not carried out."""
        ...

    async def live_queries(self, matching: LiveFilter) -> Sequence[LiveQuery]: ...

    async def cancel(self, query_id: str, actor: Actor) -> bool:
        """False if no such query is live on this host."""
        ...

    async def history(self, matching: QueryFilter, limit: int, cursor: str | None) -> Page:
        """Raises BadCursor."""
        ...

    async def query(self, query_id: str) -> QueryRecord | None:
        """By our id or the engine's; what is known so far if it is live."""
        ...

    async def texts(self, query_id: str, actor: Actor, purpose: str) -> Mapping[str, str]:
        """The stored texts, read under audit (`Vault.read`); empty if none are kept."""
        ...

    async def backends(self) -> Sequence[BackendState]: ...

    async def drain(self, name: str, draining: bool, actor: Actor) -> BackendState | None:
        """None if there is no backend of this name."""
        ...

    async def snapshot(self) -> SnapshotInfo: ...
    async def reload(self, actor: Actor) -> Reloaded: ...
    async def explain(self, request: ExplainRequest, actor: Actor) -> Explained: ...
    async def health(self) -> Health: ...

    async def config(self) -> Mapping[str, Any]:
        """The active configuration; the API redacts it once more."""
        ...

    async def verify_audit(self) -> Report: ...
