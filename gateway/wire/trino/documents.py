"""The JSON documents of Trino's client protocol (`QueryResults`), built field by field in Trino's order.

Ids and URIs come first and statistics last, so that a relay can read both ends without the rows between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.wire.trino import errors
from gateway.wire.trino.errors import Failure
from gateway.wire.trino.types import TrinoType, client_name, encoder, signature


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of a result: its name and Trino type."""

    name: str
    type: TrinoType


@dataclass(frozen=True, slots=True)
class Warning:
    """A warning as clients show it: number, name, message."""

    code: int
    name: str
    message: str


@dataclass(frozen=True, slots=True)
class Stats:
    """What a document says about the progress of its query. Times in milliseconds, sizes in bytes."""

    state: str
    queued: bool = False
    scheduled: bool = False
    elapsed_ms: int = 0
    queued_ms: int = 0
    processed_rows: int = 0
    processed_bytes: int = 0
    peak_memory_bytes: int = 0
    fraction: float | None = None


def stats_document(stats: Stats) -> dict[str, Any]:
    """`StatementStats`: one node, one split, and a root stage once the query is planned."""
    done = stats.state in ("FINISHED", "FAILED")
    running = stats.scheduled and not done
    work = {
        "nodes": 1 if stats.scheduled else 0,
        "totalSplits": 1 if stats.scheduled else 0,
        "queuedSplits": 0,
        "runningSplits": 1 if running else 0,
        "completedSplits": 1 if stats.scheduled and done else 0,
    }
    measured = {
        "processedRows": stats.processed_rows,
        "processedBytes": stats.processed_bytes,
        "physicalInputBytes": stats.processed_bytes,
    }
    document: dict[str, Any] = {"state": stats.state, "queued": stats.queued, "scheduled": stats.scheduled}
    if stats.scheduled:
        fraction = 1.0 if done else stats.fraction
        document["progressPercentage"] = round(100 * fraction, 2) if fraction is not None else 0.0
        document["runningPercentage"] = 100.0 if running else 0.0
    document |= work | {
        "planningTimeMillis": 0,
        "analysisTimeMillis": 0,
        "cpuTimeMillis": stats.elapsed_ms,
        "wallTimeMillis": stats.elapsed_ms,
        "queuedTimeMillis": stats.queued_ms,
        "elapsedTimeMillis": stats.elapsed_ms,
        "finishingTimeMillis": 0,
        "physicalInputTimeMillis": 0,
        **measured,
        "physicalWrittenBytes": 0,
        "internalNetworkInputBytes": 0,
        "peakMemoryBytes": stats.peak_memory_bytes,
        "spilledBytes": 0,
    }
    if stats.scheduled:
        document["rootStage"] = {
            "stageId": "0",
            "state": stats.state,
            "done": done,
            **work,
            "cpuTimeMillis": stats.elapsed_ms,
            "wallTimeMillis": stats.elapsed_ms,
            **measured,
            "failedTasks": 0,
            "coordinatorOnly": True,
            "subStages": [],
        }
    return document


def column_documents(columns: Sequence[ResultColumn], *, parametric: bool = True) -> list[dict[str, Any]]:
    """`columns`: name, type as text, and its full signature."""
    return [
        {
            "name": column.name,
            "type": client_name(column.type, parametric=parametric),
            "typeSignature": signature(column.type, parametric=parametric),
        }
        for column in columns
    ]


@dataclass(frozen=True, slots=True)
class QueryResults:
    """One document. `data` holds rows already encoded: `[1,"a"],[2,"b"]` without the outer brackets."""

    id: str
    info_uri: str
    stats: Stats
    next_uri: str | None = None
    partial_cancel_uri: str | None = None
    columns: Sequence[Mapping[str, Any]] | None = None
    data: Sequence[bytes] | None = None
    failure: Failure | None = None
    warnings: Sequence[Warning] = field(default=())
    update_type: str | None = None
    update_count: int | None = None

    def encode(self) -> bytes:
        """The document as UTF-8 JSON; absent fields are left out, as Trino does."""
        head: dict[str, Any] = {"id": self.id, "infoUri": self.info_uri}
        if self.partial_cancel_uri is not None:
            head["partialCancelUri"] = self.partial_cancel_uri
        if self.next_uri is not None:
            head["nextUri"] = self.next_uri
        if self.columns is not None:
            head["columns"] = self.columns
        if not self.data:
            return orjson.dumps(head | self._tail())
        return b"".join(
            (
                orjson.dumps(head)[:-1],
                b',"data":[',
                b",".join(self.data),
                b"],",
                orjson.dumps(self._tail())[1:],
            )
        )

    def _tail(self) -> dict[str, Any]:
        tail: dict[str, Any] = {"stats": stats_document(self.stats)}
        if self.failure is not None:
            tail["error"] = errors.query_error(self.failure)
        tail["warnings"] = [
            {"warningCode": {"code": one.code, "name": one.name}, "message": one.message}
            for one in self.warnings
        ]
        if self.update_type is not None:
            tail["updateType"] = self.update_type
        if self.update_count is not None:
            tail["updateCount"] = self.update_count
        return tail


def encode_rows(
    columns: Sequence[ResultColumn], rows: Sequence[Sequence[Any]], *, parametric: bool = True
) -> list[bytes]:
    """Each row as the JSON array that a page holds."""
    encoders = [encoder(column.type, parametric=parametric) for column in columns]
    return [
        orjson.dumps([encode(value) for encode, value in zip(encoders, values, strict=True)])
        for values in rows
    ]
