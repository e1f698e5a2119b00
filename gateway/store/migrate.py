"""Bring a store's schema to this version, once, whoever starts first; refuse what we do not understand."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from gateway.store.tables import schema_info

ADVISORY_LOCK = 0x6761_7465_7761_7901
LOCK_TIMEOUT = "60s"


class SchemaError(Exception):
    """The store's schema cannot be used by this version; the message says what to do."""


def _config(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def known_revisions() -> list[str]:
    """Every revision this version knows, oldest first."""
    return [step.revision for step in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]


def current_revision(connection: sa.Connection) -> str | None:
    """The schema's revision; None for a store without one."""
    return MigrationContext.configure(connection).get_current_revision()


def prepare(connection: sa.Connection, migrate: bool) -> str:
    """Make the schema usable, inside the caller's transaction, and return its revision.

    Another process doing the same is waited for (PostgreSQL: an advisory lock; SQLite: the caller began
    the transaction as a writer). Raises SchemaError.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
    known = known_revisions()
    revision = current_revision(connection)
    if revision == known[-1]:
        return revision
    if revision is not None and revision not in known:
        return _check_newer(connection, revision, known[-1])
    if not migrate:
        raise SchemaError(
            f"the store's schema is at {revision or 'nothing'} and this version needs {known[-1]}: start one "
            "gateway that may migrate (`store.migrate: true`, the default), then the others"
        )
    if revision is None and (strangers := set(sa.inspect(connection).get_table_names())):
        raise SchemaError(
            f"the store's database already holds tables that are not ours ({sorted(strangers)[0]}, …): "
            "give it a database or a schema of its own in `store.url`"
        )
    command.upgrade(_config(connection), "head")
    return known[-1]


def _check_newer(connection: sa.Connection, revision: str, ours: str) -> str:
    if not (revision.isdigit() and sa.inspect(connection).has_table(schema_info.name)):
        raise SchemaError(
            f"the store's schema has revision {revision!r}, which no version of this gateway made: check "
            "`store.url`"
        )
    oldest = connection.execute(sa.select(schema_info.c.oldest_reader)).scalar_one()
    if int(ours) < oldest:
        raise SchemaError(
            f"the store's schema ({revision}) is newer than this version can use (it knows {ours}, "
            f"the schema asks for {oldest}): upgrade this gateway, or restore the backup made before it "
            "was upgraded"
        )
    return revision
