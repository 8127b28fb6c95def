"""An orchestrator that is killed at the worst moments loses nothing and doubles nothing: work that
died with it is done again, a RunPod job that went on is followed again."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import asyncpg
import grpc
import pytest
from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.job_pb2 import Job
from apigpu.worker.v1 import worker_service_pb2 as worker

from orchestrator.files.arrivals import ARRIVALS
from tests import doomed, requests
from tests.e2e.conftest import Scripted
from tests.requests import pictures
from tests.scripted_worker import ScriptedWorker, Sender
from tests.services import connect, free_port, process
from tests.waiting import until

if TYPE_CHECKING:
    from apigpu.video.v1.video_service_pb2_grpc import VideoServiceAsyncStub


async def work(task: worker.Task, sender: Sender) -> None:
    sender.start()
    for item in task.items:
        sender.progress(item.id, 40)
    sender.finish([await delivered(item.id, sender) for item in task.items])


async def delivered(item_id: str, sender: Sender) -> worker.ItemResult:
    """As a real worker does, it tries again where nobody takes the result."""
    while True:
        with contextlib.suppress(aiohttp.ClientError):
            return await sender.succeed(item_id)
        await asyncio.sleep(0.1)


def arrivals_in(data_dir: Path) -> list[str]:
    return [path.name for path in (data_dir / "files" / ARRIVALS).iterdir()]


def results_in(data_dir: Path) -> list[str]:
    return sorted(p.name for p in (data_dir / "files").iterdir() if p.name != ARRIVALS)


async def tasks_left(data_dir: Path, url: str) -> int:
    if not url:
        with contextlib.closing(sqlite3.connect(data_dir / "jobs.sqlite3")) as db:
            return int(db.execute("SELECT count(*) FROM tasks").fetchone()[0])
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM tasks"))
    finally:
        await connection.close()


async def whole_story(stub: VideoServiceAsyncStub, job: Job) -> Job:
    return await requests.finished(stub.WatchJob(requests.watch(job)))


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else ""


# What differs between the engines is shown by one of the points.
_OF_JOBS = [point for point in doomed.POINTS if point != "tell"]
CASES = [*((point, "sqlite") for point in _OF_JOBS), ("record", "postgres")]


@pytest.mark.parametrize(("point", "url"), CASES, indirect=["url"])
async def test_a_job_survives_a_kill(
    point: str, url: str, scripted: Scripted, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    # Results are brought to the same address after the restart.
    here = f"127.0.0.1:{free_port()}"
    environment = {
        "APIGPU_LEASE_S": "600",
        "APIGPU_DATABASE_URL": url,
        "APIGPU_HTTP_LISTEN": here,
        "APIGPU_SWEEP_INTERVAL_S": "0.2",
    }
    async with scripted.by(ScriptedWorker(work)) as backend:
        environment.update(backend.environment)
        async with (
            process(data_dir, "tests.doomed", point, **environment) as service,
            connect(service.address) as stub,
        ):
            job = await stub.CreateJob(requests.create(pictures("a", "b"), request_id="once"))
            await asyncio.wait_for(service.process.wait(), 20)
            assert service.process.returncode == -9
        async with (
            process(data_dir, **environment) as service,
            connect(service.address) as stub,
        ):
            again = await stub.CreateJob(requests.create(pictures("a", "b"), request_id="once"))
            assert again.name == job.name
            ended = await asyncio.wait_for(whole_story(stub, job), 20)
            assert ended.state == Job.SUCCEEDED
            lost = [a for a in ended.attempts if a.HasField("error")]
            went_on = backend.name == "runpod" and point != "dispatch"
            assert len(ended.attempts) == (1 if went_on or point == "finish" else 2)
            assert all(requests.reason_of(a.error) == "ORCHESTRATOR_LOST" for a in lost)
            files = sorted(item.output.file.removeprefix("files/") for item in ended.items)
            assert len(set(files)) == 2
            kept = results_in(data_dir)
            assert set(files) <= set(kept)
            async with asyncio.timeout(5):
                while await tasks_left(data_dir, url):
                    pass  # the job's end is told a moment before its task's
            await until(lambda: not arrivals_in(data_dir))
            await stub.DeleteJob(video_service_pb2.DeleteJobRequest(name=job.name))
            assert results_in(data_dir) == []
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.GetJob(video_service_pb2.GetJobRequest(name=job.name))
