"""What the audit says: one frozen type per kind of record.

No type has a field for a statement's text, a literal, an error's text or a credential: what cannot be
written down cannot leak. Statements appear as fingerprints; texts live encrypted in `store.vault`.
All times are Unix seconds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar

import orjson

from gateway.core.trail import Step


@dataclass(frozen=True, slots=True)
class Decided:
    """A statement was decided; written before the first byte of its result.

    `decision` is plan, answer or refusal; `refusal` and `rule` say why not. `emitted` is the fingerprint of
    the text that goes to the engine, `fingerprint` that of the client's text.
    """

    kind_name: ClassVar[str] = "decided"

    query_id: str
    time: float
    principal: str
    wire: str
    kind: str
    decision: str
    groups: tuple[str, ...] = ()
    impersonator: str | None = None
    source: str | None = None
    peer: str = ""
    fingerprint: str = ""
    emitted: str = ""
    relations: tuple[str, ...] = ()
    refusal: str | None = None
    rule: str | None = None
    engine: str | None = None
    backend_group: str | None = None
    decide_ms: float | None = None
    trail: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """A query ended, as far as the gateway knows; times in milliseconds, sizes in bytes."""

    kind_name: ClassVar[str] = "finished"

    query_id: str
    time: float
    outcome: str
    backend: str | None = None
    engine_query_id: str | None = None
    error_code: str | None = None
    rows: int | None = None
    bytes_out: int | None = None
    bytes_scanned: int | None = None
    queued_ms: float | None = None
    first_byte_ms: float | None = None
    total_ms: float | None = None


@dataclass(frozen=True, slots=True)
class LoginFailed:
    """One refused log-in. `user` is the claimed name; `reason` is a word of ours, never what was offered."""

    kind_name: ClassVar[str] = "login_failed"

    time: float
    user: str
    peer: str
    method: str
    reason: str


@dataclass(frozen=True, slots=True)
class LoginSummary:
    """How often a principal was let in since the last summary: a line per log-in would drown the rest."""

    kind_name: ClassVar[str] = "login_summary"

    time: float
    principal: str
    method: str
    count: int
    since: float


@dataclass(frozen=True, slots=True)
class ConfigReload:
    """Configuration was loaded, or refused while the last good one stayed."""

    kind_name: ClassVar[str] = "config_reload"

    time: float
    outcome: str
    versions: tuple[tuple[str, str], ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AdminAction:
    """Somebody used the admin API to change or end something."""

    kind_name: ClassVar[str] = "admin_action"

    time: float
    actor: str
    action: str
    target: str
    outcome: str
    peer: str = ""


@dataclass(frozen=True, slots=True)
class StatementRead:
    """Somebody read the stored text of a statement."""

    kind_name: ClassVar[str] = "statement_read"

    time: float
    actor: str
    query_id: str
    purpose: str = ""


AuditRecord = Decided | Finished | LoginFailed | LoginSummary | ConfigReload | AdminAction | StatementRead


MAX_RECORD_BYTES = 1 << 20
MAX_TEXT = 2000


def encode(record: AuditRecord) -> bytes:
    """The record as JSON, at most 1 MiB: longer lists are cut, and text no JSON can hold is replaced."""
    try:
        data = orjson.dumps(record, default=_encode_default)
    except TypeError:
        data = orjson.dumps(_plain(record))
    if len(data) > MAX_RECORD_BYTES:
        data = orjson.dumps(_plain(record, 100))
    return data


def _plain(value: Any, items: int = 10_000) -> Any:
    """`value` with bounded texts and lists and without lone surrogates; the slow way, for odd records."""
    if isinstance(value, str):
        return value[:MAX_TEXT].encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, (list, tuple, set, frozenset)):
        kept = [_plain(item, items) for item in itertools.islice(value, items)]
        return kept if len(kept) == len(value) else [*kept, f"… {len(value) - len(kept)} more"]
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name), items) for field in fields(value)}
    return value


def _encode_default(value: Any) -> Any:
    """For orjson: sets come out sorted, so that equal records have equal bytes."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"an audit record cannot hold a {type(value).__name__}")
