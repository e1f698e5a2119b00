"""One running query: what is known of it, and its settlement, exactly once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.core.decision import Decision, Plan
from gateway.core.principal import Principal
from gateway.core.statement import Statement
from gateway.edge.contract import Backend, Outcome
from gateway.edge.decider import Decided


def query_id() -> str:
    """A UUIDv7 (RFC 9562): sorts by time, 74 random bits."""
    stamp = f"{time.time_ns() // 1_000_000:012x}"
    random = os.urandom(10).hex()
    variant = _VARIANTS[random[3]]
    return f"{stamp[:8]}-{stamp[8:]}-7{random[:3]}-{variant}{random[4:7]}-{random[7:19]}"


_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


@dataclass(slots=True)
class Progress:
    """Totals so far: rows and bytes sent to the client, bytes that the engine read, fraction done (0..1)."""

    rows: int = 0
    bytes_out: int = 0
    bytes_scanned: int = 0
    fraction: float | None = None
    state: str = "decided"


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a query ended. Times are seconds since it was opened; None where it never came that far."""

    outcome: Outcome
    error_code: str | None
    error_text: str | None = field(repr=False)
    queued_s: float | None
    first_byte_s: float | None
    total_s: float


@dataclass(slots=True, eq=False)
class LiveQuery:
    """See `contract.Query`. Lives in one process; `settle` is called once, with the settlement."""

    id: str
    statement: Statement
    principal: Principal
    decided: Decided
    peer: str
    settle: Callable[[LiveQuery, Settlement], None]
    index: dict[str, LiveQuery]
    """Where a started query can be found by the engine's id of it."""
    opened_at: float = field(default_factory=time.time)
    _opened: float = field(default_factory=time.perf_counter)
    seen: Progress = field(default_factory=Progress)
    backend: Backend | None = None
    engine_query_id: str | None = None
    granted: str | None = None
    """The backend whose slot this query holds."""
    _cancel: Callable[[], None] | None = None
    _admitted: float | None = None
    _first_byte: float | None = None
    cancelled: bool = False
    finished: bool = False
    traceparent: str | None = None
    """Where the client's trace goes on, as it sent it."""

    @property
    def decision(self) -> Decision:
        """What was decided about it."""
        return self.decided.decision

    @property
    def plan(self) -> Plan | None:
        """The plan, where the decision is one."""
        return self.decision if isinstance(self.decision, Plan) else None

    @property
    def age_s(self) -> float:
        """Seconds since it was opened."""
        return time.perf_counter() - self._opened

    def admitted(self, backend: str) -> None:
        """It holds a slot on this backend."""
        self.granted = backend
        self._admitted = self.age_s
        self.seen.state = "admitted"

    def started(self, backend: Backend, engine_query_id: str, cancel: Callable[[], None]) -> None:
        """See `contract.Query.started`. A cancel that came before is carried out now."""
        self.backend, self.engine_query_id, self._cancel = backend, engine_query_id, cancel
        self.index[engine_query_id] = self
        self.seen.state = "running"
        if self.cancelled:
            cancel()

    def progress(
        self,
        *,
        rows: int | None = None,
        bytes_out: int | None = None,
        bytes_scanned: int | None = None,
        fraction: float | None = None,
        state: str | None = None,
    ) -> None:
        """See `contract.Query.progress`."""
        seen = self.seen
        if self._first_byte is None and (bytes_out or rows):
            self._first_byte = self.age_s
        if rows is not None:
            seen.rows = rows
        if bytes_out is not None:
            seen.bytes_out = bytes_out
        if bytes_scanned is not None:
            seen.bytes_scanned = bytes_scanned
        if fraction is not None:
            seen.fraction = fraction
        if state is not None:
            seen.state = state

    def cancel(self) -> bool:
        """Stop it; False if it has ended already. A query that still waits stops when it is started."""
        if self.finished:
            return False
        self.cancelled = True
        if self._cancel is not None:
            self._cancel()
        return True

    def finish(
        self, outcome: Outcome, *, error_code: str | None = None, error_text: str | None = None
    ) -> None:
        """See `contract.Query.finish`."""
        if self.finished:
            return
        self.finished = True
        self.seen.state = outcome.value
        self._cancel = None
        end = Settlement(outcome, error_code, error_text, self._admitted, self._first_byte, self.age_s)
        self.settle(self, end)
