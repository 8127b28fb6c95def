"""Uploads are found by age; files whose bytes are still to be removed are remembered."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE removed_files (
            key TEXT PRIMARY KEY            -- where the bytes lie that nobody knows any more
        )""")
    op.execute("CREATE INDEX uploads_by_age ON files (create_time) WHERE job_id IS NULL")
