"""What all tests share: a PostgreSQL server that is started when the first test wants it."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from hypothesis import settings

from tests import postgres

# Nothing is timed to pass: pytest's own time limit catches what hangs.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a database whose user may make more of them. One server for all tests."""
    # Not in pytest's folder, which is for its user alone: the server has a user of its own.
    folder = Path(tempfile.mkdtemp(prefix="apigpu-postgres-"))
    try:
        url = postgres.start(folder)
        asyncio.run(_spare_the_disk(url))
        yield url
    finally:
        postgres.remove(folder)


async def _spare_the_disk(url: str) -> None:
    """Tests kill processes, not the machine."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("ALTER SYSTEM SET fsync = off")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()


@asynccontextmanager
async def _database(server: str) -> AsyncIterator[str]:
    """The URL of a new database."""
    name = f"test_{secrets.token_hex(6)}"
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


@pytest.fixture
async def postgres_url(postgres_server: str) -> AsyncIterator[str]:
    """The URL of an empty database of this test's own."""
    async with _database(postgres_server) as url:
        yield url


@pytest.fixture
async def empty_postgres_url(postgres_server: str) -> AsyncIterator[str]:
    """Of a second one."""
    async with _database(postgres_server) as url:
        yield url
