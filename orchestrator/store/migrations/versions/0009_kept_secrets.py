"""Secrets of the service's own, the same for every replica."""

from alembic import op

from orchestrator.store.migrations.types import blob

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute(f"CREATE TABLE kept_secrets (name TEXT PRIMARY KEY, secret {blob()} NOT NULL)")
