"""The store in one SQLite file: every SQL statement of that engine stands here."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from apigpu.video.v1.job_pb2 import Job, JobEvent

from orchestrator.jobs.filters import Condition
from orchestrator.store import migrations
from orchestrator.store.database import Database
from orchestrator.store.interface import Change, Conflict, NewJob, Page, StoredFile, Task

_QUEUED, _CLAIMED, _DONE = 0, 1, 2  # tasks.state


class SqliteStore:
    """Implements `Store`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = Database(path)

    async def open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(migrations.upgrade, f"sqlite:///{self._path}")
        await asyncio.to_thread(self._db.open)

    async def close(self) -> None:
        await asyncio.to_thread(self._db.close)

    async def create_job(self, new: NewJob) -> tuple[Job, bytes]:
        def work(db: sqlite3.Connection) -> tuple[Job, bytes]:
            if new.request_id:
                row = db.execute(
                    "SELECT body, fingerprint FROM jobs WHERE request_id = ?", (new.request_id,)
                ).fetchone()
                if row is not None:
                    return Job.FromString(row["body"]), row["fingerprint"]
            db.execute(
                "INSERT INTO jobs (id, state, operation, labels, last_sequence, request_id,"
                " fingerprint, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    new.id,
                    new.job.state,
                    new.job.WhichOneof("operation"),
                    json.dumps(dict(new.job.labels)),
                    new.job.last_sequence,
                    new.request_id or None,
                    new.fingerprint,
                    new.job.SerializeToString(),
                ),
            )
            _insert_events(db, new.id, new.events)
            db.executemany(
                "INSERT INTO tasks (id, job_id, item_ids, state, not_before)"
                " VALUES (?, ?, ?, ?, ?)",
                [
                    (task.id, task.job_id, json.dumps(list(task.item_ids)), _QUEUED, time.time())
                    for task in new.tasks
                ],
            )
            return new.job, new.fingerprint

        return await self._db.write(work)

    async def get_job(self, job_id: str) -> Job | None:
        def work(db: sqlite3.Connection) -> Job | None:
            row = db.execute("SELECT body FROM jobs WHERE id = ?", (job_id,)).fetchone()
            return Job.FromString(row["body"]) if row else None

        return await self._db.read(work)

    async def list_jobs(self, conditions: Sequence[Condition], before_id: str, limit: int) -> Page:
        where, values = ["1"], list[str | int]()
        for condition in conditions:
            clause, parameters = _where(condition)
            where.append(clause)
            values += parameters
        if before_id:
            where.append("id < ?")
            values.append(before_id)
        statement = (
            f"SELECT id, body FROM jobs WHERE {' AND '.join(where)}"  # noqa: S608  fixed texts
            " ORDER BY id DESC LIMIT ?"
        )

        def work(db: sqlite3.Connection) -> Page:
            rows = db.execute(statement, (*values, limit + 1)).fetchall()
            jobs = [Job.FromString(row["body"]) for row in rows[:limit]]
            return Page(jobs, rows[limit - 1]["id"] if len(rows) > limit else "")

        return await self._db.read(work)

    async def save(self, change: Change) -> None:
        def work(db: sqlite3.Connection) -> None:
            before = change.job.last_sequence - len(change.events)
            updated = db.execute(
                "UPDATE jobs SET state = ?, last_sequence = ?, body = ?"
                " WHERE id = ? AND last_sequence = ?",
                (
                    change.job.state,
                    change.job.last_sequence,
                    change.job.SerializeToString(),
                    change.job_id,
                    before,
                ),
            )
            if updated.rowcount == 0:
                raise Conflict(change.job_id)
            _insert_events(db, change.job_id, change.events)
            for file in change.files:
                _insert_file(db, file)

        await self._db.write(work)

    async def events_after(self, job_id: str, sequence: int, limit: int) -> list[JobEvent]:
        def work(db: sqlite3.Connection) -> list[JobEvent]:
            rows = db.execute(
                "SELECT body FROM events WHERE job_id = ? AND sequence > ?"
                " ORDER BY sequence LIMIT ?",
                (job_id, sequence, limit),
            )
            return [JobEvent.FromString(row["body"]) for row in rows]

        return await self._db.read(work)

    async def delete_job(self, job_id: str) -> list[StoredFile]:
        def work(db: sqlite3.Connection) -> list[StoredFile]:
            rows = db.execute(
                "DELETE FROM files WHERE job_id = ? RETURNING *", (job_id,)
            ).fetchall()
            db.execute("DELETE FROM jobs WHERE id = ?", (job_id,))  # events and tasks cascade
            return [_file(row) for row in rows]

        return await self._db.write(work)

    async def claim_task(self, owner: str, lease_s: float) -> Task | None:
        def work(db: sqlite3.Connection) -> Task | None:
            now = time.time()
            row = db.execute(
                "UPDATE tasks SET state = ?, owner = ?, not_before = ?"
                " WHERE id = (SELECT id FROM tasks WHERE state IN (?, ?) AND not_before <= ?"
                " ORDER BY not_before, id LIMIT 1) RETURNING *",
                (_CLAIMED, owner, now + lease_s, _QUEUED, _CLAIMED, now),
            ).fetchone()
            return _task(row) if row else None

        return await self._db.write(work)

    async def renew_leases(self, owner: str, task_ids: Sequence[str], lease_s: float) -> set[str]:
        def work(db: sqlite3.Connection) -> set[str]:
            rows = db.execute(
                "UPDATE tasks SET not_before = ? WHERE owner = ? AND state = ?"
                " AND id IN (SELECT value FROM json_each(?)) RETURNING id",
                (time.time() + lease_s, owner, _CLAIMED, json.dumps(list(task_ids))),
            )
            return {row["id"] for row in rows}

        return await self._db.write(work)

    async def requeue_task(self, owner: str, task_id: str, delay_s: float) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE tasks SET state = ?, owner = NULL, not_before = ?"
                " WHERE id = ? AND owner = ?",
                (_QUEUED, time.time() + delay_s, task_id, owner),
            )

        await self._db.write(work)

    async def finish_task(self, owner: str, task_id: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE tasks SET state = ?, owner = NULL WHERE id = ? AND owner = ?",
                (_DONE, task_id, owner),
            )

        await self._db.write(work)

    async def finish_unclaimed_tasks(self, job_id: str) -> int:
        def work(db: sqlite3.Connection) -> int:
            db.execute(
                "UPDATE tasks SET state = ?, owner = NULL WHERE job_id = ?"
                " AND (state = ? OR (state = ? AND not_before <= ?))",
                (_DONE, job_id, _QUEUED, _CLAIMED, time.time()),
            )
            row = db.execute(
                "SELECT count(*) FROM tasks WHERE job_id = ? AND state = ?", (job_id, _CLAIMED)
            ).fetchone()
            return int(row[0])

        return await self._db.write(work)

    async def add_file(self, file: StoredFile) -> None:
        await self._db.write(lambda db: _insert_file(db, file))

    async def get_file(self, file_id: str) -> StoredFile | None:
        def work(db: sqlite3.Connection) -> StoredFile | None:
            row = db.execute("SELECT * FROM files WHERE id = ?", (file_id,)).fetchone()
            return _file(row) if row else None

        return await self._db.read(work)

    async def missing_files(self, file_ids: Sequence[str]) -> set[str]:
        def work(db: sqlite3.Connection) -> set[str]:
            rows = db.execute(
                "SELECT id FROM files WHERE id IN (SELECT value FROM json_each(?))",
                (json.dumps(list(file_ids)),),
            )
            return set(file_ids) - {row["id"] for row in rows}

        return await self._db.read(work)


