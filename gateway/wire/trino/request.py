"""What a client asks for by `POST /v1/statement`, and the headers that go upstream instead of its own.

Nothing of a client's request is copied: each header on the list below is parsed within bounds and written
anew. A header that is not on the list does not pass; credentials never do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.core.statement import Pairs, Statement, Wire
from gateway.wire.http.message import Headers
from gateway.wire.trino.fields import (
    LIMITS,
    BadField,
    FieldLimits,
    encode_prepared,
    encode_properties,
    items,
    prepared,
    properties,
    visible,
)

USER = "X-Trino-User"
ORIGINAL_USER = "X-Trino-Original-User"
SESSION = "X-Trino-Session"
PREPARED = "X-Trino-Prepared-Statement"
ROLE = "X-Trino-Role"
TRANSACTION = "X-Trino-Transaction-Id"
EXTRA_CREDENTIAL = "X-Trino-Extra-Credential"
RESOURCE_ESTIMATE = "X-Trino-Resource-Estimate"
CAPABILITIES = "X-Trino-Client-Capabilities"
CLIENT_TAGS = "X-Trino-Client-Tags"

_SINGLE = {
    "x-trino-catalog": 256,
    "x-trino-schema": 256,
    "x-trino-path": 4_096,
    "x-trino-time-zone": 64,
    "x-trino-language": 64,
    "x-trino-source": 1_024,
    "x-trino-client-info": 16_384,
    "x-trino-trace-token": 1_024,
    "x-trino-user": 256,
    "x-trino-original-user": 256,
    "x-trino-transaction-id": 512,
}
_ROLE = re.compile(r"NONE|ALL|ROLE\{.{1,256}\}", re.DOTALL)
_CAPABILITY = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_RESOURCES = frozenset({"EXECUTION_TIME", "CPU_TIME", "PEAK_MEMORY"})
_QUANTITY = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?\s?[A-Za-z]{1,2}")
# W3C Trace Context, section 3.2.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE = re.compile(r"[ -~]{1,512}")
_USER_AGENT = re.compile(r"[ -~]{1,256}")


class BadRequest(ValueError):
    """The request cannot be understood or is not allowed; the text says why and is safe to show."""


@dataclass(frozen=True, slots=True)
class RequestRules:
    """What the operator lets clients send. `extra_credentials` names those that may reach an engine."""

    limits: FieldLimits = field(default_factory=FieldLimits)
    extra_credentials: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A statement and what travels beside it without shaping its meaning.

    `transaction` is the header as sent (`NONE` tells the engine that the client can handle transactions).
    """

    statement: Statement
    transaction: str | None = None
    client_info: str | None = None
    trace_token: str | None = None
    user_agent: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    resource_estimates: Pairs = ()
    extra_credentials: Pairs = field(default=(), repr=False)

    @property
    def in_transaction(self) -> bool:
        return self.transaction is not None and self.transaction.upper() != "NONE"


def read_request(text: str, headers: Headers, rules: RequestRules) -> ClientRequest:
    """The client's request. Raises BadRequest with words for the client."""
    try:
        return _read(text, headers, rules)
    except BadField as bad:
        raise BadRequest(str(bad)) from None


