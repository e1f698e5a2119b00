"""Errors in ClickHouse's own words: code, name, HTTP status and the text that its clients parse."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.core.decision import Refusal, RefusalCode
from gateway.identity.contract import AuthenticationFailed

# Code -> (name, HTTP status), each measured on ClickHouse 26.7 with throwIf(1, 'x', toInt16(code)).
KNOWN: dict[int, tuple[str, int]] = {
    36: ("BAD_ARGUMENTS", 400),
    48: ("NOT_IMPLEMENTED", 501),
    60: ("UNKNOWN_TABLE", 404),
    62: ("SYNTAX_ERROR", 400),
    115: ("UNKNOWN_SETTING", 404),
    159: ("TIMEOUT_EXCEEDED", 408),
    168: ("TOO_BIG_AST", 400),
    194: ("REQUIRED_PASSWORD", 401),
    202: ("TOO_MANY_SIMULTANEOUS_QUERIES", 500),
    210: ("NETWORK_ERROR", 500),
    279: ("ALL_CONNECTION_TRIES_FAILED", 500),
    307: ("TOO_MANY_BYTES", 500),
    381: ("HTTP_LENGTH_REQUIRED", 411),
    394: ("QUERY_WAS_CANCELLED", 500),
    497: ("ACCESS_DENIED", 500),
    516: ("AUTHENTICATION_FAILED", 403),
    1001: ("STD_EXCEPTION", 500),
}

BAD_ARGUMENTS = 36
NOT_IMPLEMENTED = 48
HTTP_LENGTH_REQUIRED = 381
STD_EXCEPTION = 1001
SYNTAX_ERROR = 62
UNKNOWN_SETTING = 115
TIMEOUT_EXCEEDED = 159
NETWORK_ERROR = 210
ALL_CONNECTION_TRIES_FAILED = 279
QUERY_WAS_CANCELLED = 394
ACCESS_DENIED = 497
AUTHENTICATION_FAILED = 516

_OF_REFUSAL: dict[RefusalCode, int] = {
    RefusalCode.SYNTAX: 62,
    RefusalCode.NOT_SUPPORTED: 48,
    RefusalCode.TOO_LARGE: 62,  # as "Max query size exceeded" is
    RefusalCode.TOO_COMPLEX: 168,
    RefusalCode.NOT_FOUND: 60,
    RefusalCode.DENIED: 497,
    RefusalCode.BAD_SETTING: 115,
    RefusalCode.BUDGET: 307,
    RefusalCode.QUEUE_FULL: 202,
    RefusalCode.TIMEOUT: 159,
    RefusalCode.NO_BACKEND: 279,
    RefusalCode.UNAVAILABLE: 210,
    RefusalCode.CANCELLED: 394,
    RefusalCode.INTERNAL: 1001,
}

EXPOSED_HEADERS = (
    "X-ClickHouse-Query-Id,X-ClickHouse-Summary,X-ClickHouse-Server-Display-Name,X-ClickHouse-Format,"
    "X-ClickHouse-Timezone,X-ClickHouse-Exception-Code,X-ClickHouse-Exception-Tag"
)
_TEXT = ("Content-Type", "text/plain; charset=UTF-8")


class WireError(Exception):
    """An error to tell a client; `code` is ClickHouse's number. The message is safe to show."""

    def __init__(self, code: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = headers

    @property
    def name(self) -> str:
        """ClickHouse's name of the code."""
        return KNOWN[self.code][0]

    @property
    def status(self) -> int:
        """The HTTP status that ClickHouse answers this code with."""
        return KNOWN[self.code][1]

    def text(self) -> str:
        """`Code: 62. DB::Exception: … (SYNTAX_ERROR) (version gateway)`, as clients parse it."""
        message = self.message.rstrip()
        stop = "" if message.endswith((".", "!", "?")) else "."
        return f"Code: {self.code}. DB::Exception: {message}{stop} ({self.name}) (version gateway)\n"


def of_refusal(refusal: Refusal) -> WireError:
    """The refusal with its place and its ways out."""
    place = f" ({refusal.position})" if refusal.position is not None else ""
    return WireError(_OF_REFUSAL[refusal.code], refusal.sentence() + place)


def log_in_failed(user: str, error: AuthenticationFailed) -> WireError:
    """As ClickHouse 26.7: 403 for a named user; for `default` 401 with a challenge, as nobody logged in yet."""
    headers = [] if error.retry_after is None else [("Retry-After", str(int(error.retry_after) + 1))]
    shown = "".join(c if c.isprintable() else "?" for c in user[:100])
    if user in ("", "default"):
        headers.append(("WWW-Authenticate", 'Basic realm="ClickHouse server HTTP API"'))
        return WireError(194, f"default: Authentication failed: {error}", tuple(headers))
    return WireError(AUTHENTICATION_FAILED, f"{shown}: Authentication failed: {error}", tuple(headers))


def render(
    error: WireError, *, query_id: str | None = None, extra: Iterable[tuple[str, str]] = ()
) -> tuple[int, list[tuple[str, str]], bytes]:
    """(status, headers, body) of an error answer. `query_id` is the client's own id, latin-1 ready."""
    headers = [
        _TEXT,
        ("Access-Control-Expose-Headers", EXPOSED_HEADERS),
        ("X-ClickHouse-Exception-Code", str(error.code)),
        *error.headers,
        *extra,
    ]
    if query_id is not None:
        headers.append(("X-ClickHouse-Query-Id", query_id))
    return error.status, headers, error.text().encode("utf-8", "surrogateescape")
