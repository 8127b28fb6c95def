"""The store as the rest of the orchestrator sees it. Every write is durable when it returns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchestrator.store.deliveries import Deliveries
from orchestrator.store.events import Events
from orchestrator.store.expiry import Expiry
from orchestrator.store.files import Files
from orchestrator.store.jobs import JOBS, OVER, Jobs
from orchestrator.store.kept_secrets import KeptSecrets
from orchestrator.store.keys import Keys
from orchestrator.store.patience import PatientDatabase
from orchestrator.store.sqlite import SqliteDatabase
from orchestrator.store.tasks import TASKS, Tasks

SQLITE_FILE = "jobs.sqlite3"


class Store(Jobs, Events, Tasks, Files, Keys, KeptSecrets, Deliveries, Expiry):
    """Jobs, their events and tasks, files, and keys, in one database."""

    def stand_for(self, holder: str) -> None:
        """Be seen by other replicas as `holder`. Before `open`."""
        self._db.stand_for(holder)

    async def open(self) -> None:
        await self._db.open()

    async def close(self) -> None:
        await self._db.close()

    def patient(self) -> Store:
        """The same for work in progress, which waits where callers are told to come back."""
        return Store(PatientDatabase(self._db))

    def when_jobs_change(self, callback: Callable[[str], None]) -> None:
        """Call it with the id of each job that another process has changed or deleted, and
        with "" whenever some may have been missed."""
        self._db.subscribe(JOBS, callback)

    def when_jobs_are_over(self, callback: Callable[[str], None]) -> None:
        """The same for jobs that another process has cancelled or ended."""
        self._db.subscribe(OVER, callback)

    def when_tasks_are_free(self, callback: Callable[[str], None]) -> None:
        """The same for tasks that may be claimed."""
        self._db.subscribe(TASKS, callback)


def store_at(database_url: str, data_dir: Path) -> Store:
    """The store in PostgreSQL where a URL is given, and in a file of `data_dir` otherwise."""
    if database_url:
        if not database_url.startswith(("postgresql://", "postgres://")):
            raise ValueError("APIGPU_DATABASE_URL must begin with postgresql://, or be empty")
        from orchestrator.store.postgres import PostgresDatabase  # slow to load

        return Store(PostgresDatabase(database_url))
    return Store(SqliteDatabase(data_dir / SQLITE_FILE))
