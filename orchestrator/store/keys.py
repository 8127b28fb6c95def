"""API keys: what is kept of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple

from orchestrator.store.database import Connection, Database, Row
from orchestrator.store.records import KeyLimits, StoredKey

_MAX_LISTED = 1000


class Keys:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def add_key(self, key: StoredKey, replaces: str = "", overlap_s: float = 0.0) -> None:
        """replaces: the id of a key that ends after `overlap_s`, if not before."""

        async def work(db: Connection) -> None:
            await db.execute(
                "INSERT INTO api_keys (id, owner, scopes, title, salt, hash, create_time,"
                " expire_time, max_requests, max_streams, max_jobs, max_stored_bytes,"
                " max_upload_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                key.id,
                key.owner,
                " ".join(sorted(key.scopes)),
                key.title,
                key.salt,
                key.hash,
                key.create_time,
                key.expire_time,
                *astuple(key.limits),
            )
            if replaces:
                await db.execute(
                    "UPDATE api_keys SET expire_time = clock() + ?"
                    " WHERE id = ? AND (expire_time IS NULL OR expire_time > clock() + ?)",
                    overlap_s,
                    replaces,
                    overlap_s,
                )

        await self._db.write(work)

    async def get_key(self, key_id: str) -> StoredKey | None:
        async def work(db: Connection) -> StoredKey | None:
            row = await db.fetch_one("SELECT * FROM api_keys WHERE id = ?", key_id)
            return _key(row) if row else None

        return await self._db.read(work)

    async def list_keys(self, owner: str) -> list[StoredKey]:
        """Newest first. owner: whose, or empty for everybody's."""

        async def work(db: Connection) -> list[StoredKey]:
            rows = await db.fetch_all(
                "SELECT * FROM api_keys WHERE owner = ? OR ? = ''"
                " ORDER BY create_time DESC, id LIMIT ?",
                owner,
                owner,
                _MAX_LISTED,
            )
            return [_key(row) for row in rows]

        return await self._db.read(work)

    async def any_key(self) -> bool:
        """Whether a key was ever made, good or not."""

        async def work(db: Connection) -> bool:
            return await db.fetch_one("SELECT id FROM api_keys LIMIT 1") is not None

        return await self._db.read(work)

    async def revoke_key(self, key_id: str) -> StoredKey | None:
        async def work(db: Connection) -> StoredKey | None:
            await db.execute(
                "UPDATE api_keys SET revoke_time = clock() WHERE id = ? AND revoke_time IS NULL",
                key_id,
            )
            row = await db.fetch_one("SELECT * FROM api_keys WHERE id = ?", key_id)
            return _key(row) if row else None

        return await self._db.write(work)

    async def note_key_uses(self, times: Mapping[str, float]) -> None:
        """times: when each key, by its id, was last used."""

        async def work(db: Connection) -> None:
            await db.execute_many(
                "UPDATE api_keys SET last_use_time = ? WHERE id = ?",
                [(time, key_id) for key_id, time in times.items()],
            )

        await self._db.write(work)


def _key(row: Row) -> StoredKey:
    return StoredKey(
        id=row["id"],
        owner=row["owner"],
        scopes=frozenset(row["scopes"].split()),
        title=row["title"],
        salt=bytes(row["salt"]),
        hash=bytes(row["hash"]),
        create_time=row["create_time"],
        expire_time=row["expire_time"],
        revoke_time=row["revoke_time"],
        last_use_time=row["last_use_time"],
        limits=KeyLimits(
            requests=row["max_requests"],
            streams=row["max_streams"],
            jobs=row["max_jobs"],
            stored_bytes=row["max_stored_bytes"],
            upload_bytes=row["max_upload_bytes"],
        ),
    )
