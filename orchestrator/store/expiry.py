"""What has been kept for long enough: found and removed in bounded steps.

Long enough by the store's clock and by our own: one of them may have been set.
"""

from __future__ import annotations

import time

from orchestrator.store.database import Connection, Database
from orchestrator.store.events import Kind
from orchestrator.store.files import forget_files
from orchestrator.store.records import StoredFile


class Expiry:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def ended_jobs(
        self, older_than_s: float, after: tuple[float, str], limit: int
    ) -> list[tuple[float, str]]:
        """End times and ids of jobs that ended so long ago, oldest first, from `after` on."""

        async def work(db: Connection) -> list[tuple[float, str]]:
            rows = await db.fetch_all(
                "SELECT end_time, id FROM jobs WHERE end_time < clock() - ? AND end_time < ?"
                " AND (end_time, id) > (?, ?) ORDER BY end_time, id LIMIT ?",
                older_than_s,
                time.time() - older_than_s,
                *after,
                limit,
            )
            return [(row["end_time"], row["id"]) for row in rows]

        return await self._db.read(work)

    async def trim_story(self, job_id: str, limit: int) -> int:
        """Remove at most `limit` of a job's events, the oldest; its last one stays. Returns
        how many were removed."""

        async def work(db: Connection) -> int:
            return await db.execute(
                "DELETE FROM events WHERE job_id = ? AND sequence IN"
                " (SELECT sequence FROM events WHERE job_id = ? AND kind <> ?"
                " ORDER BY sequence LIMIT ?)",
                job_id,
                job_id,
                Kind.FINAL,
                limit,
            )

        return await self._db.write(work)

    async def delete_unused_uploads(self, older_than_s: float, limit: int) -> list[StoredFile]:
        """Forget uploads so old that no job needs. Returns them; their bytes are the caller's."""

        async def work(db: Connection) -> list[StoredFile]:
            return await forget_files(
                db,
                "id IN (SELECT id FROM files WHERE job_id IS NULL"
                " AND create_time < clock() - ? AND create_time < ?"
                " AND NOT EXISTS (SELECT 1 FROM job_files WHERE job_files.file_id = files.id)"
                " ORDER BY create_time LIMIT ?)",
                older_than_s,
                time.time() - older_than_s,
                limit,
            )

        return await self._db.write(work)

    async def give_back_space(self) -> None:
        """Let the database return some of what was freed to the system."""
        await self._db.tidy()
