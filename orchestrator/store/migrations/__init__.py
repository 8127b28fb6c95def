"""The schema and its history (Alembic). Written as plain SQL that every engine takes.

There is only one direction: what goes back is the program (see revision 0008).
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

_CONNECT_TIMEOUT_S = 10.0
_FOUND = "SELECT version_num FROM alembic_version"


def upgrade(url: str, revision: str = "") -> None:
    """Bring a database to `revision` (default: the latest), from wherever it is: all the way or
    not at all. One that a later release has brought further is left as it is.

    url: "sqlite:///PATH" or "postgresql://...". Not to be called in an event loop's thread.
    """
    revision = revision or latest()
    if _found(url) == revision:
        return
    # A third of the service's start, and seldom needed.
    from orchestrator.store.migrations import apply

    apply.upgrade(url, revision, _CONNECT_TIMEOUT_S)


def latest() -> str:
    """The end of the chain: its files are named by their revisions."""
    return max(file.name for file in (Path(__file__).parent / "versions").glob("*.py"))[:4]


def _found(url: str) -> str:
    """The revision that a database has; "" where it has none."""
    if not url.startswith("sqlite:"):
        return asyncio.run(_found_postgres(url))
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        try:
            row = connection.execute(_FOUND).fetchone()
        except sqlite3.OperationalError:
            return ""
    return str(row[0]) if row else ""


async def _found_postgres(url: str) -> str:
    import asyncpg  # slow to load, and not needed for SQLite

    connection = await asyncpg.connect(url, timeout=_CONNECT_TIMEOUT_S)
    try:
        if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
            return ""
        return str(await connection.fetchval(_FOUND) or "")
    finally:
        await connection.close()
