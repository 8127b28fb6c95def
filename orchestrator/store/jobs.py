"""Jobs: accepted once, changed by one step at a time, listed newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from apigpu.video.v1.job_pb2 import Job
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from orchestrator.jobs.filters import Filter
from orchestrator.jobs.machine import is_over
from orchestrator.jobs.orders import Order, Place
from orchestrator.store import filter_sql
from orchestrator.store.database import Connection, Database, Value, marks
from orchestrator.store.deliveries import insert_deliveries
from orchestrator.store.events import insert_events
from orchestrator.store.files import forget_files, insert_file
from orchestrator.store.records import (
    Change,
    Conflict,
    NewJob,
    Page,
    StoredFile,
    StoredJob,
)
from orchestrator.store.tasks import TASKS, insert_tasks

JOBS = "jobs"  # the topic of changed and deleted jobs, by id
OVER = "over"  # of jobs that nobody shall work on any more, by id
_DEFAULT_PRIORITY = 50
# What is read out of the job to find it by; changes with it.
_COLUMNS = ("state", "start_time", "end_time", "deadline", "last_sequence", "body")


class Jobs:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def create_job(self, new: NewJob) -> tuple[Job, bytes]:
        """Store `new`, or find its owner's job that has its request_id. Returns the job that is
        stored now and its fingerprint."""

        async def work(db: Connection) -> tuple[Job, bytes]:
            if not await _insert_job(db, new):
                made = await _job_of_request(db, new.owner, new.request_id)
                assert made is not None
                return made
            await insert_events(db, new.id, new.events)
            await insert_tasks(db, new.tasks, new.owner, _priority(new.job))
            return new.job, new.fingerprint

        stored = await self._db.write(work)
        self._db.tell(JOBS, new.id)
        self._db.tell(TASKS, new.id)
        return stored

    async def job_of_request(self, owner: str, request_id: str) -> tuple[Job, bytes] | None:
        """The job that the owner's request_id has made, and its fingerprint."""
        return await self._db.read(lambda db: _job_of_request(db, owner, request_id))

    async def get_job(self, job_id: str) -> Job | None:
        async def work(db: Connection) -> Job | None:
            row = await db.fetch_one("SELECT body FROM jobs WHERE id = ?", job_id)
            return Job.FromString(row["body"]) if row else None

        return await self._db.read(work)

    async def owner_of_job(self, job_id: str) -> str | None:
        async def work(db: Connection) -> str | None:
            row = await db.fetch_one("SELECT owner FROM jobs WHERE id = ?", job_id)
            return row["owner"] if row else None

        return await self._db.read(work)

    async def get_jobs(self, job_ids: Sequence[str]) -> dict[str, StoredJob]:
        """Those of the jobs that exist, by their ids."""

        async def work(db: Connection) -> dict[str, StoredJob]:
            rows = await db.fetch_all(
                f"SELECT id, owner, body FROM jobs WHERE id IN ({marks(job_ids)})", *job_ids
            )
            return {row["id"]: StoredJob(row["owner"], Job.FromString(row["body"])) for row in rows}

        return await self._db.read(work) if job_ids else {}

    async def list_jobs(
        self, filter: Filter, order: Order, after: Place | None, limit: int, owner: str | None
    ) -> Page:
        """The jobs beyond `after` in the order. owner: whose; None: everybody's."""
        statement, values = filter_sql.select(filter, order, after, owner)

        async def work(db: Connection) -> Page:
            rows = await db.fetch_all(f"{statement} LIMIT ?", *values, limit + 1)
            jobs = [Job.FromString(row["body"]) for row in rows[:limit]]
            return Page(jobs, complete=len(rows) <= limit)

        return await self._db.read(work)

    async def last_sequences(self, job_ids: Sequence[str]) -> dict[str, int]:
        """The number of each job's newest event; jobs that are gone are left out."""

        async def work(db: Connection) -> dict[str, int]:
            rows = await db.fetch_all(
                f"SELECT id, last_sequence FROM jobs WHERE id IN ({marks(job_ids)})",
                *job_ids,
            )
            return {row["id"]: row["last_sequence"] for row in rows}

        return await self._db.read(work) if job_ids else {}

    async def overdue_jobs(self, limit: int) -> list[str]:
        """Jobs that have been in their present state for longer than they may."""

        async def work(db: Connection) -> list[str]:
            rows = await db.fetch_all(
                "SELECT id FROM jobs WHERE deadline <= clock() ORDER BY deadline LIMIT ?", limit
            )
            return [row["id"] for row in rows]

        return await self._db.read(work)

    async def census(self) -> list[tuple[Job.State.ValueType, str, int]]:
        """How many jobs have not ended, as (state, operation, count)."""

        async def work(db: Connection) -> list[tuple[Job.State.ValueType, str, int]]:
            rows = await db.fetch_all(
                "SELECT state, operation, count(*) AS jobs FROM jobs WHERE state IN (?, ?, ?)"
                " GROUP BY state, operation",
                Job.QUEUED,
                Job.RUNNING,
                Job.CANCELLING,
            )
            return [(row["state"], row["operation"], int(row["jobs"])) for row in rows]

        return await self._db.read(work)

    async def unfinished_jobs(self, owner: str | None, enough: int) -> int:
        """How many jobs have not ended, counted up to `enough`. owner: whose; None: all."""

        async def work(db: Connection) -> int:
            states = (Job.QUEUED, Job.RUNNING, Job.CANCELLING)
            mine, values = ("owner = ? AND ", [owner]) if owner is not None else ("", [])
            row = await db.fetch_one(
                "SELECT count(*) AS jobs FROM (SELECT 1 FROM jobs"
                f" WHERE {mine}state IN ({marks(states)}) LIMIT ?) AS unfinished",
                *values,
                *states,
                enough,
            )
            assert row is not None
            return int(row["jobs"])

        return await self._db.read(work)

    async def save(self, change: Change) -> None:
        async def work(db: Connection) -> None:
            assignments = ", ".join(f"{column} = ?" for column in _COLUMNS)
            changed = await db.execute(
                f"UPDATE jobs SET {assignments} WHERE id = ? AND last_sequence = ?",
                *_values(change.job),
                change.job_id,
                change.job.last_sequence - len(change.events),
            )
            if not changed:
                raise Conflict(change.job_id)
            await insert_events(db, change.job_id, change.events)
            if change.files or change.deliveries:
                owner = await _owner(db, change.job_id)
                for file in change.files:
                    await insert_file(db, replace(file, owner=owner))
                await insert_deliveries(db, change.job_id, owner, change.deliveries)

        await self._db.write(work)
        self._db.tell(JOBS, change.job_id)
        if is_over(change.job):
            self._db.tell(OVER, change.job_id)

    async def delete_job(self, job_id: str) -> list[StoredFile]:
        """Remove a job with its events and tasks. Returns its files, removed as well; those
        that another job needs become that job's."""

        async def work(db: Connection) -> list[StoredFile]:
            await db.execute("DELETE FROM jobs WHERE id = ?", job_id)
            await db.execute(
                "UPDATE files SET job_id ="
                " (SELECT min(heir.job_id) FROM job_files AS heir WHERE heir.file_id = files.id)"
                " WHERE job_id = ?"
                " AND EXISTS (SELECT 1 FROM job_files WHERE job_files.file_id = files.id)",
                job_id,
            )
            return await forget_files(db, "job_id = ?", job_id)

        files = await self._db.write(work)
        self._db.tell(JOBS, job_id)
        return files


