"""Every test of the store runs on both engines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from orchestrator.store.database import Database
from orchestrator.store.postgres import PostgresDatabase
from orchestrator.store.sqlite import SqliteDatabase
from orchestrator.store.store import Store


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, as the migrations name it."""
    if engine == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'jobs.sqlite3'}"


@pytest.fixture
def connect(engine: str, url: str) -> Callable[[], Database]:
    """Makes databases over the same data, each as another process would have it."""
    if engine == "postgres":
        return lambda: PostgresDatabase(url)
    return lambda: SqliteDatabase(Path(url.removeprefix("sqlite:///")))


@pytest.fixture
async def database(connect: Callable[[], Database]) -> AsyncIterator[Database]:
    database = connect()
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)
