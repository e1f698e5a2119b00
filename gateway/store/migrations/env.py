"""Alembic runs this file; the connection comes from `gateway.store.migrate`, never from an ini file."""

from __future__ import annotations

from alembic import context

from gateway.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # The caller's transaction holds the lock and is the one that commits.
    transactional_ddl=False,
    render_as_batch=True,
)
context.run_migrations()
