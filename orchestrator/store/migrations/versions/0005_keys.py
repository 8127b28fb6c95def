"""API keys, as salted hashes."""

from alembic import op

from orchestrator.store.migrations.types import blob

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute(f"""
        CREATE TABLE api_keys (
            id TEXT PRIMARY KEY,            -- the part of a key that is no secret
            owner TEXT NOT NULL,
            scopes TEXT NOT NULL,           -- separated by spaces
            title TEXT NOT NULL,
            salt {blob()} NOT NULL,
            hash {blob()} NOT NULL,         -- SHA-256 of salt and secret
            create_time DOUBLE PRECISION NOT NULL,
            expire_time DOUBLE PRECISION,   -- NULL: never
            revoke_time DOUBLE PRECISION,
            last_use_time DOUBLE PRECISION
        )""")
