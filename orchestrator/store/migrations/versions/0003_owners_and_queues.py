"""Owners, priorities and queues; what jobs are listed, filtered and kept by, in columns.

The tables are made anew: SQLite cannot drop the old uniqueness of request_id.
"""

import json
from collections.abc import Iterator
from typing import Any

from alembic import op
from apigpu.video.v1.job_pb2 import Job, JobEvent
from sqlalchemy import text

from orchestrator.store.migrations.types import blob

revision = "0003"
down_revision = "0002"

_OLD = ("jobs", "events", "tasks", "files")
_BATCH = 500


def upgrade() -> None:
    for table in _OLD:
        op.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    _create_jobs()
    _create_events()
    _create_tasks()
    _create_files()
    _create_clock()
    _copy()
    for table in reversed(_OLD):
        op.execute(f"DROP TABLE old_{table}")
    _create_indexes()


def _create_jobs() -> None:
    op.execute(f"""
        CREATE TABLE jobs (
            id TEXT PRIMARY KEY,            -- sorts by time of creation
            owner TEXT NOT NULL,            -- whose job it is
            state INTEGER NOT NULL,         -- apigpu.video.v1.Job.State
            operation TEXT NOT NULL,
            priority INTEGER NOT NULL,      -- 0 to 100
            create_time DOUBLE PRECISION NOT NULL,  -- seconds since 1970, as all times
            start_time DOUBLE PRECISION,
            end_time DOUBLE PRECISION,
            deadline DOUBLE PRECISION,      -- overdue in its present state from then on
            retry_of TEXT NOT NULL,         -- id of the job whose failed items it repeats, or ''
            last_sequence BIGINT NOT NULL,  -- newest event; the fence of every change
            request_id TEXT,
            fingerprint {blob()} NOT NULL,  -- of the request, for request_id
            body {blob()} NOT NULL,         -- apigpu.video.v1.Job
            UNIQUE (owner, request_id)
        )""")
    op.execute("""
        CREATE TABLE job_labels (
            job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            key TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (job_id, key)
        )""")


def _create_events() -> None:
    op.execute(f"""
        CREATE TABLE events (
            job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            sequence BIGINT NOT NULL,
            kind INTEGER NOT NULL,          -- 0 progress, 1 milestone, 2 the last one
            body {blob()} NOT NULL,         -- apigpu.video.v1.JobEvent
            PRIMARY KEY (job_id, sequence)
        )""")


def _create_tasks() -> None:
    op.execute("""
        CREATE TABLE tasks (                -- of which something is left to do
            id TEXT PRIMARY KEY,
            job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            item_ids TEXT NOT NULL,         -- JSON array
            owner TEXT NOT NULL,            -- the job's
            priority INTEGER NOT NULL,      -- the job's
            state INTEGER NOT NULL,         -- 0 queued, 1 claimed, 2 waiting
            holder TEXT,                    -- the process that has claimed it
            not_before DOUBLE PRECISION NOT NULL  -- claimed or waiting: queued again from then on
        )""")
    op.execute("""
        CREATE TABLE owners (               -- whose jobs have been worked on
            owner TEXT PRIMARY KEY,
            max_running INTEGER,            -- own limit of tasks at a time; NULL: the service's
            last_turn DOUBLE PRECISION NOT NULL
        )""")


def _create_files() -> None:
    op.execute("""
        CREATE TABLE files (
            id TEXT PRIMARY KEY,
            owner TEXT NOT NULL,
            job_id TEXT,                    -- the job that made it; NULL for uploads
            key TEXT NOT NULL,              -- where its bytes lie in the file storage
            filename TEXT NOT NULL,
            mime_type TEXT NOT NULL,
            size_bytes BIGINT NOT NULL,
            sha256 TEXT NOT NULL,
            create_time DOUBLE PRECISION NOT NULL
        )""")
    op.execute("""
        CREATE TABLE job_files (            -- files that a job needs, made by others
            job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            file_id TEXT NOT NULL,
            PRIMARY KEY (job_id, file_id)
        )""")


def _create_clock() -> None:
    """SQLite has it from its driver."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("""
            CREATE FUNCTION clock() RETURNS DOUBLE PRECISION LANGUAGE sql STABLE AS
            'SELECT extract(epoch FROM statement_timestamp())::DOUBLE PRECISION'""")


def _copy() -> None:
    for rows in _read("SELECT * FROM old_jobs"):
        _write(
            "INSERT INTO jobs VALUES (:id, 'default', :state, :operation, 50, :create_time,"
            " :start_time, :end_time, NULL, '', :last_sequence, :request_id, :fingerprint, :body)",
            [{**row, **_times(row["body"])} for row in rows],
        )
        labels = [
            {"id": row["id"], "key": key, "value": value}
            for row in rows
            for key, value in json.loads(row["labels"]).items()
        ]
        _write("INSERT INTO job_labels VALUES (:id, :key, :value)", labels)
    for rows in _read("SELECT * FROM old_events"):
        events = [{**row, "kind": _kind(row["body"])} for row in rows]
        _write("INSERT INTO events VALUES (:job_id, :sequence, :kind, :body)", events)
    op.execute("""
        INSERT INTO tasks SELECT id, job_id, item_ids, 'default', 50, state, owner, not_before
        FROM old_tasks WHERE state < 2""")
    op.execute("""
        INSERT INTO files SELECT id, 'default', job_id, id, filename, '', size_bytes, sha256,
        create_time FROM old_files""")


def _read(statement: str) -> Iterator[list[dict[str, Any]]]:
    for rows in op.get_bind().execute(text(statement)).mappings().partitions(_BATCH):
        yield [dict(row) for row in rows]


def _write(statement: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        op.get_bind().execute(text(statement), rows)


def _times(body: bytes) -> dict[str, float | None]:
    job = Job.FromString(body)
    return {
        name: getattr(job, name).ToNanoseconds() / 1e9 if job.HasField(name) else None
        for name in ("create_time", "start_time", "end_time")
    }


def _kind(body: bytes) -> int:
    return 2 if JobEvent.FromString(body).HasField("finished") else 1


def _create_indexes() -> None:
    for index in (
        "jobs_by_owner ON jobs (owner, id)",
        "jobs_by_owner_and_state ON jobs (owner, state, id)",
        "jobs_by_owner_and_operation ON jobs (owner, operation, id)",
        "jobs_by_state ON jobs (state, id)",
        "jobs_by_end ON jobs (end_time) WHERE end_time IS NOT NULL",
        "jobs_by_deadline ON jobs (deadline) WHERE deadline IS NOT NULL",
        "labels_by_value ON job_labels (key, value, job_id)",
        "tasks_in_turn ON tasks (state, priority, owner, id)",
        "tasks_by_time ON tasks (state, not_before)",
        "tasks_by_job ON tasks (job_id)",
        "files_by_job ON files (job_id) WHERE job_id IS NOT NULL",
        "files_by_owner ON files (owner, create_time, id)",
        "job_files_by_file ON job_files (file_id)",
    ):
        op.execute(f"CREATE INDEX {index}")
    op.execute("CREATE UNIQUE INDEX files_by_key ON files (key)")
