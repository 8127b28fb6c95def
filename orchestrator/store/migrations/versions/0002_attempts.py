"""Attempts stand in the job's own record; tasks no longer count them."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE tasks DROP COLUMN attempts")
