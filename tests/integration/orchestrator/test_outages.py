"""The database is away for a while: callers are told to come back, work in progress goes on."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from apigpu.video.v1.job_pb2 import Job
from apigpu.worker.v1 import worker_service_pb2 as worker

from tests import postgres, requests
from tests.requests import Refusal, pictures
from tests.scripted_worker import ScriptedWorker, Sender, do_all, serve
from tests.services import in_process

if TYPE_CHECKING:
    from apigpu.video.v1.video_service_pb2_grpc import VideoServiceAsyncStub


class Halfway:
    """A worker's script that waits in the middle, and before the end, for the test."""

    def __init__(self) -> None:
        self.go, self.end = asyncio.Event(), asyncio.Event()

    async def __call__(self, task: worker.Task, sender: Sender) -> None:
        sender.start()
        sender.progress("a", 40)
        await self.go.wait()
        await sender.succeed("a")
        await self.end.wait()
        sender.finish([await sender.succeed("b")])


@asynccontextmanager
async def halfway(
    data_dir: Path, **settings: object
) -> AsyncIterator[tuple[VideoServiceAsyncStub, Job, Halfway, ScriptedWorker]]:
    """A service with a job that a worker is in the middle of."""
    script = Halfway()
    scripted = ScriptedWorker(script, do_all)
    async with (
        serve(scripted) as address,
        in_process(data_dir, (address,), lease_s=1, **settings) as stub,
    ):
        job = await stub.CreateJob(requests.create(pictures("a", "b")))
        async for event in stub.WatchJob(requests.watch(job)):
            if event.item.progress.percent >= 40:
                break
        yield stub, job, script, scripted


async def refusal(stub: VideoServiceAsyncStub) -> Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.CreateJob(requests.create(pictures("c")), timeout=15)
    return Refusal(refused.value)


async def goes_on(
    stub: VideoServiceAsyncStub, job: Job, script: Halfway, scripted: ScriptedWorker
) -> None:
    """New work is done, and the old job was never taken from the one who was at it."""
    another = await requests.finished(stub.RunJob(requests.run(pictures("a"))))
    assert another.state == Job.SUCCEEDED
    script.end.set()
    ended_job = await asyncio.wait_for(requests.finished(stub.WatchJob(requests.watch(job))), 30)
    assert ended_job.state == Job.SUCCEEDED
    assert len(ended_job.attempts) == 1
    assert len(scripted.tasks) == 2


async def test_a_locked_sqlite_file_costs_callers_a_retry_and_jobs_nothing(tmp_path: Path) -> None:
    async with halfway(tmp_path) as (stub, job, script, scripted):
        locker = sqlite3.connect(tmp_path / "jobs.sqlite3", isolation_level=None)
        with contextlib.closing(locker):
            locker.execute("BEGIN IMMEDIATE")
            script.go.set()
            refused = await refusal(stub)
            assert (refused.code, refused.reason) == (
                grpc.StatusCode.UNAVAILABLE,
                "STORE_UNAVAILABLE",
            )
            assert refused.retry_delay_s > 0
            locker.execute("ROLLBACK")
        await goes_on(stub, job, script, scripted)


@pytest.fixture
def own_postgres() -> Iterator[Path]:
    """The folder of a server that this test may kill."""
    folder = Path(tempfile.mkdtemp(prefix="apigpu-postgres-"))
    yield folder
    postgres.remove(folder)


async def test_a_killed_postgres_costs_callers_a_retry_and_jobs_nothing(
    tmp_path: Path, own_postgres: Path
) -> None:
    url = await asyncio.to_thread(postgres.start, own_postgres)
    async with halfway(tmp_path, database_url=url) as (stub, job, script, scripted):
        await postgres.crash(own_postgres)
        script.go.set()
        refused = await refusal(stub)
        assert (refused.code, refused.reason) == (
            grpc.StatusCode.UNAVAILABLE,
            "STORE_UNAVAILABLE",
        )
        await asyncio.to_thread(postgres.start, own_postgres)
        await goes_on(stub, job, script, scripted)
