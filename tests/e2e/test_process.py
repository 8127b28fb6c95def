"""The whole system as a user starts it: orchestrator, its worker child, real FFmpeg."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import grpc
import pytest
from apigpu.video.v1 import job_pb2, operations_pb2, video_service_pb2
from apigpu.video.v1.job_pb2 import Item, Job
from PIL import Image

from tests import requests
from tests.e2e.conftest import Backend
from tests.processes import alive, descendants, ended, named
from tests.services import connect, free_port, kept_files, process

NOISE = 64  # random detail, so that encoding takes a while


def picture(path: Path) -> bytes:
    Image.effect_noise((2400, 1350), NOISE).convert("RGB").save(path, quality=90)
    return path.read_bytes()


async def long_job(stub: object, tmp_path: Path, duration_s: float = 60.0) -> job_pb2.Job:
    body = picture(tmp_path / "noise.jpg")
    file = await stub.UploadFile(requests.chunks("noise.jpg", body))  # type: ignore[attr-defined]
    image = operations_pb2.Image(
        id="noise",
        image=operations_pb2.MediaSource(file=file.name),
        duration=requests.seconds(duration_s),
    )
    return job_pb2.Job(images_to_videos=operations_pb2.ImagesToVideos(images=[image]))


def leftovers(work_dir: Path) -> list[str]:
    """Files in the making; a worker's lock and log are none."""
    found = []
    for _, _, names in os.walk(work_dir):  # folders may vanish while we look
        found += [name for name in names if name != "lock" and not name.endswith(".log")]
    return found


async def encoding(events: object) -> job_pb2.JobEvent:
    """Read events until frames are being made."""
    async for event in events:  # type: ignore[attr-defined]
        if event.item.progress.stage == job_pb2.STAGE_ENCODING and event.item.progress.frames_done:
            return event  # type: ignore[no-any-return]
    raise AssertionError("the job ended before it was seen encoding")


async def test_cancel_stops_ffmpeg_and_removes_its_files(tmp_path: Path, backend: Backend) -> None:
    data_dir = tmp_path / "data"
    async with (
        process(data_dir, **backend.environment) as service,
        connect(service.address) as stub,
    ):
        place = backend.pid or service.pid
        idle = descendants(place)
        events = stub.RunJob(requests.run(await long_job(stub, tmp_path)))
        event = await encoding(events)
        working = descendants(place) - idle
        assert working, "nothing works on the job"
        await stub.CancelJob(video_service_pb2.CancelJobRequest(name=event.job))
        last = [event async for event in events][-1]
        assert last.finished.state == Job.CANCELLED
        await ended(working, 5)
        while leftovers(backend.work_dir or data_dir / "work"):
            await asyncio.to_thread(os.sched_yield)
        uploads_only = kept_files(data_dir)
        assert len(uploads_only) == 1


async def test_a_killed_orchestrator_goes_on_after_a_restart(
    tmp_path: Path, backend: Backend
) -> None:
    """Its worker child dies with it; a RunPod job goes on, and is found again."""
    data_dir = tmp_path / "data"
    # Where RunPod's worker brings its results: the same after the restart.
    environment = {
        **backend.environment,
        "APIGPU_LEASE_S": "600",
        "APIGPU_HTTP_LISTEN": f"127.0.0.1:{free_port()}",
    }
    async with process(data_dir, **environment) as service, connect(service.address) as stub:
        job = await long_job(stub, tmp_path, duration_s=8.0)
        event = await encoding(stub.RunJob(requests.run(job)))
        below = descendants(service.pid)
        await service.kill()
        await ended(below, 10)
    async with process(data_dir, **environment) as service, connect(service.address) as stub:
        events = await requests.collect(
            stub.WatchJob(
                video_service_pb2.WatchJobRequest(name=event.job, after_sequence=event.sequence)
            )
        )
    assert events[0].sequence == event.sequence + 1
    assert events[0].progress.percent >= event.progress.percent
    assert events[-1].finished.state == Job.SUCCEEDED
    assert events[-1].finished.items[0].output.frame_count == 8 * 24
    *lost, made = events[-1].finished.attempts
    reasons = [requests.reason_of(attempt.error) for attempt in lost]
    assert reasons == (["ORCHESTRATOR_LOST"] if backend.name == "child" else [])
    assert all(attempt.HasField("end_time") for attempt in lost) and not made.HasField("error")


async def test_a_killed_worker_is_replaced_and_the_job_ends_well(
    tmp_path: Path, backend: Backend
) -> None:
    data_dir = tmp_path / "data"
    async with (
        process(data_dir, **backend.environment) as service,
        connect(service.address) as stub,
    ):
        (worker_pid,) = named(backend.pid or service.pid, b"gpu_worker\0--listen")
        events = stub.RunJob(requests.run(await long_job(stub, tmp_path, duration_s=8.0)))
        iterator = aiter(events)
        await encoding(iterator)
        below = descendants(worker_pid)
        os.kill(worker_pid, signal.SIGKILL)
        await ended(below, 5)
        rest = await requests.collect(iterator)
    assert Item.QUEUED in {event.item.state for event in rest if event.HasField("item")}
    assert rest[-1].finished.state == Job.SUCCEEDED
    if backend.name == "child":  # the disk of a RunPod worker goes with it
        assert not leftovers(data_dir / "work")


@pytest.mark.one_backend(
    "a RunPod job goes on when the service stops; that it is followed again:"
    " test_runpod.py, test_a_restarted_service_follows_the_job_that_went_on_meanwhile"
)
async def test_sigterm_hands_over_and_leaves_no_process(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with process(data_dir, APIGPU_GRACE_S="0") as service, connect(service.address) as stub:
        job = await stub.CreateJob(requests.create(await long_job(stub, tmp_path)))
        await encoding(stub.WatchJob(requests.watch(job)))
        below = descendants(service.pid)
        assert await service.terminate() == 0
        assert not alive(below)
        assert not leftovers(data_dir / "work")
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GetJob(video_service_pb2.GetJobRequest(name=job.name), timeout=5)


async def test_the_server_says_what_it_is(tmp_path: Path, backend: Backend) -> None:
    async with (
        process(tmp_path / "data", **backend.environment) as service,
        connect(service.address) as stub,
    ):
        info = await stub.GetServerInfo(video_service_pb2.GetServerInfoRequest())
    assert info.backend == backend.name
    if backend.name == "runpod":
        assert not info.workers, "RunPod's workers cannot be asked"
        return
    (worker,) = info.workers
    assert worker.ffmpeg_version
    found = {encoder.name: encoder for encoder in worker.encoders}
    assert found["libx264"].works
    nvenc = found["h264_nvenc"]
    assert nvenc.works or nvenc.reason, "an encoder that does not work must say why"
