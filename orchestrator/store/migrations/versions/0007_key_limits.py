"""Limits of a key's own."""

from alembic import op

revision = "0007"
down_revision = "0006"

_COLUMNS = {
    "max_requests": "TEXT NOT NULL DEFAULT ''",
    "max_streams": "INTEGER NOT NULL DEFAULT 0",
    "max_jobs": "INTEGER NOT NULL DEFAULT 0",
    "max_stored_bytes": "BIGINT NOT NULL DEFAULT 0",
    "max_upload_bytes": "BIGINT NOT NULL DEFAULT 0",
}


def upgrade() -> None:
    for column, kind in _COLUMNS.items():
        op.execute(f"ALTER TABLE api_keys ADD COLUMN {column} {kind}")