def _read(text: str, headers: Headers, rules: RequestRules) -> ClientRequest:
    fields = _fields(headers)
    single = {
        name: _single(name, values, _SINGLE[name]) for name, values in fields.items() if name in _SINGLE
    }
    catalog, schema = single.get("x-trino-catalog"), single.get("x-trino-schema")
    if schema is not None and catalog is None:
        raise BadRequest("X-Trino-Schema is set but X-Trino-Catalog is not; set both or neither")
    transaction = single.get("x-trino-transaction-id")
    active = None if transaction is None or transaction.upper() == "NONE" else transaction
    limits = rules.limits
    statement = Statement(
        text=text,
        wire=Wire.TRINO,
        catalog=catalog,
        schema=schema,
        path=single.get("x-trino-path"),
        time_zone=single.get("x-trino-time-zone"),
        language=single.get("x-trino-language"),
        source=single.get("x-trino-source"),
        client_tags=_tags(_of(fields, CLIENT_TAGS), limits),
        properties=_session(_of(fields, SESSION), limits),
        prepared=prepared(PREPARED, values, limits) if (values := _of(fields, PREPARED)) else (),
        roles=_roles(_of(fields, ROLE), limits),
        capabilities=_capabilities(_of(fields, CAPABILITIES)),
        transaction=active,
    )
    return ClientRequest(
        statement=statement,
        transaction=transaction,
        client_info=single.get("x-trino-client-info"),
        trace_token=single.get("x-trino-trace-token"),
        user_agent=_matching(headers, "User-Agent", _USER_AGENT),
        traceparent=traceparent_of(headers),
        tracestate=_matching(headers, "tracestate", _TRACESTATE),
        resource_estimates=_estimates(_of(fields, RESOURCE_ESTIMATE), limits),
        extra_credentials=_extra_credentials(_of(fields, EXTRA_CREDENTIAL), rules),
    )


Fields = dict[str, list[str]]


def _fields(headers: Headers) -> Fields:
    """The protocol's own headers by lower-case name, looked at once."""
    fields: Fields = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower.startswith("x-trino-"):
            fields.setdefault(lower, []).append(value)
        elif lower.startswith("x-presto-"):
            raise BadRequest(
                "This server speaks Trino; X-Presto-* headers are not understood. "
                "Use a client of Trino 351 or newer, or configure it to send X-Trino-* headers"
            )
    return fields


def _of(fields: Fields, header: str) -> list[str]:
    return fields.get(header.lower(), _NO_VALUES)


_NO_VALUES: list[str] = []


def _single(lower: str, values: list[str], limit: int) -> str | None:
    header = "-".join(part.capitalize() for part in lower.split("-"))
    if len(values) > 1 and len(set(values)) > 1:
        raise BadRequest(f"{header} is given {len(values)} times with different values; send it once")
    return visible(header, values[0], limit)


def traceparent_of(headers: Headers) -> str | None:
    """The W3C trace context of a request, if it is well-formed."""
    return _matching(headers, "traceparent", _TRACEPARENT)


def _matching(headers: Headers, name: str, form: re.Pattern[str]) -> str | None:
    values = headers.get_all(name)
    return values[0] if len(values) == 1 and form.fullmatch(values[0]) else None


def _tags(values: list[str], limits: FieldLimits) -> tuple[str, ...]:
    if not values:
        return ()
    tags = items(CLIENT_TAGS, values, limits.entries)
    if sum(map(len, tags)) > limits.value_bytes:
        raise BadRequest(f"{CLIENT_TAGS} is larger than {limits.value_bytes} bytes")
    return tuple(dict.fromkeys(visible(CLIENT_TAGS, tag, limits.value_bytes) or "" for tag in tags))


def _capabilities(values: list[str]) -> frozenset[str]:
    names = items(CAPABILITIES, values, 64)
    if any(_CAPABILITY.fullmatch(name) is None for name in names):
        raise BadRequest(f"{CAPABILITIES} holds something that is not the name of a capability")
    return frozenset(names)


def _session(values: list[str], limits: FieldLimits) -> Pairs:
    if not values:
        return ()
    pairs = properties(SESSION, values, limits)
    for name, _ in pairs:
        parts = name.split(".")
        if len(parts) > 2 or not all(parts):
            raise BadRequest(f"{SESSION}: a name is neither `property` nor `catalog.property`")
    return pairs


def _roles(values: list[str], limits: FieldLimits) -> Pairs:
    pairs = properties(ROLE, values, limits) if values else ()
    if any(_ROLE.fullmatch(role) is None for _, role in pairs):
        raise BadRequest(f"{ROLE}: a role is not NONE, ALL or ROLE{{name}}")
    return pairs