def _where(condition: Condition) -> tuple[str, list[str | int]]:
    operator = "IS NOT" if condition.negated else "IS"
    if condition.field == "state":
        return f"state {operator} ?", [Job.State.Value(condition.value)]
    if condition.field == "operation":
        return f"operation {operator} ?", [condition.value]
    return f"json_extract(labels, ?) {operator} ?", [f'$."{condition.label}"', condition.value]


def _insert_events(db: sqlite3.Connection, job_id: str, events: Sequence[JobEvent]) -> None:
    db.executemany(
        "INSERT INTO events (job_id, sequence, body) VALUES (?, ?, ?)",
        [(job_id, event.sequence, event.SerializeToString()) for event in events],
    )


def _insert_file(db: sqlite3.Connection, file: StoredFile) -> None:
    db.execute(
        "INSERT INTO files (id, job_id, filename, size_bytes, sha256, create_time)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            file.id,
            file.job_id or None,
            file.filename,
            file.size_bytes,
            file.sha256,
            file.create_time.timestamp(),
        ),
    )


def _file(row: sqlite3.Row) -> StoredFile:
    return StoredFile(
        id=row["id"],
        filename=row["filename"],
        size_bytes=row["size_bytes"],
        sha256=row["sha256"],
        create_time=datetime.fromtimestamp(row["create_time"], UTC),
        job_id=row["job_id"] or "",
    )


def _task(row: sqlite3.Row) -> Task:
    return Task(
        id=row["id"],
        job_id=row["job_id"],
        item_ids=json.loads(row["item_ids"]),
    )
