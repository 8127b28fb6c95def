"""Secrets of the service's own: made once, the same for every replica and after every restart."""

from __future__ import annotations

from orchestrator.store.database import Connection, Database


class KeptSecrets:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def kept_secret(self, name: str, offered: bytes) -> bytes:
        """The secret of this name; from now on `offered`, where there is none yet."""

        async def work(db: Connection) -> bytes:
            await db.execute(
                "INSERT INTO kept_secrets (name, secret) VALUES (?, ?) ON CONFLICT DO NOTHING",
                name,
                offered,
            )
            row = await db.fetch_one("SELECT secret FROM kept_secrets WHERE name = ?", name)
            assert row is not None
            return bytes(row["secret"])

        return await self._db.write(work)