def _estimates(values: list[str], limits: FieldLimits) -> Pairs:
    pairs = properties(RESOURCE_ESTIMATE, values, limits) if values else ()
    for name, value in pairs:
        if name.upper() not in _RESOURCES or _QUANTITY.fullmatch(value) is None:
            raise BadRequest(
                f"{RESOURCE_ESTIMATE}: use EXECUTION_TIME, CPU_TIME or PEAK_MEMORY with a duration or size"
            )
    return pairs


def _extra_credentials(values: list[str], rules: RequestRules) -> Pairs:
    pairs = properties(EXTRA_CREDENTIAL, values, rules.limits) if values else ()
    if any(name not in rules.extra_credentials for name, _ in pairs):
        raise BadRequest(
            f"{EXTRA_CREDENTIAL} is not passed on: credentials of clients stop at the gateway. "
            "Remove it, or ask your operator to allow that name"
        )
    return pairs


@dataclass(frozen=True, slots=True)
class Forwarded:
    """How clients reach us, told to backends that process `X-Forwarded-*`."""

    proto: str
    host: str
    port: int
    client: str

    def headers(self) -> list[tuple[str, str]]:
        return [
            ("X-Forwarded-Proto", self.proto),
            ("X-Forwarded-Host", self.host),
            ("X-Forwarded-Port", str(self.port)),
            ("X-Forwarded-For", self.client),
        ]


def upstream_headers(
    request: ClientRequest,
    engine: Iterable[tuple[str, str]],
    *,
    settings: Pairs = (),
    prepared_statements: Pairs | None = None,
    transaction: str | None = None,
    forwarded: Forwarded | None = None,
) -> list[tuple[str, str]]:
    """The headers of the POST to an engine.

    `engine` are the gateway's own user and credential headers; they win over everything. `settings` are
    session properties that the gateway adds and a client cannot override. `prepared_statements` replaces
    the client's own; `transaction` is the engine's id of it.
    """
    statement = request.statement
    built: list[tuple[str, str]] = [("Content-Type", "text/plain; charset=utf-8")]
    own = {name.lower() for name, _ in engine}
    for name, value in (
        ("X-Trino-Catalog", statement.catalog),
        ("X-Trino-Schema", statement.schema),
        ("X-Trino-Path", statement.path),
        ("X-Trino-Time-Zone", statement.time_zone),
        ("X-Trino-Language", statement.language),
        ("X-Trino-Source", statement.source),
        ("X-Trino-Client-Info", request.client_info),
        ("X-Trino-Trace-Token", request.trace_token),
        (CLIENT_TAGS, ",".join(statement.client_tags) or None),
        (CAPABILITIES, ",".join(sorted(statement.capabilities)) or None),
        (TRANSACTION, transaction if transaction is not None else _idle(request)),
        ("User-Agent", request.user_agent),
        ("traceparent", request.traceparent),
        ("tracestate", request.tracestate if request.traceparent else None),
    ):
        if value is not None and name.lower() not in own:
            built.append((name, value))
    session = tuple({**dict(statement.properties), **dict(settings)}.items())
    statements = statement.prepared if prepared_statements is None else prepared_statements
    built += [(SESSION, entry) for entry in encode_properties(session)]
    built += [(ROLE, entry) for entry in encode_properties(statement.roles)]
    built += [(RESOURCE_ESTIMATE, entry) for entry in encode_properties(request.resource_estimates)]
    built += [(EXTRA_CREDENTIAL, entry) for entry in encode_properties(request.extra_credentials)]
    built += [(PREPARED, entry) for entry in encode_prepared(statements)]
    built += forwarded.headers() if forwarded is not None else []
    return built + list(engine)


def _idle(request: ClientRequest) -> str | None:
    return "NONE" if request.transaction is not None and not request.in_transaction else None


__all__ = [
    "LIMITS",
    "BadRequest",
    "ClientRequest",
    "Forwarded",
    "RequestRules",
    "read_request",
    "traceparent_of",
    "upstream_headers",
]
