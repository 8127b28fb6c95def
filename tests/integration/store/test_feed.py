"""What one process changes in PostgreSQL, the others hear of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from orchestrator import ids
from orchestrator.store.postgres import PostgresDatabase
from orchestrator.store.records import Change
from orchestrator.store.store import Store
from tests.integration.store.stored import LEASE_S, NOW, add_job


class Listener:
    """A store, and what it has heard from others."""

    def __init__(self, url: str) -> None:
        self.store = Store(PostgresDatabase(url))
        self.jobs: asyncio.Queue[str] = asyncio.Queue()
        self.tasks: asyncio.Queue[str] = asyncio.Queue()
        self.store.when_jobs_change(self.jobs.put_nowait)
        self.store.when_tasks_are_free(self.tasks.put_nowait)

    async def open(self) -> Listener:
        await self.store.open()
        # Whoever begins to listen may have missed what was told before.
        assert await heard(self.jobs) == await heard(self.tasks) == ""
        return self


async def heard(queue: asyncio.Queue[str]) -> str:
    return await asyncio.wait_for(queue.get(), 5)


@pytest.fixture
async def pair(postgres_url: str) -> AsyncIterator[tuple[Listener, Listener]]:
    here, there = [await Listener(postgres_url).open() for _ in range(2)]
    yield here, there
    for listener in (here, there):
        await listener.store.close()


async def test_changes_reach_the_others_and_not_oneself(pair: tuple[Listener, Listener]) -> None:
    here, there = pair
    machine = await add_job(here.store)
    job_id = ids.id_of(machine.job.name)
    assert await heard(there.jobs) == await heard(there.tasks) == job_id
    machine.start("t-1", "worker", NOW)
    machine.attempt_begun("t-1", ["a"], "test", NOW)
    await here.store.save(Change(job_id, machine.job, machine.take_events()))
    assert await heard(there.jobs) == job_id
    task = await there.store.claim_task("h", LEASE_S)
    assert task is not None
    await there.store.requeue_task("h", task.id, 0)
    assert await heard(here.tasks) == task.id
    await there.store.delete_job(job_id)
    assert await heard(here.jobs) == job_id
    assert here.jobs.empty() and here.tasks.empty() and there.jobs.empty()


async def test_whoever_lost_the_line_is_told_that_something_may_be_missing(
    pair: tuple[Listener, Listener], postgres_url: str
) -> None:
    here, there = pair
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()
    assert await heard(there.jobs) == ""
    job = (await add_job(here.store)).job
    assert await heard(there.jobs) == ids.id_of(job.name)


async def test_a_flood_of_changes_arrives_whole(pair: tuple[Listener, Listener]) -> None:
    here, there = pair
    made = await asyncio.gather(*(add_job(here.store) for _ in range(400)))
    told = {await heard(there.jobs) for _ in made}
    assert told == {ids.id_of(machine.job.name) for machine in made}
