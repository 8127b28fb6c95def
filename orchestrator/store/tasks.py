"""Tasks, and whose turn it is: claimed under leases that expire, so that a dead process loses
them. Expiry is by the store's own clock."""

from __future__ import annotations

import json
from collections.abc import Sequence

from orchestrator.jobs.states import TaskState
from orchestrator.store.database import Connection, Database, Row, marks
from orchestrator.store.records import Task

TASKS = "tasks"  # the topic of tasks that have become free, by id of the job or task
_NO_LIMIT = 2**31 - 1
_LONGEST_PAUSE_S = 60.0  # between two attempts, and more


# Every queue (priority and owner) is found by a step in an index, however many tasks are in it.
_PRIORITIES = """
    WITH RECURSIVE levels (priority) AS (
        SELECT max(priority) FROM tasks WHERE state = ?
        UNION ALL
        SELECT (SELECT max(lower.priority) FROM tasks AS lower
                WHERE lower.state = ? AND lower.priority < levels.priority)
        FROM levels WHERE levels.priority IS NOT NULL)
    SELECT priority FROM levels WHERE priority IS NOT NULL"""

_OWNER_IN_TURN = """
    WITH RECURSIVE queues (owner) AS (
        SELECT min(owner) FROM tasks WHERE state = ? AND priority = ?
        UNION ALL
        SELECT (SELECT min(next.owner) FROM tasks AS next
                WHERE next.state = ? AND next.priority = ? AND next.owner > queues.owner)
        FROM queues WHERE queues.owner IS NOT NULL),
    running (owner, tasks) AS (SELECT owner, count(*) FROM tasks WHERE state = ? GROUP BY owner)
    SELECT queues.owner FROM queues
    LEFT JOIN running ON running.owner = queues.owner
    LEFT JOIN owners ON owners.owner = queues.owner
    WHERE queues.owner IS NOT NULL
        AND coalesce(running.tasks, 0) < coalesce(owners.max_running, ?)
    ORDER BY coalesce(running.tasks, 0), coalesce(owners.last_turn, 0),
        (SELECT min(first.id) FROM tasks AS first
         WHERE first.state = ? AND first.priority = ? AND first.owner = queues.owner)
    LIMIT 1"""


class Tasks:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def claim_task(
        self, holder: str, lease_s: float, max_per_owner: int = 0, *, take_over: bool = True
    ) -> Task | None:
        """Take the task whose turn it is: the highest priority, then the owner with the fewest
        running tasks, then the one whose last turn is longest ago, then the oldest.

        max_per_owner: running tasks of one owner at a time; 0: no limit. take_over: whether
        leases may have run out; after an outage of the store their holders renew them first.
        """

        async def work(db: Connection) -> Task | None:
            await db.lock("claims")
            await _queue_what_is_due(db, take_over)
            await _shorten(db, max(lease_s, _LONGEST_PAUSE_S))
            for level in await db.fetch_all(_PRIORITIES, TaskState.QUEUED, TaskState.QUEUED):
                owner = await _owner_in_turn(db, level["priority"], max_per_owner or _NO_LIMIT)
                if owner is not None:
                    return await _claim(db, level["priority"], owner, holder, lease_s)
            return None

        return await self._db.write(work)

    async def renew_leases(self, holder: str, task_ids: Sequence[str], lease_s: float) -> set[str]:
        """Keep tasks. Returns those that are still the holder's."""

        async def work(db: Connection) -> set[str]:
            if not task_ids:
                return set()
            rows = await db.fetch_all(
                "UPDATE tasks SET not_before = clock() + ? WHERE holder = ? AND state = ?"
                f" AND id IN ({marks(task_ids)}) RETURNING id",
                lease_s,
                holder,
                TaskState.CLAIMED,
                *task_ids,
            )
            return {row["id"] for row in rows}

        return await self._db.write(work)

    async def requeue_task(self, holder: str, task_id: str, delay_s: float) -> None:
        """Give a task back to be claimed again, by anyone, after `delay_s`."""

        async def work(db: Connection) -> None:
            await db.execute(
                "UPDATE tasks SET state = ?, holder = NULL, not_before = clock() + ?"
                " WHERE id = ? AND holder = ?",
                TaskState.WAITING if delay_s > 0 else TaskState.QUEUED,
                delay_s,
                task_id,
                holder,
            )

        await self._db.write(work)
        self._db.tell(TASKS, task_id)

    async def free_leases(self, whose: str) -> int:
        """Queue what a run of an instance held, or all of its runs: they are over. Returns how
        many tasks that were."""

        async def work(db: Connection) -> int:
            return await db.execute(
                "UPDATE tasks SET state = ?, holder = NULL"
                " WHERE state = ? AND (holder = ? OR holder LIKE ?)",
                TaskState.QUEUED,
                TaskState.CLAIMED,
                whose,
                f"{whose}-%",
            )

        freed = await self._db.write(work)
        if freed:
            self._db.tell(TASKS, whose)
        return freed

    async def absent_holders(self) -> set[str]:
        """Who holds tasks and is not there any more, as far as that can be seen."""

        async def work(db: Connection) -> set[str]:
            rows = await db.fetch_all(
                "SELECT DISTINCT holder FROM tasks WHERE state = ? AND holder LIKE ?",
                TaskState.CLAIMED,
                "%-seen-%",  # an earlier release is not to be seen, and lives all the same
            )
            return {row["holder"] for row in rows}

        return await self._db.absent(await self._db.read(work))

    async def finish_task(self, holder: str, task_id: str) -> None:
        """Nothing of the task is left to do."""

        async def work(db: Connection) -> None:
            await db.execute("DELETE FROM tasks WHERE id = ? AND holder = ?", task_id, holder)

        await self._db.write(work)

    async def count_unclaimed_tasks(self) -> int:
        """How many tasks wait for somebody to claim them, or for another attempt."""

        async def work(db: Connection) -> int:
            row = await db.fetch_one(
                "SELECT count(*) AS waiting FROM tasks WHERE state <> ?", TaskState.CLAIMED
            )
            assert row is not None
            return int(row["waiting"])

        return await self._db.read(work)

    async def finish_unclaimed_tasks(self, job_id: str) -> int:
        """End the job's tasks that nobody has. Returns how many are still claimed."""

        async def work(db: Connection) -> int:
            await db.execute(
                "DELETE FROM tasks WHERE job_id = ? AND (state <> ? OR not_before <= clock())",
                job_id,
                TaskState.CLAIMED,
            )
            row = await db.fetch_one(
                "SELECT count(*) AS claimed FROM tasks WHERE job_id = ?", job_id
            )
            assert row is not None
            return int(row["claimed"])

        return await self._db.write(work)


