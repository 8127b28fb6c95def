"""What several tasks of a job read is fetched once by a worker: a server counts the requests."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from apigpu.video.v1.job_pb2 import Job

from apigpu_common.errors import ServiceError
from gpu_worker import fetch, shared_inputs
from gpu_worker.fetch import Fetcher
from gpu_worker.inputs import Inputs
from gpu_worker.settings import WorkerSettings
from gpu_worker.shared_inputs import SharedInputs
from gpu_worker.workspace import Workspaces
from tests import requests
from tests.http_server import serving
from tests.integration.worker.test_worker import files_in_the_making, picture
from tests.scripted_worker import ScriptedWorker, serve
from tests.services import in_process, worker_process
from tests.waiting import until


@dataclass
class Source:
    """A server that answers with `body`, and counts."""

    body: bytes = b"a picture"
    status: int = 200
    requests: Counter[str] = field(default_factory=Counter)
    gate: asyncio.Event | None = None  # what the answers wait for

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests[request.path] += 1
        if self.gate is not None:
            await self.gate.wait()
        return web.Response(body=self.body, status=self.status)


@asynccontextmanager
async def shared_by(folder: Path, keep_s: float = 60.0) -> AsyncIterator[SharedInputs]:
    settings = WorkerSettings.model_validate({"fetch_allow": "127.0.0.0/8"})
    async with Workspaces(folder) as workspaces, Fetcher(settings) as fetcher:
        yield SharedInputs(workspaces, fetcher, keep_s=keep_s)


async def got(inputs: Inputs, uri: str) -> bytes:
    path = await inputs.get(requests.source(uri), "images[0].image", {}, lambda _: None)
    return path.read_bytes()


def folders(work_dir: Path) -> list[Path]:
    return [path for path in work_dir.glob("*/*") if path.is_dir()]


async def test_a_job_in_several_tasks_fetches_each_picture_once(tmp_path: Path) -> None:
    """The whole way: tasks of two pictures at most, wherever they stand in the batch. What no
    other task reads goes with its own."""
    server = Source(picture(tmp_path / "p.png").read_bytes())
    job = requests.pictures(*"abcde", duration_s=0.2)
    job.images_to_videos.width, job.images_to_videos.height = 160, 90
    allow, work_dir = {"APIGPU_WORKER_FETCH_ALLOW": "127.0.0.0/8"}, tmp_path / "work"
    async with (
        serving(server.answer) as base,
        worker_process(work_dir, **allow) as (_, worker),
        in_process(tmp_path / "data", (worker,), max_items_per_task=2) as stub,
    ):
        for path, image in zip("01020", job.images_to_videos.images, strict=True):
            image.image.uri = f"{base}/{path}"
        done = await requests.finished(stub.RunJob(requests.run(job)))
        assert done.state == Job.SUCCEEDED, done.error
        await until(lambda: len(files_in_the_making(work_dir)) == 1)
    tasks = sorted("".join(sorted(attempt.item_ids)) for attempt in done.attempts)
    assert tasks == ["ac", "bd", "e"]
    assert server.requests == {"/0": 1, "/1": 1, "/2": 1}


async def test_the_next_task_of_the_job_finds_it_and_another_job_does_not(tmp_path: Path) -> None:
    server = Source()
    async with serving(server.answer) as base, shared_by(tmp_path) as shared:
        for job in ("jobs/1", "jobs/1", "jobs/2"):
            async with shared.of(job) as inputs:
                assert await got(inputs, base + "/p") == b"a picture"
    assert server.requests == {"/p": 2}


async def test_what_broke_off_is_fetched_again_and_what_is_refused_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_FIRST_PAUSE_S", 0.001)
    server = Source(status=503)
    async with (
        serving(server.answer) as base,
        shared_by(tmp_path) as shared,
        shared.of("jobs/1") as first,
    ):
        with pytest.raises(ServiceError, match="again and again"):
            await got(first, base + "/p")
        tries = server.requests["/p"]
        with pytest.raises(ServiceError, match="again and again"):
            await got(first, base + "/p")
        assert server.requests["/p"] == tries, "by the same task, asked for once"
        server.status = 404
        for _ in range(2):
            async with shared.of("jobs/1") as later:
                with pytest.raises(ServiceError, match="has nothing at this URL"):
                    await got(later, base + "/p")
    assert server.requests["/p"] == tries + 1


async def test_what_nobody_comes_back_for_goes(tmp_path: Path) -> None:
    server = Source()
    async with serving(server.answer) as base, shared_by(tmp_path, keep_s=0.0) as shared:
        async with shared.of("jobs/1") as inputs:
            await got(inputs, base + "/p")
            assert folders(tmp_path)
        await until(lambda: not folders(tmp_path))


async def test_what_is_used_again_does_not_go(tmp_path: Path) -> None:
    server = Source()
    async with serving(server.answer) as base, shared_by(tmp_path, keep_s=0.0) as shared:
        async with shared.of("jobs/1") as inputs:
            await got(inputs, base + "/p")
        async with shared.of("jobs/1") as inputs:
            for _ in range(10):  # its time is over at the first of these turns
                await asyncio.sleep(0)
            assert await got(inputs, base + "/p") == b"a picture"
    assert server.requests == {"/p": 1}


async def test_more_than_a_job_may_keep_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_inputs, "_KEPT_BYTES", 8)
    server = Source()
    async with serving(server.answer) as base, shared_by(tmp_path) as shared:
        for _ in range(2):
            async with shared.of("jobs/1") as inputs:
                await got(inputs, base + "/p")
    assert server.requests == {"/p": 2}


async def test_of_many_jobs_the_latest_are_kept(tmp_path: Path) -> None:
    server = Source()
    async with serving(server.answer) as base, shared_by(tmp_path) as shared:
        for number in (1, 2, 3, 4, 1, 5):
            async with shared.of(f"jobs/{number}") as inputs:
                await got(inputs, f"{base}/{number}")
        await until(lambda: len(folders(tmp_path)) == 4)
        async with shared.of("jobs/1") as inputs:
            await got(inputs, f"{base}/1")
    assert server.requests["/1"] == 1, "the one that was longest without a task went"


async def test_nothing_is_fetched_any_more_when_the_last_task_ends(tmp_path: Path) -> None:
    server = Source(gate=asyncio.Event())
    assert server.gate is not None
    async with serving(server.answer) as base, shared_by(tmp_path) as shared:
        async with shared.of("jobs/1") as inputs:
            server.gate.set()
            await got(inputs, base + "/kept")
            server.gate.clear()
            waiting = asyncio.create_task(got(inputs, base + "/p"))
            await until(lambda: server.requests["/p"] == 1)
            waiting.cancel()
        server.gate.set()
        async with shared.of("jobs/1") as inputs:
            assert await got(inputs, base + "/p") == b"a picture"
    assert server.requests == {"/kept": 1, "/p": 2}


async def test_what_was_asked_for_first_is_done_first_and_says_what_it_shares(
    tmp_path: Path,
) -> None:
    scripted = ScriptedWorker()
    scripted.slots = 1
    ids = [f"p{number}" for number in range(10, 20)]
    job = requests.pictures(*ids)
    for number, image in enumerate(job.images_to_videos.images):
        image.image.uri = f"https://media.example/{number // 2}"  # two of each, side by side
    async with (
        serve(scripted) as worker,
        in_process(tmp_path, (worker,), max_items_per_task=1) as stub,
    ):
        done = await requests.finished(stub.RunJob(requests.run(job)))
    assert done.state == Job.SUCCEEDED, done.error
    assert [item.id for task in scripted.tasks for item in task.items] == ids
    for task in scripted.tasks:
        assert task.shared_inputs == [task.images_to_videos.images[0].image.uri]
