"""What each protocol lets through."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from gateway.settings.kinds import Duration, Items, NonEmpty, Section, Shorthand, wrong


def _star_or_names(value: Any) -> Any:
    if value == "*":
        return ("*",)
    if isinstance(value, str):
        raise wrong("expected '*' or a list of names")
    return value


Allowed = Annotated[Items[NonEmpty], BeforeValidator(_star_or_names), Shorthand(const="*")]
"""`"*"` for all, or a list of names."""

CLICKHOUSE_SETTINGS = (
    "async_insert",
    "connect_timeout",
    "date_time_input_format",
    "date_time_output_format",
    "enable_http_compression",
    "extremes",
    "format_csv_delimiter",
    "http_headers_progress_interval_ms",
    "http_zlib_compression_level",
    "input_format_*",
    "join_use_nulls",
    "log_comment",
    "max_block_size",
    "max_bytes_to_read",
    "max_execution_time",
    "max_insert_block_size",
    "max_memory_usage",
    "max_query_size",
    "max_result_bytes",
    "max_result_rows",
    "max_rows_to_read",
    "max_threads",
    "output_format_*",
    "priority",
    "readonly",
    "receive_timeout",
    "result_overflow_mode",
    "send_progress_in_http_headers",
    "send_timeout",
    "session_timezone",
    "timeout_overflow_mode",
    "wait_end_of_query",
    "wait_for_async_insert",
)
"""Settings that change speed, limits or the look of results, never what may be read."""


class ClickHouseWire(Section):
    """The ClickHouse HTTP protocol."""

    settings_allowed: Items[NonEmpty] = CLICKHOUSE_SETTINGS
    """Settings that a client may send; a trailing `*` matches any ending."""
    on_forbidden_setting: Literal["refuse", "drop"] = "refuse"
    """What happens to a request with another setting: refused, or run without it and told so in a header."""
    external_data: Literal["allow", "refuse"] = "allow"
    """Whether clients may send temporary tables along (multipart)."""
    sessions: Literal["allow", "refuse"] = "allow"
    """Whether clients may keep sessions (`session_id`); each is pinned to one backend."""
    kill_on_disconnect: bool = True
    """Whether a query is killed on the engine when its client goes away."""


class TrinoWire(Section):
    """The Trino client protocol."""

    session_properties_allowed: Allowed = ("*",)
    """Session properties that a client may set: `"*"`, or a list of names (with catalog)."""
    spooling: Literal["withhold"] = "withhold"
    """Spooled results would bypass the gateway, so clients are not offered them."""
    extra_credentials: Literal["refuse", "drop"] = "refuse"
    """What happens to `X-Trino-Extra-Credential`: it would reach connectors around the gateway's rules."""
    abandoned_after: Duration = 300.0
    """A query whose client does not come back for its next page ends after this time."""
