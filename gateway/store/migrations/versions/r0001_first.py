"""The first schema."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The oldest revision whose gateway can still use the schema after this step (expand, then contract).
OLDEST_READER = 1


def _json() -> sa.types.TypeEngine[Any]:
    return sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text()) for name in names]


def _names(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String(255)) for name in names]


def upgrade() -> None:
    _history()
    _audit()
    _work()
    info = op.create_table(
        "schema_info",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("oldest_reader", sa.Integer(), nullable=False),
    )
    op.bulk_insert(info, [{"id": 1, "oldest_reader": OLDEST_READER}])


def _history() -> None:
    op.create_table(
        "queries",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        *_texts("process", "principal", "impersonator"),
        sa.Column("groups", _json()),
        *_names("wire"),
        *_texts("source", "peer"),
        *_names("kind", "fingerprint", "emitted"),
        sa.Column("relations", _json()),
        *_names("engine", "backend_group", "backend"),
        *_texts("engine_query_id"),
        *_names("decision", "refusal"),
        *_texts("rule"),
        *_names("outcome"),
        *_texts("error_code"),
        *(sa.Column(name, sa.BigInteger()) for name in ("rows", "bytes_out", "bytes_scanned")),
        *(sa.Column(name, sa.Double()) for name in ("queued_ms", "decide_ms", "first_byte_ms", "total_ms")),
        sa.Column("trail", _json()),
    )
    op.create_index("queries_time", "queries", ["time_us", "id"])
    op.create_index("queries_principal_time", "queries", ["principal", "time_us"])
    op.create_index("queries_fingerprint_time", "queries", ["fingerprint", "time_us"])
    op.create_index("queries_engine_query_id", "queries", ["engine_query_id"])
    op.create_table(
        "statements",
        sa.Column("query_id", sa.String(64), primary_key=True),
        sa.Column("part", sa.String(16), primary_key=True),
        sa.Column("time_us", sa.BigInteger(), nullable=False, index=True),
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
    )


def _audit() -> None:
    op.create_table(
        "audit_heads",
        sa.Column("stream", sa.String(200), primary_key=True),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.String(64), nullable=False),
        sa.Column("segment", sa.BigInteger(), nullable=False),
        sa.Column("file_offset", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "audit_events",
        sa.Column("stream", sa.String(200), primary_key=True),
        sa.Column("n", sa.BigInteger(), primary_key=True),
        sa.Column("time_us", sa.BigInteger(), nullable=False, index=True),
        sa.Column("kind", sa.String(255), nullable=False),
        sa.Column("actor", sa.Text()),
        sa.Column("body", _json(), nullable=False),
    )


def _work() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("holder", sa.String(200), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("kind", sa.String(255), nullable=False),
        sa.Column("payload", _json(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("due_us", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.String(200)),
        sa.Column("lease_us", sa.BigInteger()),
        sa.Column("result", _json()),
        sa.Column("error", sa.Text()),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
    )
    op.create_index("jobs_due", "jobs", ["state", "kind", "due_us"])
    op.create_table(
        "settings",
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("value", _json(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
    )
