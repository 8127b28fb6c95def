"""The way from one schema to the next, by Alembic, which takes long to load."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from apigpu_common.errors import PreconditionFailed

log = logging.getLogger(__name__)

# Any number, but always the same: one replica at a time brings the schema up to date.
_LOCK = 7_405_926_535


def upgrade(url: str, revision: str, connect_timeout_s: float) -> None:
    if url.startswith("sqlite:"):
        _upgrade_sqlite(url, revision)
    else:
        asyncio.run(_upgrade_postgres(url, revision, connect_timeout_s))


def _upgrade_sqlite(url: str, revision: str) -> None:
    with create_engine(url, poolclass=NullPool).connect() as connection:
        # The driver itself begins no transaction before statements that change the schema.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        _run(connection, revision)
        connection.commit()


async def _upgrade_postgres(url: str, revision: str, timeout_s: float) -> None:
    # Slow to load, and not needed for SQLite.
    import asyncpg
    from sqlalchemy.ext.asyncio import create_async_engine

    # Connected by the driver, so that the URL means the same here as in the pool.
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: asyncpg.connect(url, timeout=timeout_s),
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
    ours = ScriptDirectory.from_config(config)
    found = MigrationContext.configure(connection).get_current_revision()
    if found is None or found in {script.revision for script in ours.walk_revisions()}:
        command.upgrade(config, revision)
    else:
        _accept(connection, found, ours.get_current_head() or "")


def _accept(connection: Connection, found: str, head: str) -> None:
    """A release after this one was here: go on with what it left, if it says that we can."""
    oldest = str(connection.exec_driver_sql("SELECT oldest FROM compatibility").scalar())
    if head < oldest:
        raise PreconditionFailed(
            "DATABASE_TOO_NEW",
            f"The database is of a newer version (schema {found}), and this one (schema {head})"
            " cannot use it: start the newer version, or restore the back-up that was made before.",
        )
    log.warning("the database is of a newer version (schema %s): going on with it", found)
