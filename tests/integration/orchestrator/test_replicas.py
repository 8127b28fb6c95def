"""Several orchestrators share one PostgreSQL database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.job_pb2 import Job
from apigpu.worker.v1 import worker_service_pb2 as worker

from orchestrator.running.presence import Presence
from orchestrator.store.postgres import PostgresDatabase
from orchestrator.store.store import Store
from tests import requests
from tests.integration.store.stored import LEASE_S, add_job
from tests.requests import pictures
from tests.scripted_worker import ScriptedWorker, Sender, do_all, serve
from tests.services import free_port, in_process, process

if TYPE_CHECKING:
    from apigpu.video.v1.video_service_pb2_grpc import VideoServiceAsyncStub

NO_WORKER = "127.0.0.1:1"


async def hang(task: worker.Task, sender: Sender) -> None:
    sender.start()
    sender.progress(task.items[0].id, 40)
    await asyncio.Event().wait()


@asynccontextmanager
async def a_job_at_one_of_two(
    data_dir: Path, url: str, scripted: ScriptedWorker
) -> AsyncIterator[tuple[VideoServiceAsyncStub, Job]]:
    """A job is being worked on; yields the replica that has no part in it. Leases are so long
    that nobody can wait for their end."""
    patient = {"database_url": url, "lease_s": 600}
    async with (
        serve(scripted) as address,
        in_process(data_dir, (address,), **patient),
        in_process(data_dir, (NO_WORKER,), **patient) as other,
    ):
        job = await other.CreateJob(requests.create(pictures("a")))
        await under_way(other, job)
        yield other, job


async def under_way(stub: VideoServiceAsyncStub, job: Job) -> None:
    """Wait until a worker is at it."""
    async for event in stub.WatchJob(requests.watch(job)):
        if event.item.progress.percent >= 40:
            break


async def test_a_job_that_is_cancelled_at_another_replica_stops_at_once(
    tmp_path: Path, postgres_url: str
) -> None:
    scripted = ScriptedWorker(hang)
    async with a_job_at_one_of_two(tmp_path, postgres_url, scripted) as (other, job):
        await other.CancelJob(video_service_pb2.CancelJobRequest(name=job.name))
        ended = await asyncio.wait_for(requests.finished(other.WatchJob(requests.watch(job))), 10)
        assert ended.state == Job.CANCELLED
        await asyncio.wait_for(scripted.cancelled.wait(), 10)


async def test_what_a_killed_replica_was_at_goes_on_at_another_long_before_its_lease_ends(
    tmp_path: Path, postgres_url: str
) -> None:
    port = free_port()
    patient = {"database_url": postgres_url, "lease_s": 600}
    async with (
        serve(ScriptedWorker(hang)) as address,
        process(
            tmp_path,
            APIGPU_DATABASE_URL=postgres_url,
            APIGPU_WORKERS=address,
            APIGPU_LEASE_S="600",
        ) as doomed,
        in_process(tmp_path, (f"127.0.0.1:{port}",), **patient) as other,
    ):
        job = await other.CreateJob(requests.create(pictures("a")))
        await under_way(other, job)
        await doomed.kill()
        async with serve(ScriptedWorker(do_all), f"127.0.0.1:{port}"):
            story = other.WatchJob(requests.watch(job))
            ended = await asyncio.wait_for(requests.finished(story), 30)
        assert ended.state == Job.SUCCEEDED
        lost, _ = ended.attempts
        assert requests.reason_of(lost.error) == "ORCHESTRATOR_LOST"


class Replica:
    """A store with somebody who stands for it."""

    def __init__(self, url: str, holder: str) -> None:
        self.store = Store(PostgresDatabase(url))
        self.store.stand_for(holder)
        self.heard: asyncio.Queue[str] = asyncio.Queue()
        self.store.when_tasks_are_free(self.heard.put_nowait)

    async def open(self) -> Replica:
        await self.store.open()
        await self.connected()
        return self

    async def connected(self) -> None:
        """It listens, and so it is seen."""
        while await asyncio.wait_for(self.heard.get(), 10):
            pass


async def test_a_replica_whose_connection_is_cut_keeps_what_it_is_at(postgres_url: str) -> None:
    here, there = [
        await Replica(postgres_url, name).open() for name in ("here-seen-1", "there-seen-1")
    ]
    presence = Presence(here.store)
    await add_job(here.store, tasks=3)
    for holder in ("there-seen-1", "dead-seen-1", "of-an-earlier-release"):
        assert await here.store.claim_task(holder, LEASE_S)
    await presence.look(now=0.0)
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()
    for replica in (here, there):
        await replica.connected()
    await presence.look(now=1.0)
    assert await here.store.claim_task("here-seen-1", LEASE_S) is None
    await presence.look(now=10.0)
    freed = [await here.store.claim_task("here-seen-1", LEASE_S) for _ in range(2)]
    assert freed[0] is not None and freed[1] is None, "the dead one's, and no other's"
    for replica in (here, there):
        await replica.store.close()
