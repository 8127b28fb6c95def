"""The one column type that engines have no common name for."""

from __future__ import annotations

from alembic import op


def blob() -> str:
    return "BYTEA" if op.get_bind().dialect.name == "postgresql" else "BLOB"
