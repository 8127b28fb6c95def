"""What is told to webhooks: written with the event that it tells of, kept until it was taken."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.store.database import Connection, Database, Row
from orchestrator.store.records import Delivery, StoredDelivery

PENDING, DELIVERED, GIVEN_UP = 1, 2, 3
_MAX_LISTED = 1000
_KEEP_S = 7 * 24 * 3600.0


class Deliveries:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def claim_delivery(self, lease_s: float) -> StoredDelivery | None:
        """One that is due, and before which nothing of its job is left to tell. It is due again
        after `lease_s`, unless it is settled before."""

        async def work(db: Connection) -> StoredDelivery | None:
            await db.lock("webhooks")
            row = await db.fetch_one(
                "UPDATE webhook_deliveries SET next_time = clock() + ?, attempts = attempts + 1"
                " WHERE id = (SELECT id FROM webhook_deliveries AS due"
                " WHERE state = 1 AND next_time <= clock() AND NOT EXISTS"
                " (SELECT 1 FROM webhook_deliveries AS before WHERE before.job_id = due.job_id"
                " AND before.state = 1 AND before.sequence < due.sequence)"
                " ORDER BY next_time, id LIMIT 1) RETURNING *",
                lease_s,
            )
            return _delivery(row) if row else None

        return await self._db.write(work)

    async def settle_delivery(
        self, delivery_id: str, state: int, status: int, error: str, retry_after_s: float = 0.0
    ) -> None:
        """What came of a try. retry_after_s: when the next one is due, where PENDING."""

        async def work(db: Connection) -> None:
            await db.execute(
                "UPDATE webhook_deliveries SET state = ?, last_status = ?, last_error = ?,"
                " next_time = clock() + ? WHERE id = ?",
                state,
                status,
                error,
                retry_after_s,
                delivery_id,
            )

        await self._db.write(work)

    async def list_deliveries(self, job_id: str) -> list[StoredDelivery]:
        async def work(db: Connection) -> list[StoredDelivery]:
            rows = await db.fetch_all(
                "SELECT * FROM webhook_deliveries WHERE job_id = ? ORDER BY sequence LIMIT ?",
                job_id,
                _MAX_LISTED,
            )
            return [_delivery(row) for row in rows]

        return await self._db.read(work)

    async def resend_delivery(self, job_id: str, sequence: int) -> StoredDelivery | None:
        async def work(db: Connection) -> StoredDelivery | None:
            row = await db.fetch_one(
                "UPDATE webhook_deliveries SET state = 1, next_time = clock(), since = clock()"
                " WHERE job_id = ? AND sequence = ? RETURNING *",
                job_id,
                sequence,
            )
            return _delivery(row) if row else None

        return await self._db.write(work)

    async def forget_deliveries(self) -> None:
        """Those that are over, after a week."""

        async def work(db: Connection) -> None:
            await db.execute(
                "DELETE FROM webhook_deliveries WHERE create_time < clock() - ? AND state > 1",
                _KEEP_S,
            )

        await self._db.write(work)


async def insert_deliveries(
    db: Connection, job_id: str, owner: str, deliveries: Sequence[Delivery]
) -> None:
    for each in deliveries:
        await db.execute(
            "INSERT INTO webhook_deliveries (id, job_id, sequence, owner, url, type, payload,"
            " state, attempts, last_status, last_error, create_time, since, next_time)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 1, 0, 0, '', clock(), clock(), clock())",
            each.id,
            job_id,
            each.sequence,
            owner,
            each.url,
            each.type,
            each.payload,
        )


def _delivery(row: Row) -> StoredDelivery:
    return StoredDelivery(
        id=row["id"],
        job_id=row["job_id"],
        sequence=row["sequence"],
        owner=row["owner"],
        url=row["url"],
        type=row["type"],
        payload=bytes(row["payload"]),
        state=row["state"],
        attempts=row["attempts"],
        last_status=row["last_status"],
        last_error=row["last_error"],
        create_time=row["create_time"],
        since=row["since"],
        next_time=row["next_time"],
    )
