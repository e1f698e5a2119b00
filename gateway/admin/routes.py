"""The API's routes as data: the server dispatches by this table and the OpenAPI document is made from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateway.admin import contract
from gateway.store.records import QueryRecord


class In(StrEnum):
    """Where a parameter is."""

    PATH = "path"
    QUERY = "query"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a route; `type` is JSON Schema's word."""

    name: str
    where: In = In.QUERY
    type: str = "string"
    help: str = ""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, as a word for programs and a sentence for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Failure:
    """The body of every answer that is not a success."""

    error: Problem


@dataclass(frozen=True, slots=True)
class Route:
    """`name` is the operation's id and the server's method.

    `audited` routes change something, or show what somebody else would see.
    """

    name: str
    method: str
    path: str
    summary: str
    returns: type[Any] | None = None
    parameters: tuple[Parameter, ...] = ()
    body: type[Any] | None = None
    status: int = 200
    failures: tuple[int, ...] = ()
    audited: bool = False
    media: str = "application/json"


def _path(name: str, text: str) -> Parameter:
    return Parameter(name, In.PATH, help=text, required=True)


def _filters(*names: str) -> tuple[Parameter, ...]:
    return tuple(Parameter(name, help=f"Only queries with this {name.replace('_', ' ')}.") for name in names)


_ID = _path("id", "The gateway's query id, or the engine's.")
_BACKEND = _path("name", "The backend's name in the configuration.")

ROUTES: tuple[Route, ...] = (
    Route(
        "live_queries",
        "GET",
        "/v1/queries",
        "Queries that are being decided, wait or run now.",
        contract.LiveQueries,
        _filters("principal", "wire", "state", "engine", "backend"),
    ),
    Route(
        "history",
        "GET",
        "/v1/queries/history",
        "Past queries, newest first.",
        contract.HistoryPage,
        (
            *_filters("principal", "process", "wire", "source", "kind", "fingerprint", "engine", "backend"),
            *_filters("engine_query_id", "decision", "outcome"),
            Parameter("since", type="number", help="From this Unix time on."),
            Parameter("until", type="number", help="Before this Unix time."),
            Parameter("limit", type="integer", help="At most so many, 1 to 1000; 100 if not given."),
            Parameter("cursor", help="Continue after an earlier page."),
        ),
    ),
    Route(
        "query",
        "GET",
        "/v1/queries/{id}",
        "One query with its trail.",
        QueryRecord,
        (_ID,),
        failures=(404,),
    ),
    Route(
        "texts",
        "GET",
        "/v1/queries/{id}/texts",
        "The stored texts of a query. Reading them is audited.",
        contract.QueryTexts,
        (_ID, Parameter("purpose", help="Why; it goes into the audit.", required=True)),
        failures=(404, 503),
    ),
    Route(
        "cancel",
        "DELETE",
        "/v1/queries/{id}",
        "Stop a live query.",
        contract.Cancelled,
        (_ID,),
        status=202,
        failures=(404, 503),
        audited=True,
    ),
    Route("backends", "GET", "/v1/backends", "Every backend and its health.", contract.BackendStates),
    Route(
        "drain",
        "POST",
        "/v1/backends/{name}/drain",
        "Send no new query to a backend; running ones go on.",
        contract.BackendState,
        (_BACKEND,),
        failures=(404, 503),
        audited=True,
    ),
    Route(
        "undrain",
        "POST",
        "/v1/backends/{name}/undrain",
        "Use a drained backend again.",
        contract.BackendState,
        (_BACKEND,),
        failures=(404, 503),
        audited=True,
    ),
    Route(
        "snapshot", "GET", "/v1/snapshot", "Versions of what decisions are made from.", contract.SnapshotInfo
    ),
    Route(
        "reload",
        "POST",
        "/v1/reload",
        "Read the configuration again; a bad one is refused and the last good one stays.",
        contract.Reloaded,
        failures=(503,),
        audited=True,
    ),
    Route(
        "explain",
        "POST",
        "/v1/explain",
        "Decide a statement without running it.",
        contract.Explained,
        body=contract.ExplainRequest,
        failures=(413, 503),
        audited=True,
    ),
    Route("health", "GET", "/v1/health", "What is well and what is not.", contract.Health),
    Route("config", "GET", "/v1/config", "The active configuration without secrets.", contract.Config),
    Route(
        "verify_audit",
        "GET",
        "/v1/audit/verify",
        "Follow every hash chain of the audit.",
        contract.AuditVerified,
        failures=(503,),
    ),
    Route("openapi", "GET", "/openapi.json", "This document.", dict),
    Route(
        "query_page",
        "GET",
        "/ui/query/{id}",
        "A query's trail as a page for people.",
        None,
        (_ID,),
        failures=(404,),
        media="text/html",
    ),
)