async def _job_of_request(db: Connection, owner: str, request_id: str) -> tuple[Job, bytes] | None:
    row = await db.fetch_one(
        "SELECT body, fingerprint FROM jobs WHERE owner = ? AND request_id = ?", owner, request_id
    )
    return (Job.FromString(row["body"]), bytes(row["fingerprint"])) if row else None


async def _owner(db: Connection, job_id: str) -> str:
    row = await db.fetch_one("SELECT owner FROM jobs WHERE id = ?", job_id)
    assert row is not None
    return str(row["owner"])


async def _insert_job(db: Connection, new: NewJob) -> bool:
    """False where the owner's request_id has made a job before."""
    fixed: dict[str, Value] = {
        "id": new.id,
        "owner": new.owner,
        "operation": new.job.WhichOneof("operation"),
        "priority": _priority(new.job),
        "create_time": _seconds(new.job.create_time),
        "retry_of": new.job.retry_of.partition("/")[2],
        "request_id": new.request_id or None,
        "fingerprint": new.fingerprint,
    }
    columns = (*fixed, *_COLUMNS)
    inserted = await db.execute(
        f"INSERT INTO jobs ({', '.join(columns)}) VALUES ({marks(columns)})"
        " ON CONFLICT (owner, request_id) DO NOTHING",
        *fixed.values(),
        *_values(new.job),
    )
    if not inserted:
        return False
    await db.execute_many(
        "INSERT INTO job_labels (job_id, key, value) VALUES (?, ?, ?)",
        [(new.id, key, value) for key, value in new.job.labels.items()],
    )
    await db.execute_many(
        "INSERT INTO job_files (job_id, file_id) VALUES (?, ?)",
        [(new.id, file_id) for file_id in dict.fromkeys(new.files)],
    )
    return True


def _values(job: Job) -> tuple[Value, ...]:
    """Of `_COLUMNS`."""
    return (
        job.state,
        _seconds(job.start_time) if job.HasField("start_time") else None,
        _seconds(job.end_time) if job.HasField("end_time") else None,
        _deadline(job),
        job.last_sequence,
        job.SerializeToString(),
    )


def _deadline(job: Job) -> float | None:
    """When the job will have been in its state for longer than it may."""
    if job.state == Job.QUEUED and job.HasField("queue_time_limit"):
        return _seconds(job.create_time) + _seconds(job.queue_time_limit)
    if job.state == Job.RUNNING and job.HasField("run_time_limit"):
        return _seconds(job.start_time) + _seconds(job.run_time_limit)
    return None


def _seconds(time: Timestamp | Duration) -> float:
    return time.ToNanoseconds() / 1e9


def _priority(job: Job) -> int:
    return job.priority if job.HasField("priority") else _DEFAULT_PRIORITY
