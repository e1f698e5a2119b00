"""Bring a store's schema to this version, once, whoever starts first; refuse what we do not understand.

Revisions are four-digit numbers in order, so that an older gateway can tell a newer schema from a foreign one.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from gateway.store.tables import schema_info

HEAD = "0001"
"""The newest revision in `migrations/versions`, repeated so that an up-to-date store opens without Alembic."""

ADVISORY_LOCK = 0x6761_7465_7761_7901

_version_table = sa.table("alembic_version", sa.column("version_num", sa.String))


class SchemaError(Exception):
    """The store's schema cannot be used by this version; the message says what to do."""


def usable_revision(connection: sa.Connection) -> str | None:
    """The schema's revision if this version can use it as it is; None if it must be brought up first.

    Raises SchemaError for a schema that is too new, or not ours.
    """
    revision = current_revision(connection)
    if revision is None:
        _check_empty(connection)
    elif not revision.isdecimal():
        raise SchemaError(
            f"the store's schema has revision {revision!r}, which no version of this gateway made: check "
            "`store.url`"
        )
    elif int(revision) >= int(HEAD):
        return _check_newer(connection, revision)
    return None


def upgrade(connection: sa.Connection) -> str | None:
    """Bring the schema up inside the caller's writing transaction; None while another process does it.

    PostgreSQL: an advisory lock keeps others out. SQLite: the caller's transaction does. Raises SchemaError.
    """
    if connection.dialect.name == "postgresql":
        lock = sa.select(sa.func.pg_try_advisory_xact_lock(ADVISORY_LOCK))
        if not connection.execute(lock).scalar_one():
            return None
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
    revision = usable_revision(connection)
    if revision is None:
        _upgrade(connection)
    return revision or HEAD


def current_revision(connection: sa.Connection) -> str | None:
    """The schema's revision; None for a store without one."""
    if not sa.inspect(connection).has_table(_version_table.name):
        return None
    return connection.execute(sa.select(_version_table.c.version_num)).scalar_one_or_none()


def _check_empty(connection: sa.Connection) -> None:
    strangers = set(sa.inspect(connection).get_table_names()) - {_version_table.name}
    if strangers:
        raise SchemaError(
            f"the store's database already holds tables that are not ours ({sorted(strangers)[0]}, …): "
            "give it a database or a schema of its own in `store.url`"
        )


def _check_newer(connection: sa.Connection, revision: str) -> str:
    oldest = connection.execute(sa.select(schema_info.c.oldest_reader)).scalar_one()
    if int(HEAD) < oldest:
        raise SchemaError(
            f"the store's schema ({revision}) is newer than this version can use (it knows {HEAD}, "
            f"the schema asks for {oldest}): upgrade this gateway, or restore the backup made before it "
            "was upgraded"
        )
    return revision


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command  # Not at the top: it takes longer to load than most stores take to open.
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
