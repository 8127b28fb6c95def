"""The schema and its history (Alembic). Written as plain SQL that every engine takes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

# Any number, but always the same: one replica at a time brings the schema up to date.
_LOCK = 7_405_926_535
_CONNECT_TIMEOUT_S = 10.0


def upgrade(url: str, revision: str = "head") -> None:
    """Bring a database to `revision`, from wherever it is: all the way or not at all.

    url: "sqlite:///PATH" or "postgresql://...". Not to be called in an event loop's thread.
    """
    if url.startswith("sqlite:"):
        _upgrade_sqlite(url, revision)
    else:
        asyncio.run(_upgrade_postgres(url, revision))


def _upgrade_sqlite(url: str, revision: str) -> None:
    with create_engine(url, poolclass=NullPool).connect() as connection:
        # The driver itself begins no transaction before statements that change the schema.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        _run(connection, revision)
        connection.commit()


async def _upgrade_postgres(url: str, revision: str) -> None:
    # Slow to load, and not needed for SQLite.
    import asyncpg
    from sqlalchemy.ext.asyncio import create_async_engine

    # Connected by the driver, so that the URL means the same here as in the pool.
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: asyncpg.connect(url, timeout=_CONNECT_TIMEOUT_S),
        poolclass=NullPool,
    )
    async with engine.begin() as connection:
        await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        await connection.run_sync(_run, revision)
    await engine.dispose()


def _run(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
