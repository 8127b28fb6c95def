"""What is to be told to webhooks, and what came of it."""

from alembic import op

from orchestrator.store.migrations.types import blob

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute(f"""
        CREATE TABLE webhook_deliveries (
            id TEXT PRIMARY KEY,
            job_id TEXT NOT NULL,           -- kept when the job is deleted
            sequence BIGINT NOT NULL,       -- of the job's event
            owner TEXT NOT NULL,
            url TEXT NOT NULL,
            type TEXT NOT NULL,
            payload {blob()} NOT NULL,
            state INTEGER NOT NULL,         -- 1 pending, 2 delivered, 3 given up
            attempts INTEGER NOT NULL,
            last_status INTEGER NOT NULL,
            last_error TEXT NOT NULL,
            create_time DOUBLE PRECISION NOT NULL,
            since DOUBLE PRECISION NOT NULL,     -- tried for a day from then on
            next_time DOUBLE PRECISION NOT NULL  -- not tried before; while it is tried, a lease
        )""")
    op.execute("CREATE UNIQUE INDEX deliveries_by_job ON webhook_deliveries (job_id, sequence)")
    op.execute("CREATE INDEX deliveries_due ON webhook_deliveries (next_time, id) WHERE state = 1")
    op.execute("CREATE INDEX deliveries_by_age ON webhook_deliveries (create_time)")
