"""Bounds on everything that a client can make the gateway do."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.settings.kinds import Duration, Section, Size


class Limits(Section):
    """Bounds on requests and statements. Reaching one is a refusal that names it."""

    statement_bytes: Annotated[Size, Field(ge=1024, le=16 * 2**20)] = 1_000_000
    """The longest statement text."""
    statement_tokens: Annotated[int, Field(ge=100, le=5_000_000)] = 200_000
    """The most tokens in a statement."""
    statement_depth: Annotated[int, Field(ge=10, le=1000)] = 200
    """The deepest nesting of brackets in a statement."""
    header_bytes: Annotated[Size, Field(ge=4096, le=4 * 2**20)] = 256 * 1024
    """The most bytes in the headers of a request (prepared statements travel there)."""
    decide_cpu: Annotated[Duration, Field(ge=0.05, le=60)] = 2.0
    """CPU time for one decision; a statement that needs more is refused."""
    inline_statement_bytes: Annotated[Size, Field(ge=0, le=2**20)] = 8 * 1024
    """Longer statements are decided in a child process that can be killed."""
    inline_statement_tokens: Annotated[int, Field(ge=0, le=100_000)] = 2000
    """Statements with more tokens are decided in a child process that can be killed."""
    probe_timeout: Annotated[Duration, Field(ge=0.1, le=60)] = 5.0
    """The longest wait for one question to an engine while deciding."""
    per_principal_concurrent: Annotated[int, Field(ge=1, le=100_000)] = 20
    """Queries that one principal may run at a time."""
    per_principal_queued: Annotated[int, Field(ge=0, le=100_000)] = 100
    """Queries of one principal that may wait."""
    queued: Annotated[int, Field(ge=0, le=1_000_000)] = 1000
    """Queries of everyone that may wait."""
    queue_seconds: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """The longest wait for a slot, in seconds."""
    connections: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    """Client connections per process and listener."""
    request_head_timeout: Annotated[Duration, Field(ge=1, le=600)] = 30.0
    """The longest time a client may take to send the headers of a request."""
    client_idle_timeout: Annotated[Duration, Field(ge=1, le=86400)] = 300.0
    """A client connection without requests is closed after this time."""
    client_write_timeout: Annotated[Duration, Field(ge=1, le=86400)] = 300.0
    """A client that takes no bytes of its answer for this time is disconnected."""
    engine_connect_timeout: Annotated[Duration, Field(ge=0.1, le=60)] = 3.0
    """The longest wait for a connection to an engine."""
    engine_head_timeout: Annotated[Duration, Field(ge=1, le=86400)] = 65.0
    """The longest wait for the headers of a Trino answer. ClickHouse may be silent while it computes:
    its wait is `engine_idle_timeout`."""
    engine_idle_timeout: Annotated[Duration, Field(ge=1, le=86400)] = 300.0
    """The longest silence of an engine inside an answer."""
    decision_cache_entries: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000
    """Decisions remembered per process; 0 remembers none."""
