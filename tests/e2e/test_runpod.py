"""Whole jobs through RunPod: the real dispatcher, the real SDK loop and real FFmpeg, with an
emulated cloud between them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from pathlib import Path

import pytest
from aiohttp import web
from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.job_pb2 import Job

from tests import processes, requests
from tests.runpod_emulator import ENDPOINT, KEY, faults, running
from tests.runpod_jobs import batch, encoding, ffmpegs, service
from tests.services import free_port

pytestmark = pytest.mark.one_backend("it is about RunPod alone")


async def test_a_batch_is_made_on_runpod_and_its_story_told_as_it_happens(tmp_path: Path) -> None:
    async with running(tmp_path / "cloud") as cloud, service(cloud, tmp_path / "data") as stub:
        job = await batch(stub, tmp_path, 2.0, "a", "b")
        story = await requests.collect(stub.RunJob(requests.run(job)))
        done = story[-1].finished
        assert done.state == Job.SUCCEEDED, done.error
        assert any(event.item.progress.frames_done for event in story[:-4]), "no live progress"
        (attempt,) = done.attempts
        assert (attempt.backend, attempt.endpoint_id) == ("runpod", ENDPOINT)
        (remote,) = cloud.jobs.values()
        assert attempt.remote_id == remote.id
        assert attempt.worker_id in cloud.workers
        assert attempt.HasField("queue_time")
        assert attempt.execution_time.ToTimedelta().total_seconds() > 0
        assert done.stats.cost_micros == attempt.cost_micros > 0
        assert done.stats.wasted_cost_micros == 0
        assert [encoder.used for encoder in done.stats.encoders] == ["libx264"]
        for item in done.items:
            assert item.output.frame_count == 48
            stored = tmp_path / "data" / "files" / item.output.file.removeprefix("files/")
            assert hashlib.sha256(stored.read_bytes()).hexdigest() == item.output.sha256
        assert KEY not in str(remote.body) and "policy" in remote.body


async def test_cancel_ends_the_runpod_job_and_its_ffmpeg(tmp_path: Path) -> None:
    async with running(tmp_path / "cloud") as cloud, service(cloud, tmp_path / "data") as stub:
        events = aiter(stub.RunJob(requests.run(await batch(stub, tmp_path, 60.0))))
        event = await encoding(events)
        (worker,) = cloud.workers.values()
        encoders = ffmpegs(worker.pid)
        assert encoders, "nothing is encoding"
        await stub.CancelJob(video_service_pb2.CancelJobRequest(name=event.job))
        last = [event async for event in events][-1].finished
        assert last.state == Job.CANCELLED
        assert [job.status for job in cloud.jobs.values()] == ["CANCELLED"]
        await processes.ended(encoders, 1)


async def test_a_restarted_service_follows_the_job_that_went_on_meanwhile(tmp_path: Path) -> None:
    async with running(tmp_path / "cloud") as cloud:
        port = free_port()
        data = tmp_path / "data"
        async with service(cloud, data, http_listen=f"127.0.0.1:{port}") as stub:
            events = aiter(stub.RunJob(requests.run(await batch(stub, tmp_path, 8.0))))
            event = await encoding(events)
        async with service(cloud, data, http_listen=f"127.0.0.1:{port}") as stub:
            name = event.job
            request = video_service_pb2.WatchJobRequest(name=name, after_sequence=event.sequence)
            done = await requests.finished(stub.WatchJob(request))
        assert done.state == Job.SUCCEEDED, done.error
        assert len(cloud.jobs) == 1, "the work was paid for twice"
        assert len(done.attempts) == 1


async def test_a_job_that_the_platform_fails_is_tried_again_on_the_record(tmp_path: Path) -> None:
    async with running(tmp_path / "cloud") as cloud, service(cloud, tmp_path / "data") as stub:
        events = aiter(stub.RunJob(requests.run(await batch(stub, tmp_path, 4.0))))
        await encoding(events)
        await cloud.kill_workers()
        cloud.end("FAILED")
        done = (await requests.collect(events))[-1].finished
        assert done.state == Job.SUCCEEDED, done.error
        first, second = done.attempts
        assert requests.reason_of(first.error) == "WORKER_LOST"
        assert not second.HasField("error")
        assert len(cloud.jobs) == 2


async def test_a_crashed_encoder_process_takes_its_runpod_worker_along(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "cloud", max_workers=2) as cloud,
        service(cloud, tmp_path / "data") as stub,
    ):
        events = aiter(stub.RunJob(requests.run(await batch(stub, tmp_path, 6.0))))
        await encoding(events)
        (worker,) = cloud.workers.values()
        below = processes.descendants(worker.pid)
        (child,) = {pid for pid in below if b"--die-with-parent" in processes.command_line(pid)}
        os.kill(child, signal.SIGKILL)
        done = (await requests.collect(events))[-1].finished
        assert done.state == Job.SUCCEEDED, done.error
        # The dying worker may be given the second try as well, and fails it at once.
        *broken, last = (attempt.HasField("error") for attempt in done.attempts)
        assert broken in ([True], [True, True]) and not last
        await asyncio.wait_for(worker.wait(), 20)


async def test_a_worker_that_must_go_stops_at_once_and_another_takes_over(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "cloud", max_workers=2) as cloud,
        service(cloud, tmp_path / "data") as stub,
    ):
        events = aiter(stub.RunJob(requests.run(await batch(stub, tmp_path, 6.0))))
        await encoding(events)
        (worker,) = cloud.workers.values()
        encoders = ffmpegs(worker.pid)
        cloud.fleet.retire(worker)
        await processes.ended(encoders, 1)
        done = (await requests.collect(events))[-1].finished
        assert done.state == Job.SUCCEEDED, done.error
        first, second = done.attempts
        assert requests.reason_of(first.error) == "WORKER_LOST"
        assert first.worker_id != second.worker_id
        assert [job.status for job in cloud.jobs.values()] == ["COMPLETED", "COMPLETED"]


@pytest.mark.parametrize(
    ("status", "reason", "attempts"),
    [
        ("TIMED_OUT", "TIME_LIMIT", 1),
        ("CANCELLED", "CANCELLED_ON_RUNPOD", 1),
        ("FAILED", "WORKER_LOST", 2),
        ("COMPLETED", "RESULT_LOST", 2),
    ],
)
async def test_an_end_without_a_result_is_told_as_what_it_is(
    tmp_path: Path, status: str, reason: str, attempts: int
) -> None:
    async with (
        running(tmp_path / "cloud", max_workers=0) as cloud,
        service(cloud, tmp_path / "data", max_attempts=2) as stub,
    ):
        events = stub.RunJob(requests.run(requests.pictures("a")))
        async for event in events:
            if event.attempt.remote_id:
                cloud.end(status)
        assert requests.reason_of(event.finished.error) == reason
        assert len(cloud.jobs) == attempts


@pytest.mark.parametrize(
    ("status", "reason", "runs"),
    [
        (401, "RUNPOD_KEY_REFUSED", 1),
        (404, "RUNPOD_NOT_FOUND", 1),
        (400, "RUNPOD_REFUSED", 1),
        (413, "PAYLOAD_TOO_LARGE", 1),
        (500, "RUNPOD_UNAVAILABLE", 2),
        (200, "RUNPOD_UNAVAILABLE", 2),  # a body that breaks off
    ],
)
async def test_a_refused_dispatch_is_retried_only_where_that_can_help(
    tmp_path: Path, status: int, reason: str, runs: int
) -> None:
    async with (
        running(tmp_path / "cloud", max_workers=0) as cloud,
        service(cloud, tmp_path / "data", max_attempts=2) as stub,
    ):
        cloud.fault = lambda operation: web.Response(status=status, text='{"id": "x')
        job = await requests.finished(stub.RunJob(requests.run(requests.pictures("a"))))
        assert job.state == Job.FAILED
        assert requests.reason_of(job.error) == reason
        assert [call for call in cloud.calls if call in ("run", "stream")] == ["run"] * runs
        assert len(job.attempts) == runs


async def test_news_that_break_off_cost_nothing(tmp_path: Path) -> None:
    """Every other answer is lost after RunPod has given it, news and all."""
    async with running(tmp_path / "cloud") as cloud, service(cloud, tmp_path / "data") as stub:

        def broken(operation: str) -> web.Response | None:
            if operation != "run" and len(cloud.calls) % 2:
                for job in cloud.jobs.values():
                    job.buffered.clear()
                return web.Response(text='{"status": "IN_PRO')
            return None

        cloud.fault = broken
        job = await batch(stub, tmp_path, 1.0, "a", "b")
        done = await asyncio.wait_for(requests.finished(stub.RunJob(requests.run(job))), 60)
        assert done.state == Job.SUCCEEDED, done.error
        assert len(done.attempts) == len(cloud.jobs) == 1


async def test_a_job_that_has_spent_its_budget_is_stopped_and_goes_no_further(
    tmp_path: Path,
) -> None:
    async with (
        running(tmp_path / "cloud") as cloud,
        service(cloud, tmp_path / "data", max_items_per_task=1, runpod_max_tasks=1) as stub,
    ):
        spec = await batch(stub, tmp_path, 120.0, "long", "never")
        spec.max_cost_micros = 1  # the worker's start alone costs more
        done = await requests.finished(stub.RunJob(requests.run(spec)))
        assert done.state == Job.FAILED
        reasons = [requests.reason_of(item.error) for item in done.items]
        assert reasons == ["BUDGET_EXCEEDED", "BUDGET_EXCEEDED"]
        # What ran was stopped there, and what comes after it never began.
        assert [job.status for job in cloud.jobs.values()] == ["CANCELLED"]
        (attempt,) = done.attempts
        assert (attempt.gpu, attempt.price_micros_per_second) == ("NVIDIA L4", 190)
        assert attempt.worker_version and attempt.HasField("cold_start_time")
        start_s = attempt.cold_start_time.ToNanoseconds() / 1e9
        work_s = attempt.execution_time.ToNanoseconds() / 1e9
        assert attempt.cost_micros == pytest.approx(190 * (start_s + work_s), abs=1)
        assert done.stats.cost_micros == done.stats.wasted_cost_micros == attempt.cost_micros


async def test_a_dispatch_whose_answer_was_lost_is_made_again_and_its_job_does_nothing(
    tmp_path: Path,
) -> None:
    """RunPod has no idempotency key: the first job exists, and nobody here knows of it."""
    async with running(tmp_path / "cloud") as cloud, service(cloud, tmp_path / "data") as stub:
        cloud.fault = faults.script("run", faults.Lost())
        done = await requests.finished(
            stub.RunJob(requests.run(await batch(stub, tmp_path, 1.0, "a")))
        )
        assert done.state == Job.SUCCEEDED, done.error
        first, second = done.attempts
        assert requests.reason_of(first.error) == "RUNPOD_UNAVAILABLE"
        assert not first.remote_id and second.remote_id
        unknown, known = cloud.jobs.values()
        assert known.id == second.remote_id
        # The worker took the first one first, asked, and left it.
        assert unknown.status == "COMPLETED"
        (result,) = unknown.output[-1]["finished"]["results"]
        assert "ATTEMPT_OVER" in str(result["error"])
        assert not any("progress" in event for event in unknown.output)
