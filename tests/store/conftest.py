"""One behaviour suite on both databases: a test that takes a URL or `store` runs on each."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gateway.store.store import Store


@asynccontextmanager
async def postgres_database(dsn: str, template: str = "template1") -> AsyncIterator[str]:
    """A database of its own, gone afterwards."""
    name = f"store_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(dsn)
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield f"{dsn.rpartition('/')[0]}/{name}"
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


def apart(work: Coroutine[Any, Any, None]) -> None:
    """Run in a loop of its own: fixtures asked for by an async fixture are made while its loop runs."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result(60)


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()


async def migrate(url: str) -> None:
    await (await Store.open(url)).close()


@pytest.fixture(params=["sqlite", "postgresql"])
async def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A database without a schema."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/store/gateway.db"
        return
    async with postgres_database(request.getfixturevalue("postgres_server").dsn) as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "gateway.db"
    apart(migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def postgres_template(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a migrated database that others are copied from."""
    dsn = request.getfixturevalue("postgres_server").dsn
    name = f"store_template_{uuid.uuid4().hex[:12]}"
    apart(execute(dsn, f"CREATE DATABASE {name}"))
    apart(migrate(f"{dsn.rpartition('/')[0]}/{name}"))
    yield name
    apart(execute(dsn, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(params=["sqlite", "postgresql"])
async def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A migrated database of its own, copied: migrating anew for each test would take most of the time."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "gateway.db")
        yield f"sqlite:///{tmp_path}/gateway.db"
        return
    dsn = request.getfixturevalue("postgres_server").dsn
    async with postgres_database(dsn, request.getfixturevalue("postgres_template")) as url:
        yield url


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = await Store.open(store_url)
    yield opened
    await opened.close()
