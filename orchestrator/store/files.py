"""What is known of files: uploads and results. Their bytes lie elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from orchestrator.store.database import Connection, Database, Row, Value, marks
from orchestrator.store.records import StoredFile

_IDS_AT_ONCE = 500  # well below any engine's limit of values in a statement


class Files:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def add_file(self, file: StoredFile) -> None:
        async def work(db: Connection) -> None:
            await insert_file(db, file)

        await self._db.write(work)

    async def get_file(self, file_id: str) -> StoredFile | None:
        async def work(db: Connection) -> StoredFile | None:
            row = await db.fetch_one("SELECT * FROM files WHERE id = ?", file_id)
            return _file(row) if row else None

        return await self._db.read(work)

    async def list_files(
        self, owner: str, before: StoredFile | None, limit: int
    ) -> list[StoredFile]:
        """An owner's files, newest first, from the one after `before` on."""

        async def work(db: Connection) -> list[StoredFile]:
            from_there, values = "", list[str | float]()
            if before is not None:
                from_there = " AND (create_time, id) < (?, ?)"
                values = [before.create_time.timestamp(), before.id]
            rows = await db.fetch_all(
                f"SELECT * FROM files WHERE owner = ?{from_there}"
                " ORDER BY create_time DESC, id DESC LIMIT ?",
                owner,
                *values,
                limit,
            )
            return [_file(row) for row in rows]

        return await self._db.read(work)

    async def delete_file(self, file_id: str) -> StoredFile | None:
        """Forget a file. Returns what it was; its bytes are to be removed, see below."""

        async def work(db: Connection) -> StoredFile | None:
            files = await forget_files(db, "id = ?", file_id)
            return files[0] if files else None

        return await self._db.write(work)

    async def removed_keys(self, limit: int) -> list[str]:
        """Keys in the file storage whose bytes are still to be removed: those of forgotten files
        until somebody has told `bytes_removed`, even if he who forgot them died."""

        async def work(db: Connection) -> list[str]:
            rows = await db.fetch_all("SELECT key FROM removed_files LIMIT ?", limit)
            return [row["key"] for row in rows]

        return await self._db.read(work)

    async def bytes_removed(self, keys: Sequence[str]) -> None:
        async def work(db: Connection) -> None:
            await db.execute_many(
                "DELETE FROM removed_files WHERE key = ?", [(key,) for key in keys]
            )

        await self._db.write(work)

    async def missing_files(self, file_ids: Sequence[str], owner: str) -> set[str]:
        """Those of `file_ids` that the owner does not have."""

        async def work(db: Connection) -> set[str]:
            known: set[str] = set()
            for start in range(0, len(file_ids), _IDS_AT_ONCE):
                some = file_ids[start : start + _IDS_AT_ONCE]
                rows = await db.fetch_all(
                    f"SELECT id FROM files WHERE owner = ? AND id IN ({marks(some)})",
                    owner,
                    *some,
                )
                known.update(row["id"] for row in rows)
            return set(file_ids) - known

        return await self._db.read(work) if file_ids else set()

    async def stored_bytes(self, owner: str) -> int:
        """How much an owner's files take, uploads and results."""

        async def work(db: Connection) -> int:
            row = await db.fetch_one(
                "SELECT coalesce(sum(size_bytes), 0) AS bytes FROM files WHERE owner = ?", owner
            )
            assert row is not None
            return int(row["bytes"])

        return await self._db.read(work)


async def insert_file(db: Connection, file: StoredFile) -> None:
    # An upload that was removed may come again under the same id.
    await db.execute("DELETE FROM removed_files WHERE key = ?", file.key or file.id)
    await db.execute(
        "INSERT INTO files (id, owner, job_id, key, filename, mime_type, size_bytes, sha256,"
        " create_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        file.id,
        file.owner,
        file.job_id or None,
        file.key or file.id,
        file.filename,
        file.mime_type,
        file.size_bytes,
        file.sha256,
        file.create_time.timestamp(),
    )


async def forget_files(db: Connection, where: str, *values: Value) -> list[StoredFile]:
    """Delete the rows, and remember that their bytes are to follow."""
    rows = await db.fetch_all(f"DELETE FROM files WHERE {where} RETURNING *", *values)
    files = [_file(row) for row in rows]
    await db.execute_many(
        "INSERT INTO removed_files (key) VALUES (?) ON CONFLICT (key) DO NOTHING",
        [(file.key,) for file in files],
    )
    return files


def _file(row: Row) -> StoredFile:
    return StoredFile(
        id=row["id"],
        filename=row["filename"],
        size_bytes=row["size_bytes"],
        sha256=row["sha256"],
        create_time=datetime.fromtimestamp(row["create_time"], UTC),
        job_id=row["job_id"] or "",
        owner=row["owner"],
        key=row["key"],
        mime_type=row["mime_type"],
    )
