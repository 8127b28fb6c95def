"""Jobs, their events and tasks, and files."""

from alembic import op

from orchestrator.store.migrations.types import blob

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute(f"""
        CREATE TABLE jobs (
            id TEXT PRIMARY KEY,            -- sorts by time of creation
            state INTEGER NOT NULL,         -- apigpu.video.v1.Job.State
            operation TEXT NOT NULL,
            labels TEXT NOT NULL,           -- JSON object
            last_sequence INTEGER NOT NULL, -- newest event; the fence of every change
            request_id TEXT UNIQUE,
            fingerprint {blob()} NOT NULL,      -- of the request, for request_id
            body {blob()} NOT NULL              -- apigpu.video.v1.Job
        )""")
    op.execute("CREATE INDEX jobs_by_state ON jobs (state, id)")
    op.execute(f"""
        CREATE TABLE events (
            job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            sequence INTEGER NOT NULL,
            body {blob()} NOT NULL,             -- apigpu.video.v1.JobEvent
            PRIMARY KEY (job_id, sequence)
        )""")
    op.execute("""
        CREATE TABLE tasks (
            id TEXT PRIMARY KEY,
            job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            item_ids TEXT NOT NULL,         -- JSON array
            state INTEGER NOT NULL,         -- 0 queued, 1 claimed, 2 done
            attempts INTEGER NOT NULL,
            owner TEXT,                     -- who has claimed it
            not_before DOUBLE PRECISION NOT NULL -- free to be claimed from then on, unless done
        )""")
    op.execute("CREATE INDEX tasks_to_claim ON tasks (not_before, id) WHERE state < 2")
    op.execute("CREATE INDEX tasks_by_job ON tasks (job_id)")
    op.execute("""
        CREATE TABLE files (
            id TEXT PRIMARY KEY,
            job_id TEXT,                    -- the job that made it; NULL for uploads
            filename TEXT NOT NULL,
            size_bytes BIGINT NOT NULL,
            sha256 TEXT NOT NULL,
            create_time DOUBLE PRECISION NOT NULL
        )""")
    op.execute("CREATE INDEX files_by_job ON files (job_id)")
