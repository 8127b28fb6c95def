"""WorkerService over real gRPC, with operations that a test holds and lets go: turns, limits,
cancels, and what is told of them."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web
from apigpu.video.v1 import job_pb2
from apigpu.worker.v1 import worker_service_pb2 as worker
from apigpu.worker.v1.worker_service_pb2_grpc import (
    WorkerServiceStub,
    add_WorkerServiceServicer_to_server,
)

from apigpu_common import __version__
from apigpu_common.errors import is_retryable
from apigpu_common.interceptors.errors import ErrorInterceptor
from apigpu_common.interceptors.validation import ValidationInterceptor
from gpu_worker.fetch import Fetcher
from gpu_worker.media.encoders import Toolbox
from gpu_worker.operations import OPERATIONS
from gpu_worker.operations.base import ItemContext
from gpu_worker.service import WorkerService
from gpu_worker.settings import WorkerSettings
from gpu_worker.workspace import Workspaces
from tests.http_server import serving
from tests.integration.media.test_cage import HAS_LANDLOCK, does
from tests.requests import blamed_by, reason_of, seconds

NO_TOOLS = Toolbox(Path("/nowhere/ffmpeg"), "0", (), 1)
SOON_S = 10.0  # far more than it takes; a wait that is over at once where all is well

Act = Callable[[str, ItemContext], Awaitable[None]]
Play = Callable[[Act], None]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """Replaces what is done for a picture; every item that gets through leaves a file."""

    def use(act: Act) -> None:
        async def operation(
            task: worker.Task, item_id: str, context: ItemContext
        ) -> job_pb2.Output:
            await act(item_id, context)
            context.result.write_bytes(b"a video")
            return job_pb2.Output(size_bytes=7, frame_count=24)

        monkeypatch.setitem(OPERATIONS, "images_to_videos", operation)

    return use


@asynccontextmanager
async def worker_with(work_dir: Path, slots: int = 2) -> AsyncIterator[tuple[Any, WorkerService]]:
    """A worker in this process that may fetch from loopback: its stub and itself."""
    settings = WorkerSettings.model_validate({"fetch_allow": "127.0.0.0/8"})
    server = grpc.aio.server(interceptors=[ErrorInterceptor(), ValidationInterceptor()])
    port = server.add_insecure_port("127.0.0.1:0")
    async with Workspaces(work_dir) as workspaces, Fetcher(settings) as fetcher:
        service = WorkerService("w", "NVIDIA L4", NO_TOOLS, workspaces, fetcher, slots)
        add_WorkerServiceServicer_to_server(service, server)
        await server.start()
        # A reader that does not read is felt early, as it would be across a slow network.
        options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16384)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
            yield WorkerServiceStub(channel), service
        await server.stop(0)


def request(
    out: Path, *ids: str, limit_s: float = 60, uri: str = "http://127.0.0.1:1/"
) -> worker.ExecuteRequest:
    task = worker.Task(id="t", attempt_id=f"{ids[0]}-1", job="jobs/1", time_limit=seconds(limit_s))
    for item_id in ids:
        image = task.images_to_videos.images.add(id=item_id, duration=seconds(1))
        image.image.uri = uri
        task.items.add(id=item_id).target.path = str(out / f"{item_id}.mp4")
    return worker.ExecuteRequest(task=task)


async def results_of(call: Any) -> list[worker.ItemResult]:
    events = [event async for event in call]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    return list(events[-1].finished.results)


def folders_in_use(work_dir: Path) -> list[Path]:
    return [path for path in work_dir.glob("*/*") if path.is_dir()]


async def test_a_short_task_does_not_wait_for_all_of_a_long_one(tmp_path: Path, play: Play) -> None:
    begun: list[str] = []
    first, go_on = asyncio.Event(), asyncio.Event()

    async def act(item_id: str, context: ItemContext) -> None:
        begun.append(item_id)
        first.set()
        await go_on.wait()

    play(act)
    async with worker_with(tmp_path / "work", slots=1) as (stub, _):
        long = stub.Execute(request(tmp_path, *(f"long{number}" for number in range(8))))
        await asyncio.wait_for(first.wait(), SOON_S)
        short = stub.Execute(request(tmp_path, "short"))
        told = (await short.read()).started
        assert (told.worker_id, told.gpu, told.version) == ("w", "NVIDIA L4", __version__)
        go_on.set()
        await asyncio.gather(results_of(long), short.read())
    assert begun.index("short") <= 2


async def test_no_more_items_run_at_a_time_than_the_worker_has_slots(
    tmp_path: Path, play: Play
) -> None:
    running = most = 0
    together = asyncio.Barrier(2)

    async def act(item_id: str, context: ItemContext) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.wait_for(together.wait(), SOON_S)  # as many as there are slots
        running -= 1

    play(act)
    async with worker_with(tmp_path / "work", slots=2) as (stub, _):
        calls = [
            stub.Execute(request(tmp_path, *(f"{task}{number}" for number in range(4))))
            for task in "ab"
        ]
        for results in await asyncio.gather(*map(results_of, calls)):
            assert all(result.HasField("output") for result in results)
    assert most == 2


async def test_what_broke_in_the_worker_is_not_told_outside(
    tmp_path: Path, play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(item_id: str, context: ItemContext) -> None:
        if item_id == "bad":
            raise ValueError("secret detail")

    play(act)
    async with worker_with(tmp_path / "work") as (stub, _):
        bad, good = await results_of(stub.Execute(request(tmp_path, "bad", "good")))
    assert reason_of(bad.error) == "INTERNAL" and is_retryable(bad.error)
    assert "secret" not in str(bad)
    assert "secret detail" in caplog.text
    assert good.HasField("output") and (tmp_path / "good.mp4").read_bytes() == b"a video"


async def test_a_full_or_broken_disk_is_not_called_a_time_limit(tmp_path: Path, play: Play) -> None:
    async def act(item_id: str, context: ItemContext) -> None:
        raise AssertionError("there is no folder to work in")

    play(act)
    async with worker_with(tmp_path / "work") as (stub, _):
        shutil.rmtree(tmp_path / "work")
        results = await results_of(stub.Execute(request(tmp_path, "a", "b")))
    assert [reason_of(result.error) for result in results] == ["INTERNAL"] * 2
    assert all(is_retryable(result.error) for result in results)


async def test_an_input_of_several_items_is_fetched_once_and_all_are_told_of_it(
    tmp_path: Path, play: Play
) -> None:
    requests = 0
    half_told = asyncio.Event()

    async def handler(http: web.Request) -> web.StreamResponse:
        nonlocal requests
        requests += 1
        response = web.StreamResponse(headers={"Content-Length": "2000"})
        await response.prepare(http)
        await response.write(b"1" * 1000)
        await asyncio.wait_for(half_told.wait(), SOON_S)
        await response.write(b"2" * 1000)
        return response

    bodies = {}
    play_task = request(tmp_path, "a", "b")

    async def act(item_id: str, context: ItemContext) -> None:
        image = play_task.task.images_to_videos.images[0].image
        bodies[item_id] = (await context.fetch(image, f"{item_id}.image")).read_bytes()

    play(act)
    async with serving(handler) as base, worker_with(tmp_path / "work") as (stub, _):
        for image in play_task.task.images_to_videos.images:
            image.image.uri = base + "/picture?signature=1"
        told = set()
        async for event in stub.Execute(play_task):
            if event.progress.progress.percent:
                told.add(event.progress.item_id)
            if told == {"a", "b"}:
                half_told.set()
    assert bodies == dict.fromkeys("ab", b"1" * 1000 + b"2" * 1000)
    assert requests == 1


async def test_each_item_blames_its_own_field_for_an_input_that_is_missing(
    tmp_path: Path, play: Play
) -> None:
    requests: Counter[str] = Counter()

    async def handler(http: web.Request) -> web.StreamResponse:
        requests[http.path] += 1
        return web.Response(status=404)

    async with serving(handler) as base, worker_with(tmp_path / "work") as (stub, _):
        asked = request(tmp_path, "a", "b", uri=base + "/gone")

        async def act(item_id: str, context: ItemContext) -> None:
            await context.fetch(asked.task.images_to_videos.images[0].image, f"{item_id}.image")

        play(act)
        results = await results_of(stub.Execute(asked))
    assert [reason_of(result.error) for result in results] == ["SOURCE_NOT_FOUND"] * 2
    assert [blamed_by(result.error) for result in results] == [["a.image"], ["b.image"]]
    assert requests == {"/gone": 1}


async def test_of_a_flood_of_progress_the_newest_is_told(tmp_path: Path, play: Play) -> None:
    newest_told = asyncio.Event()

    async def act(item_id: str, context: ItemContext) -> None:
        for frame in range(10_001):
            context.report(job_pb2.Progress(frames_done=frame))
        await asyncio.wait_for(newest_told.wait(), SOON_S)

    play(act)
    async with worker_with(tmp_path / "work") as (stub, _):
        told = []
        async for event in stub.Execute(request(tmp_path, "a")):
            if event.HasField("progress"):
                told.append(event.progress.progress.frames_done)
            if told and told[-1] == 10_000:
                newest_told.set()
    assert len(told) <= 4


async def test_a_time_limit_keeps_what_was_done_and_stops_the_rest_before_it_says_so(
    tmp_path: Path, play: Play
) -> None:
    stopped = []

    async def act(item_id: str, context: ItemContext) -> None:
        if item_id == "slow":
            try:
                await asyncio.Event().wait()
            finally:
                stopped.append(item_id)

    play(act)
    work_dir = tmp_path / "work"
    async with worker_with(work_dir, slots=1) as (stub, _):
        asked = request(tmp_path, "quick", "slow", "never", limit_s=1)
        quick, slow, never = await results_of(stub.Execute(asked))
        assert stopped == ["slow"] and not folders_in_use(work_dir)
        assert quick.HasField("output")
        assert reason_of(slow.error) == reason_of(never.error) == "TIME_LIMIT"
        after = await results_of(stub.Execute(request(tmp_path, "quick")))
        assert after[0].HasField("output"), "the slot was not given back"


@pytest.mark.parametrize("reader", ["reads", "does not read"])
async def test_a_cancel_stops_the_work_whether_or_not_the_caller_reads(
    tmp_path: Path, play: Play, reader: str
) -> None:
    at_last, stopped = asyncio.Event(), asyncio.Event()

    async def act(item_id: str, context: ItemContext) -> None:
        if item_id != "last":
            raise ValueError("x")  # a result that is told at once, of some hundred bytes
        at_last.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    play(act)
    work_dir = tmp_path / "work"
    many = [f"{number}-{'x' * 100}" for number in range(900)]
    async with worker_with(work_dir) as (stub, _):
        asked = request(tmp_path, *(["last"] if reader == "reads" else [*many, "last"]))
        call = stub.Execute(asked)
        assert (await call.read()).HasField("started")
        await asyncio.wait_for(at_last.wait(), 60)
        call.cancel()
        await asyncio.wait_for(stopped.wait(), SOON_S)
        async with asyncio.timeout(SOON_S):
            while folders_in_use(work_dir):
                await asyncio.to_thread(lambda: None)


@pytest.mark.skipif(not HAS_LANDLOCK, reason="this kernel has no Landlock")
async def test_what_an_item_starts_is_in_its_cage(tmp_path: Path, play: Play) -> None:
    """The file of another item, read by a child of this one."""
    foreign, told = tmp_path / "foreign", []
    foreign.write_text("of another job")

    async def act(item_id: str, context: ItemContext) -> None:
        told.append(await does(f"print(open({str(foreign)!r}).read())", context.workspace))

    play(act)
    async with worker_with(tmp_path / "work") as (stub, _):
        await results_of(stub.Execute(request(tmp_path, "a")))
    assert len(told) == 1 and "PermissionError" in told[0], told
