"""Which programs can use this schema: that of this revision, or of a later one.

A migration only adds, so that the release before goes on with what it knows: replicas are replaced
one by one, and a release can be taken back. One that takes away what older programs need sets
`oldest` to its own revision, and the changelog says so.
"""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("CREATE TABLE compatibility (oldest TEXT NOT NULL)")
    op.execute("INSERT INTO compatibility (oldest) VALUES ('0008')")
