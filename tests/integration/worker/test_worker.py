"""The worker as a process: real gRPC, real FFmpeg, real signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from apigpu.worker.v1 import worker_service_pb2 as worker
from apigpu.worker.v1.worker_service_pb2_grpc import WorkerServiceStub
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from PIL import Image

from gpu_worker.server import SERVICE
from tests import requests
from tests.processes import descendants, ended
from tests.requests import Refusal
from tests.services import START_TIMEOUT_S, worker_process

# Starts a worker as the orchestrator does, passes its ready line on, and waits to be killed.
PARENT = """
import subprocess, sys
command = [sys.executable, "-m", "gpu_worker", "--listen", "127.0.0.1:0", "--die-with-parent"]
pipe = subprocess.PIPE
worker = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)
print(worker.stdout.readline().decode(), end="", flush=True)
worker.wait()
"""


@asynccontextmanager
async def stub_for(address: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield WorkerServiceStub(channel)


@asynccontextmanager
async def standalone(work_dir: Path, listen: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker on a host of its own, without a parent to die with."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gpu_worker", "--listen", listen),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "APIGPU_WORKER_WORK_DIR": str(work_dir)},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ready(process: asyncio.subprocess.Process) -> str:
    """Wait until it serves; returns its address."""
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
    return line.decode().split()[1]


def picture(path: Path, size: tuple[int, int] = (320, 180)) -> Path:
    Image.effect_noise(size, 40).convert("RGB").save(path)
    return path


def batch(
    paths: list[Path], out: Path, duration_s: float = 0.5, limit_s: float = 60
) -> worker.Task:
    """A task of small clips; the item of a path has its stem as id."""
    task = worker.Task(id="t", attempt_id="t-1", job="jobs/1")
    task.time_limit.FromMilliseconds(int(limit_s * 1000))
    task.images_to_videos.width, task.images_to_videos.height = 160, 90
    for path in paths:
        image = task.images_to_videos.images.add(id=path.stem)
        image.image.file = f"files/{path.stem}"
        image.duration.CopyFrom(requests.seconds(duration_s))
        task.files[image.image.file].path = str(path)
        task.items.add(id=path.stem).target.path = str(out / f"{path.stem}.mp4")
    return task


async def execute(stub: Any, task: worker.Task) -> list[worker.TaskEvent]:
    """All events; checks what holds for every stream of a worker."""
    events = [event async for event in stub.Execute(worker.ExecuteRequest(task=task))]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert {event.attempt_id for event in events} == {task.attempt_id}
    assert events[0].HasField("started")
    assert events[-1].HasField("finished")
    assert [r.item_id for r in events[-1].finished.results] == [i.id for i in task.items]
    return events


def files_in_the_making(work_dir: Path) -> list[Path]:
    return [path for path in work_dir.rglob("*") if path.is_file() and path.name != "lock"]


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "unix"])
async def test_one_bad_picture_of_five_costs_only_itself(tmp_path: Path, listen: str) -> None:
    paths = [picture(tmp_path / f"p{number}.png") for number in range(5)]
    paths[2].write_text("this is no picture, whatever its name says\n" * 20)
    address = f"unix:{tmp_path / 'w.sock'}" if listen == "unix" else listen
    work_dir = tmp_path / "work"
    async with worker_process(work_dir, address) as (_, bound), stub_for(bound) as stub:
        events = await execute(stub, batch(paths, tmp_path))
        results = events[-1].finished.results
        assert [result.HasField("output") for result in results] == [True, True, False, True, True]
        error = results[2].error
        assert requests.reason_of(error) == "NOT_AN_IMAGE"
        assert requests.blamed_by(error) == ["images_to_videos.images[2].image"]
        for result in (results[0], results[4]):
            target = tmp_path / f"{result.item_id}.mp4"
            assert target.stat().st_size == result.output.size_bytes
            assert result.output.frame_count == 12
        assert not files_in_the_making(work_dir)
        told = [e.progress.progress.percent for e in events if e.progress.item_id == "p0"]
        assert told == sorted(told) and told[-1] >= 90


async def test_a_task_beyond_its_time_limit_is_stopped_and_says_so(tmp_path: Path) -> None:
    path = picture(tmp_path / "long.png", (1920, 1080))
    work_dir = tmp_path / "work"
    async with worker_process(work_dir) as (_, address), stub_for(address) as stub:
        events = await execute(stub, batch([path], tmp_path, duration_s=600, limit_s=1.5))
        (result,) = events[-1].finished.results
        assert requests.reason_of(result.error) == "TIME_LIMIT"
        assert not files_in_the_making(work_dir)
        assert not (tmp_path / "long.mp4").exists()


async def encoding(stub: Any, task: worker.Task) -> Any:
    """A call whose FFmpeg is at work."""
    call = stub.Execute(worker.ExecuteRequest(task=task))
    async for event in call:
        if event.progress.progress.frames_done:
            return call
    raise AssertionError("it ended before it encoded")


async def test_a_cancelled_task_stops_its_processes_and_the_next_one_runs(tmp_path: Path) -> None:
    path = picture(tmp_path / "p.png", (1920, 1080))
    work_dir = tmp_path / "work"
    async with (
        worker_process(work_dir, BATCH_SIZE="1") as (process, address),
        stub_for(address) as stub,
    ):
        call = await encoding(stub, batch([path], tmp_path, duration_s=600))
        children = descendants(process.pid)
        assert children, "nothing to stop"
        call.cancel()
        await ended(children, 5)
        events = await execute(stub, batch([path], tmp_path))
        assert events[-1].finished.results[0].HasField("output")
        assert not files_in_the_making(work_dir)


async def test_a_worker_that_is_told_to_end_leaves_nothing_behind(tmp_path: Path) -> None:
    path = picture(tmp_path / "p.png", (1920, 1080))
    work_dir = tmp_path / "work"
    async with worker_process(work_dir) as (process, address), stub_for(address) as stub:
        call = await encoding(stub, batch([path], tmp_path, duration_s=600))
        children = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError) as told:
            async for _ in call:
                pass
        assert told.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await asyncio.wait_for(process.wait(), 15) == 0
        await ended(children, 5)
    assert [path.name for path in work_dir.iterdir()] == ["lock"]
    assert not (tmp_path / "p.mp4").exists()


async def test_balancers_hear_that_a_worker_is_about_to_end(tmp_path: Path) -> None:
    async with (
        standalone(tmp_path / "work", "127.0.0.1:0") as process,
        grpc.aio.insecure_channel(await ready(process)) as channel,
    ):
        health: Any = health_pb2_grpc.HealthStub(channel)
        states = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await states.read()).status == health_pb2.HealthCheckResponse.SERVING
        process.send_signal(signal.SIGTERM)
        assert (await states.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        states.cancel()
        assert await asyncio.wait_for(process.wait(), 15) == 0


async def test_a_parent_that_is_killed_takes_its_worker_and_all_its_processes_along(
    tmp_path: Path,
) -> None:
    path = picture(tmp_path / "p.png", (1920, 1080))
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "APIGPU_WORKER_WORK_DIR": str(tmp_path / "work")},
    )
    async with stub_for(await ready(parent)) as stub:
        await encoding(stub, batch([path], tmp_path, duration_s=600))
        family = descendants(parent.pid)
        assert len(family) >= 2, "a worker and its FFmpeg"
        parent.kill()
        await parent.wait()
        await ended(family, 15)
    assert not files_in_the_making(tmp_path / "work")


async def test_a_killed_worker_leaves_nothing_that_looks_finished_and_is_cleaned_up_after(
    tmp_path: Path,
) -> None:
    path = picture(tmp_path / "p.png", (1920, 1080))
    work_dir = tmp_path / "work"
    async with worker_process(work_dir) as (process, address), stub_for(address) as stub:
        await encoding(stub, batch([path], tmp_path, duration_s=600))
        children = descendants(process.pid)
        process.kill()
        await process.wait()
        await ended(children, 5)
        assert files_in_the_making(work_dir), "the kill came too late to show anything"
        assert not (tmp_path / "p.mp4").exists()
    async with worker_process(work_dir):
        assert not files_in_the_making(work_dir)


async def test_a_worker_says_what_it_can_do_and_how_it_is(tmp_path: Path) -> None:
    async with (
        worker_process(tmp_path / "work", BATCH_SIZE="5") as (_, address),
        stub_for(address) as stub,
        grpc.aio.insecure_channel(address) as channel,
    ):
        found = await stub.GetCapabilities(worker.GetCapabilitiesRequest())
        assert found.max_parallel_items == 5
        assert found.ffmpeg_version and found.version
        assert {encoder.name for encoder in found.encoders} >= {"h264_nvenc", "libx264"}
        assert all(encoder.works or encoder.reason for encoder in found.encoders)
        health: Any = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        messages: Any = health_pb2  # its type stubs do not know List
        statuses = (await health.List(messages.HealthListRequest())).statuses
        assert {"", SERVICE} <= set(statuses)
        untyped: Any = channel  # its type stubs know blocking channels only
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(untyped)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = [a async for a in reflection.ServerReflectionInfo(iter([asked]))]
        assert SERVICE in [service.name for service in answer.list_services_response.service]


async def test_a_task_against_the_rules_is_refused(tmp_path: Path) -> None:
    async with worker_process(tmp_path / "work") as (_, address), stub_for(address) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Execute(worker.ExecuteRequest(task=worker.Task(id="t"))).read()
    refusal = Refusal(refused.value)
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "task.operation" in refusal.fields


async def test_a_worker_that_cannot_serve_says_why_and_ends(tmp_path: Path) -> None:
    async with (
        worker_process(tmp_path / "work") as (_, address),
        standalone(tmp_path / "work", address) as second,
    ):
        _, told = await asyncio.wait_for(second.communicate(), START_TIMEOUT_S)
        assert second.returncode == 1
        refused = f"cannot serve: APIGPU_WORKER_LISTEN={address}: address already in use"
        assert refused in told.decode()
        assert "works" not in told.decode(), "the encoders were tried before"
