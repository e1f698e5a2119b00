"""What a client asked, understood from method, URL and headers; bodies are read in `body.py`.

The request that goes to an engine is built from this value alone (`upstream.py`): nothing that is not
understood here can reach an engine. Precedence as in ClickHouse 26.7's HTTPHandler: headers for database and
format beat their parameters, the URL's query_id beats its header.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.core.statement import Pairs
from gateway.wire.clickhouse.errors import (
    ACCESS_DENIED,
    BAD_ARGUMENTS,
    NOT_IMPLEMENTED,
    UNKNOWN_SETTING,
    WireError,
)
from gateway.wire.clickhouse.multipart import Form
from gateway.wire.clickhouse.options import ClickHouseOptions
from gateway.wire.clickhouse.query_string import parse_query_string
from gateway.wire.clickhouse.settings import UnknownSettings
from gateway.wire.http.message import Headers

MAX_ID_BYTES = 256
MAX_SESSION_TIMEOUT_S = 3600
_DIGITS = re.compile(r"[0-9]{1,9}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

# Parameters that steer the request; every other name is a setting.
_FLAGS = frozenset({"wait_end_of_query", "session_check", "close_session", "compress", "decompress"})
_NUMBERS = frozenset({"buffer_size", "session_timeout", "client_protocol_version"})
_TEXTS = frozenset({"query", "database", "default_format", "query_id", "session_id", "user", "password"})
_SAID_DROPPED = frozenset({"quota_key", "stacktrace"})
RESERVED = _FLAGS | _NUMBERS | _TEXTS | _SAID_DROPPED | {"role"}
_TABLE_SUFFIXES = ("_structure", "_types", "_format")


@dataclass(frozen=True, slots=True)
class ClickHouseRequest:
    """One request without its body and without the proof of who sent it.

    `query` is the URL's part of the statement ("" where there is none). `control` are the parameters that
    steer transport and session, `settings` and `parameters` are sorted by name. `dropped` names what was
    left out by policy. `read_only`: the method or a setting forbids writes. `external` describes tables
    that come with the request.
    """

    method: str
    query: str = ""
    database: str | None = None
    default_format: str | None = None
    query_id: str | None = None
    session_id: str | None = None
    control: Pairs = ()
    settings: Pairs = ()
    parameters: Pairs = ()
    roles: tuple[str, ...] = ()
    external: Pairs = ()
    dropped: tuple[str, ...] = ()
    user: str | None = None
    password: str | None = None
    read_only: bool = False
    native_body: bool = False
    native_answer: bool = False
    content_encoding: str = ""
    boundary: str | None = None
    user_agent: str = ""
    accept_encoding: str = ""
    origin: bool = False
    trace: str | None = None
    http_11: bool = True


def parse_request(
    method: str,
    query: str,
    headers: Headers,
    options: ClickHouseOptions,
    form: Form | None = None,
    *,
    http_11: bool = True,
) -> ClickHouseRequest:
    """Read URL and headers, and the multipart body once it was read.

    Until then, parameters that may describe its tables are not judged.

    Raises WireError for what is ambiguous (a repeated parameter), malformed, or not allowed.
    """
    seen: dict[str, str] = {}
    settings: list[tuple[str, str]] = []
    parameters: list[tuple[str, str]] = []
    external: list[tuple[str, str]] = []
    dropped: list[str] = []
    roles: list[str] = []
    boundary = _boundary(headers)
    pairs = parse_query_string(query)
    if form is not None:
        pairs += form.fields
    for name, value in pairs:
        if name == "role":
            roles.append(value)
            continue
        if name in seen:
            raise WireError(
                BAD_ARGUMENTS, f"The parameter '{_shown(name)}' is given more than once; give it exactly once"
            )
        seen[name] = value
        if name in RESERVED:
            if name in _SAID_DROPPED:
                dropped.append(name)
        elif name.startswith("param_"):
            parameters.append((name[6:], value))
        elif boundary is not None and name.endswith(_TABLE_SUFFIXES) and _describes_table(name, form):
            external.append((name, value))
        elif _accept_setting(name, value, options):
            settings.append((name, value))
        else:
            dropped.append(name)
    settings.sort()
    parameters.sort()
    if roles and not options.pass_roles:
        raise WireError(
            ACCESS_DENIED, "The parameter 'role' is not accepted: your roles come from the gateway"
        )
    if "X-ClickHouse-Quota" in headers:
        dropped.append("X-ClickHouse-Quota")
    return ClickHouseRequest(
        method=method,
        query=seen.get("query", ""),
        database=_last_word(headers, "X-ClickHouse-Database", seen.get("database")),
        default_format=_last_word(headers, "X-ClickHouse-Format", seen.get("default_format")),
        query_id=_checked_id("query_id", seen.get("query_id") or _utf8(headers.get("X-ClickHouse-Query-Id"))),
        session_id=_checked_id("session_id", seen.get("session_id")),
        control=_control(seen) if seen else (),
        settings=tuple(settings),
        parameters=tuple(parameters),
        roles=tuple(roles),
        external=tuple(external),
        dropped=tuple(dropped),
        user=seen.get("user"),
        password=seen.get("password"),
        read_only=method in ("GET", "HEAD") or any(n == "readonly" and v != "0" for n, v in settings),
        native_body=_flag(seen.get("decompress")),
        native_answer=_flag(seen.get("compress")),
        content_encoding=_content_encoding(headers),
        boundary=boundary,
        user_agent=headers.get("User-Agent") or "",
        accept_encoding=", ".join(headers.get_all("Accept-Encoding")),
        origin="Origin" in headers,
        trace=_trace(headers),
        http_11=http_11,
    )


def _describes_table(name: str, form: Form | None) -> bool:
    return form is None or any(name.rpartition("_")[0] == table.name for table in form.tables)


def _accept_setting(name: str, value: str, options: ClickHouseOptions) -> bool:
    policy = options.settings
    if policy.accepts(name):
        if name == "readonly" and value not in ("0", "1", "2"):
            raise WireError(BAD_ARGUMENTS, "The setting 'readonly' is 0, 1 or 2")
        return True
    if policy.passes_unknown(name):
        return True
    if policy.unknown is UnknownSettings.DROP:
        return False
    raise WireError(
        UNKNOWN_SETTING,
        f"The setting '{_shown(name)}' is unknown to this gateway or not allowed here. "
        "Leave it out, or ask your operator to list it under the ClickHouse settings",
    )


def _control(seen: dict[str, str]) -> Pairs:
    """Transport and session parameters, validated, in fixed order."""
    found: list[tuple[str, str]] = []
    for name in ("buffer_size", "client_protocol_version", "close_session", "compress", "session_check",
                 "session_timeout", "wait_end_of_query"):  # fmt: skip
        value = seen.get(name)
        if value is None or value == "":
            continue
        if name in _NUMBERS and _DIGITS.fullmatch(value) is None:
            raise WireError(BAD_ARGUMENTS, f"The parameter '{name}' is a whole number")
        if name in _FLAGS:
            value = "1" if _flag(value) else "0"
        found.append((name, value))
    return tuple(found)


def _flag(value: str | None) -> bool:
    """As ClickHouse reads a boolean parameter; anything else is an error there and here."""
    if value is None or value in ("", "0", "false"):
        return False
    if value in ("1", "true"):
        return True
    raise WireError(BAD_ARGUMENTS, "A flag among the URL's parameters is neither 0 nor 1")


def _last_word(headers: Headers, name: str, parameter: str | None) -> str | None:
    values = headers.get_all(name)
    if len(values) > 1:
        raise WireError(BAD_ARGUMENTS, f"The header {name} is given more than once")
    return (_utf8(values[0]) if values else None) or parameter or None


def _utf8(value: str | None) -> str | None:
    """Header fields arrive as latin-1; ClickHouse takes their bytes as they are."""
    if value is None or value.isascii():
        return value
    return value.encode("latin-1").decode("utf-8", "surrogateescape")


def _checked_id(kind: str, value: str | None) -> str | None:
    if not value:
        return None
    if len(value) > MAX_ID_BYTES or _CONTROL.search(value) or value != value.strip():
        raise WireError(
            BAD_ARGUMENTS, f"The {kind} is longer than {MAX_ID_BYTES} characters or holds control characters"
        )
    return value


def _content_encoding(headers: Headers) -> str:
    values = headers.get_all("Content-Encoding")
    if not values:
        return ""
    encoding = values[0].strip().lower()
    if len(values) > 1 or "," in encoding:
        raise WireError(NOT_IMPLEMENTED, "Only one Content-Encoding is supported")
    return "" if encoding == "identity" else encoding


def _boundary(headers: Headers) -> str | None:
    kind = headers.get("Content-Type")
    if kind is None or not kind[:20].lower().startswith("multipart/form-data"):
        return None
    match = re.search(r'boundary=(?:"([^"\r\n]{1,200})"|([^;,\s"]{1,200}))', kind, re.IGNORECASE)
    if match is None:
        raise WireError(BAD_ARGUMENTS, "The multipart body has no boundary in its Content-Type")
    return match[1] or match[2]


def _trace(headers: Headers) -> str | None:
    value = headers.get("traceparent")
    return value if value is not None and _TRACEPARENT.fullmatch(value) else None


def _shown(name: str) -> str:
    """A name for an error text: bounded, without line ends or bytes that are no text."""
    return _CONTROL.sub("?", name[:64]).encode("utf-8", "replace").decode()
