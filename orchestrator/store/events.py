"""The stories of jobs: their events, dense and in order."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from apigpu.video.v1.job_pb2 import Item, JobEvent

from orchestrator.store.database import Connection, Database


class Kind(IntEnum):
    """How much an event matters to somebody who cannot take all of them."""

    PROGRESS = 0  # a newer one of the same item says more
    MILESTONE = 1
    FINAL = 2  # the last one of its job


class Events:
    """Reads them. They are written with the change that makes them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def events_after(self, job_id: str, sequence: int, limit: int) -> list[JobEvent]:
        """At most `limit` events after number `sequence`, in order."""

        async def work(db: Connection) -> list[JobEvent]:
            rows = await db.fetch_all(
                "SELECT body FROM events WHERE job_id = ? AND sequence > ?"
                " ORDER BY sequence LIMIT ?",
                job_id,
                sequence,
                limit,
            )
            return [JobEvent.FromString(row["body"]) for row in rows]

        return await self._db.read(work)


async def insert_events(db: Connection, job_id: str, events: Sequence[JobEvent]) -> None:
    await db.execute_many(
        "INSERT INTO events (job_id, sequence, kind, body) VALUES (?, ?, ?, ?)",
        [(job_id, event.sequence, kind_of(event), event.SerializeToString()) for event in events],
    )


def kind_of(event: JobEvent) -> Kind:
    if event.HasField("finished"):
        return Kind.FINAL
    if event.HasField("item") and event.item.state == Item.RUNNING:
        return Kind.PROGRESS
    return Kind.MILESTONE