async def insert_tasks(db: Connection, tasks: Sequence[Task], owner: str, priority: int) -> None:
    await db.execute_many(
        "INSERT INTO tasks (id, job_id, item_ids, owner, priority, state, not_before)"
        " VALUES (?, ?, ?, ?, ?, ?, clock())",
        [
            (
                task.id,
                task.job_id,
                json.dumps(list(task.item_ids)),
                owner,
                priority,
                TaskState.QUEUED,
            )
            for task in tasks
        ],
    )


async def _queue_what_is_due(db: Connection, take_over: bool) -> None:
    """Pauses that are over, and leases that have run out."""
    await db.execute(
        "UPDATE tasks SET state = ?, holder = NULL WHERE state IN (?, ?) AND not_before <= clock()",
        TaskState.QUEUED,
        TaskState.CLAIMED if take_over else TaskState.WAITING,
        TaskState.WAITING,
    )


async def _shorten(db: Connection, longest_s: float) -> None:
    """No lease or pause is longer: one that seems to be was given by a clock that has been set
    back since. From now on it lasts as long as any; who is alive renews it."""
    await db.execute(
        "UPDATE tasks SET not_before = clock() + ? WHERE state IN (?, ?)"
        " AND not_before > clock() + ?",
        longest_s,
        TaskState.CLAIMED,
        TaskState.WAITING,
        longest_s,
    )


async def _owner_in_turn(db: Connection, priority: int, max_per_owner: int) -> str | None:
    queue = (TaskState.QUEUED, priority)
    row = await db.fetch_one(
        _OWNER_IN_TURN, *queue, *queue, TaskState.CLAIMED, max_per_owner, *queue
    )
    return row["owner"] if row else None


async def _claim(db: Connection, priority: int, owner: str, holder: str, lease_s: float) -> Task:
    await db.execute(
        "INSERT INTO owners (owner, last_turn) VALUES (?, clock())"
        " ON CONFLICT (owner) DO UPDATE SET last_turn = excluded.last_turn",
        owner,
    )
    row = await db.fetch_one(
        "UPDATE tasks SET state = ?, holder = ?, not_before = clock() + ?"
        " WHERE id = (SELECT min(id) FROM tasks WHERE state = ? AND priority = ? AND owner = ?)"
        " RETURNING *",
        TaskState.CLAIMED,
        holder,
        lease_s,
        TaskState.QUEUED,
        priority,
        owner,
    )
    assert row is not None
    return _task(row)


def _task(row: Row) -> Task:
    return Task(row["id"], row["job_id"], json.loads(row["item_ids"]))
