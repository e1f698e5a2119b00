"""The store's tables. Times are whole microseconds since 1970 (`*_us`), durations are milliseconds.

Migrations follow *expand, then contract*: a release may add tables, nullable columns and indexes; what the
previous release still reads or writes goes away one release later at the earliest. So two neighbouring
versions share a store while an upgrade rolls. `schema_info.oldest_reader` says which revision a gateway
must at least know to use this schema.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

metadata = sa.MetaData()

Json = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
Name = sa.String(255)

queries = sa.Table(
    "queries",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("time_us", sa.BigInteger, nullable=False),
    sa.Column("process", sa.Text),
    sa.Column("principal", sa.Text),
    sa.Column("impersonator", sa.Text),
    sa.Column("groups", Json),
    sa.Column("wire", Name),
    sa.Column("source", sa.Text),
    sa.Column("peer", sa.Text),
    sa.Column("kind", Name),
    sa.Column("fingerprint", Name),
    sa.Column("emitted", Name),
    sa.Column("relations", Json),
    sa.Column("engine", Name),
    sa.Column("backend_group", Name),
    sa.Column("backend", Name),
    sa.Column("engine_query_id", sa.Text),
    sa.Column("decision", Name),
    sa.Column("refusal", Name),
    sa.Column("rule", sa.Text),
    sa.Column("outcome", Name),
    sa.Column("error_code", sa.Text),
    sa.Column("rows", sa.BigInteger),
    sa.Column("bytes_out", sa.BigInteger),
    sa.Column("bytes_scanned", sa.BigInteger),
    sa.Column("queued_ms", sa.Double),
    sa.Column("decide_ms", sa.Double),
    sa.Column("first_byte_ms", sa.Double),
    sa.Column("total_ms", sa.Double),
    sa.Column("trail", Json),
    sa.Index("queries_time", "time_us", "id"),
    sa.Index("queries_principal_time", "principal", "time_us"),
    sa.Index("queries_fingerprint_time", "fingerprint", "time_us"),
    sa.Index("queries_engine_query_id", "engine_query_id"),
)

statements = sa.Table(
    "statements",
    metadata,
    sa.Column("query_id", sa.String(64), primary_key=True),
    sa.Column("part", sa.String(16), primary_key=True),
    sa.Column("time_us", sa.BigInteger, nullable=False, index=True),
    sa.Column("key_id", sa.String(32), nullable=False),
    sa.Column("nonce", sa.LargeBinary, nullable=False),
    sa.Column("ciphertext", sa.LargeBinary, nullable=False),
)

audit_heads = sa.Table(
    "audit_heads",
    metadata,
    sa.Column("stream", sa.String(200), primary_key=True),
    sa.Column("n", sa.BigInteger, nullable=False),
    sa.Column("head", sa.String(64), nullable=False),
    sa.Column("segment", sa.BigInteger, nullable=False),
    sa.Column("file_offset", sa.BigInteger, nullable=False),
    sa.Column("updated_us", sa.BigInteger, nullable=False),
)

audit_events = sa.Table(
    "audit_events",
    metadata,
    sa.Column("stream", sa.String(200), primary_key=True),
    sa.Column("n", sa.BigInteger, primary_key=True),
    sa.Column("time_us", sa.BigInteger, nullable=False, index=True),
    sa.Column("kind", Name, nullable=False),
    sa.Column("actor", sa.Text),
    sa.Column("body", Json, nullable=False),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("holder", sa.String(200), nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("expires_us", sa.BigInteger, nullable=False),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(200), primary_key=True),
    sa.Column("kind", Name, nullable=False),
    sa.Column("payload", Json, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("max_attempts", sa.Integer, nullable=False),
    sa.Column("due_us", sa.BigInteger, nullable=False),
    sa.Column("holder", sa.String(200)),
    sa.Column("lease_us", sa.BigInteger),
    sa.Column("result", Json),
    sa.Column("error", sa.Text),
    sa.Column("updated_us", sa.BigInteger, nullable=False),
    sa.Index("jobs_due", "state", "kind", "due_us"),
)

settings = sa.Table(
    "settings",
    metadata,
    sa.Column("key", sa.String(200), primary_key=True),
    sa.Column("value", Json, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("updated_us", sa.BigInteger, nullable=False),
)

schema_info = sa.Table(
    "schema_info",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("oldest_reader", sa.Integer, nullable=False),
)
