"""The worker's service over real gRPC, with operations that a test scripts: for what FFmpeg
cannot be made to do on command."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
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

from apigpu_common.interceptors.errors import ErrorInterceptor
from gpu_worker import service as service_module
from gpu_worker.fetch import Fetcher
from gpu_worker.media.encoders import Toolbox
from gpu_worker.operations.base import ItemContext, Operation
from gpu_worker.service import WorkerService
from gpu_worker.settings import WorkerSettings
from gpu_worker.workspace import Workspaces
from tests import requests
from tests.http_server import serving

NO_TOOLS = Toolbox(Path("/nowhere"), "0", (), 1)


@asynccontextmanager
async def serve(
    operation: Operation, work_dir: Path, monkeypatch: pytest.MonkeyPatch, parallel: int = 2
) -> AsyncIterator[Any]:
    """A worker in this process whose pictures are made by `operation`; yields a stub."""
    monkeypatch.setattr(service_module, "OPERATIONS", {"images_to_videos": operation})
    settings = WorkerSettings.model_validate({"fetch_allow": "127.0.0.0/8"})
    async with Workspaces(work_dir) as workspaces, Fetcher(settings) as fetcher:
        servicer = WorkerService("w", NO_TOOLS, workspaces, fetcher, parallel)
        server = grpc.aio.server(interceptors=[ErrorInterceptor()])
        add_WorkerServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield WorkerServiceStub(channel)
        await server.stop(0)


def task(out: Path, *ids: str, uri: str = "", limit_s: float = 60) -> worker.Task:
    made = worker.Task(id="t", attempt_id="t-1")
    made.time_limit.FromMilliseconds(int(limit_s * 1000))
    for item_id in ids:
        image = made.images_to_videos.images.add(id=item_id)
        image.image.uri = uri
        made.items.add(id=item_id).target.path = str(out / item_id)
    return made


async def execute(stub: Any, asked: worker.Task) -> list[worker.ItemResult]:
    """The results in `finished`."""
    events = [event async for event in stub.Execute(worker.ExecuteRequest(task=asked))]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    return list(events[-1].finished.results)


def finish(context: ItemContext) -> job_pb2.Output:
    context.result.write_bytes(b"a video")
    return job_pb2.Output(size_bytes=7)


async def test_all_tasks_together_take_no_more_than_the_workers_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = asyncio.Barrier(2)
    at_work, most = 0, 0

    async def operation(task: worker.Task, item_id: str, context: ItemContext) -> job_pb2.Output:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await full.wait()  # never fewer, either
        at_work -= 1
        return finish(context)

    async with serve(operation, tmp_path / "work", monkeypatch, parallel=2) as stub:
        tasks = [task(tmp_path, *(f"{n}{i}" for i in "abc")) for n in range(4)]
        done = await asyncio.gather(*(execute(stub, each) for each in tasks))
    assert all(result.HasField("output") for results in done for result in results)
    assert most == 2


async def test_a_url_that_many_items_want_is_fetched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    async def handler(request: web.Request) -> web.StreamResponse:
        calls.append(request.path)
        return web.Response(status=404 if request.path == "/gone" else 200, body=b"picture")

    async def operation(task: worker.Task, item_id: str, context: ItemContext) -> job_pb2.Output:
        image = next(i for i in task.images_to_videos.images if i.id == item_id)
        path = await context.fetch(image.image, f"images[{item_id}].image")
        assert path.read_bytes() == b"picture"
        return finish(context)

    async with (
        serving(handler) as base,
        serve(operation, tmp_path / "work", monkeypatch) as stub,
    ):
        results = await execute(stub, task(tmp_path, "a", "b", "c", uri=f"{base}/picture"))
        assert [result.HasField("output") for result in results] == [True] * 3
        results = await execute(stub, task(tmp_path, "d", "e", uri=f"{base}/gone"))
    assert calls == ["/picture", "/gone"]
    # Each is told of its own field, though one request was made.
    assert [requests.blamed_by(result.error) for result in results] == [
        ["images[d].image"],
        ["images[e].image"],
    ]
    assert {requests.reason_of(result.error) for result in results} == {"SOURCE_NOT_FOUND"}


async def test_an_unexpected_error_costs_one_item_and_its_text_stays_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def operation(task: worker.Task, item_id: str, context: ItemContext) -> job_pb2.Output:
        if item_id == "b":
            raise RuntimeError("the password is 1234")
        return finish(context)

    async with serve(operation, tmp_path / "work", monkeypatch) as stub:
        results = await execute(stub, task(tmp_path, "a", "b", "c"))
    assert [result.HasField("output") for result in results] == [True, False, True]
    assert requests.reason_of(results[1].error) == "INTERNAL"
    assert "1234" not in str(results[1].error)
    assert "1234" in caplog.text, "the operator can find out why"


async def test_trouble_of_our_own_is_not_called_a_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def operation(task: worker.Task, item_id: str, context: ItemContext) -> job_pb2.Output:
        raise AssertionError("reached")

    work_dir = tmp_path / "work"
    async with serve(operation, work_dir, monkeypatch) as stub:
        shutil.rmtree(work_dir)  # as when somebody tidies up, or the disk is full
        (result,) = await execute(stub, task(tmp_path, "a"))
    assert requests.reason_of(result.error) == "INTERNAL"


async def test_items_that_never_got_a_slot_fail_with_the_time_limit_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = []

    async def operation(task: worker.Task, item_id: str, context: ItemContext) -> job_pb2.Output:
        if item_id == "a":
            return finish(context)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.2)  # as children take that must be killed and reaped
            stopped.append(item_id)
        raise AssertionError("reached")

    async with serve(operation, tmp_path / "work", monkeypatch, parallel=1) as stub:
        results = await execute(stub, task(tmp_path, "a", "b", "c", limit_s=1))
        assert stopped == ["b"], "it was still at work when the results were told"
    assert [result.item_id for result in results] == ["a", "b", "c"]
    assert results[0].HasField("output")
    assert [requests.reason_of(result.error) for result in results[1:]] == ["TIME_LIMIT"] * 2


async def test_a_cancel_reaches_the_work_though_nobody_reads_the_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, stopped = asyncio.Event(), asyncio.Event()
    long_id = "i" * 1_000_000  # a few events fill all buffers on the way

    async def operation(task: worker.Task, item_id: str, context: ItemContext) -> job_pb2.Output:
        try:
            for percent in range(100_000):
                context.report(job_pb2.Progress(percent=percent))
                await asyncio.sleep(0.01)
                if percent == 150:
                    busy.set()
        finally:
            stopped.set()
        raise AssertionError("reached")

    async with serve(operation, tmp_path / "work", monkeypatch) as stub:
        asked = task(Path("/tmp"), "a")
        asked.items[0].id = long_id
        call = stub.Execute(worker.ExecuteRequest(task=asked))
        await call.read()
        await busy.wait()
        call.cancel()
        await asyncio.wait_for(stopped.wait(), 5)
