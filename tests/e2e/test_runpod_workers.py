"""RunPod's workers come, sleep, die and go: jobs end right, and nothing outlives a worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.job_pb2 import Job

from tests import processes, requests
from tests.runpod_emulator import Policy, running
from tests.runpod_emulator.worker import HANDLER, environment
from tests.runpod_jobs import clips, encoding, ffmpegs, picture, service

pytestmark = pytest.mark.one_backend("it is about RunPod alone")
WAIT_S = 60.0
# Small enough to be made quickly, large enough to be caught in the making.
SIZE = {"width": 1280, "height": 720}


async def test_a_worker_that_dies_is_replaced_by_the_platform_within_the_attempt(
    tmp_path: Path,
) -> None:
    """Its handler alone is killed: no FFmpeg, no encoder process and no pings outlive it. RunPod
    misses the pings and gives the same job to another worker, once; then it fails."""
    async with (
        running(tmp_path / "cloud") as cloud,
        service(cloud, tmp_path / "data") as stub,
    ):
        events = aiter(stub.RunJob(requests.run(clips(await picture(stub, tmp_path), 4.0, **SIZE))))
        await encoding(events)
        (first,) = cloud.workers.values()
        below = processes.descendants(first.pid)
        assert ffmpegs(first.pid)
        os.kill(first.pid, signal.SIGKILL)
        await processes.ended(below, 5)

        (remote,) = cloud.jobs.values()
        assert await cloud.clock.until(lambda: remote.requeued == 1, WAIT_S)
        while remote.workers[-1] == first.name:
            await encoding(events)  # of the second run, which begins anew
        second = cloud.workers[remote.workers[-1]]
        await second.kill()

        done = [event async for event in events][-1].finished
        assert done.state == Job.SUCCEEDED, done.error
        assert remote.status == "FAILED"
        broken, made = done.attempts
        assert (requests.reason_of(broken.error), broken.worker_id) == ("WORKER_LOST", second.name)
        assert not made.HasField("error")
        assert done.items[0].output.frame_count == 4 * 24
        assert (len(cloud.jobs), cloud.queue.retried) == (2, 1)


async def test_work_that_another_worker_does_again_ends_the_same_attempt(tmp_path: Path) -> None:
    """What the second run tells counts, although it has less to tell than the first had."""
    async with (
        running(tmp_path / "cloud") as cloud,
        service(cloud, tmp_path / "data") as stub,
    ):
        events = aiter(stub.RunJob(requests.run(clips(await picture(stub, tmp_path), 4.0, **SIZE))))
        for _ in range(3):
            await encoding(events)
        await cloud.kill_workers()
        done = (await requests.collect(events))[-1].finished
        assert done.state == Job.SUCCEEDED, done.error
        (attempt,) = done.attempts
        (remote,) = cloud.jobs.values()
        assert attempt.worker_id == remote.workers[1] != remote.workers[0]


async def test_a_job_that_comes_after_sigterm_is_given_back_at_once(tmp_path: Path) -> None:
    """The SDK accepts what answers its open poll, and never runs it: it is failed, to be done by
    another worker, before the platform could miss it."""
    policy = Policy(hold_s=80.0)  # longer than anything here takes
    async with (
        running(tmp_path / "cloud", policy=policy) as cloud,
        service(cloud, tmp_path / "data") as stub,
    ):
        file = await picture(stub, tmp_path)
        job = clips(file, 0.5, width=320, height=180)
        assert (await requests.finished(stub.RunJob(requests.run(job)))).state == Job.SUCCEEDED
        (worker,) = cloud.workers.values()
        assert await cloud.clock.until(lambda: worker.polls == 1, WAIT_S)
        policy.workers_max, policy.grace_s = 2, WAIT_S
        cloud.worker_side.serve_stopping = True
        cloud.fleet.retire(worker)
        # It pings each second, and sees within a tenth of one that it was told to go.
        seen = worker.pings
        assert await cloud.clock.until(lambda: worker.pings == seen + 2, WAIT_S)
        done = await requests.finished(stub.RunJob(requests.run(job)))
        assert done.state == Job.SUCCEEDED, done.error
        given_back, made = done.attempts
        assert requests.reason_of(given_back.error) == "WORKER_LOST"
        late = cloud.jobs[given_back.remote_id]
        assert late.workers == [worker.name] and made.worker_id != worker.name
        assert (late.status, late.requeued) == ("FAILED", 0)
        assert "going away" in str(late.error)
        assert await asyncio.wait_for(worker.wait(), WAIT_S) == 0


async def test_workers_scale_from_none_to_two_sleep_and_wake(tmp_path: Path) -> None:
    policy = Policy(workers_max=2, idle_timeout_s=600)
    async with (
        running(tmp_path / "cloud", policy=policy) as cloud,
        service(cloud, tmp_path / "data", max_items_per_task=1) as stub,
    ):
        file = await picture(stub, tmp_path)
        one, two = (clips(file, 2.0, name, width=640, height=360) for name in ("one", "two"))
        assert not cloud.workers
        stories = [
            asyncio.create_task(requests.finished(stub.RunJob(requests.run(job))))
            for job in (one, two)
        ]
        assert await cloud.clock.until(lambda: len(cloud.workers) == 2, WAIT_S)
        first = [await story for story in stories]
        assert [done.state for done in first] == [Job.SUCCEEDED] * 2
        started = [job.output[0]["started"] for job in cloud.jobs.values()]
        cold = [told["worker_id"] for told in started if "start_up_time" in told]
        assert set(cold) == {told["worker_id"] for told in started}
        assert len(cold) == len(set(cold)), "a worker started once"
        assert {told["gpu"] for told in started} == {"NVIDIA L4"}

        cloud.clock.advance(601)
        assert await cloud.clock.until(lambda: cloud.fleet.count("paused") == 2, WAIT_S)
        asleep = set(cloud.workers)
        again = await requests.finished(stub.RunJob(requests.run(one)))
        assert again.state == Job.SUCCEEDED, again.error
        (attempt,) = again.attempts
        assert attempt.worker_id in asleep, "flash boot wakes a worker instead of starting one"
        woken = cloud.jobs[attempt.remote_id].output[0]["started"]
        told_before = attempt.worker_id in cold
        assert ("start_up_time" in woken) is not told_before, "a start is told with one job"


async def test_a_result_that_runpod_has_forgotten_is_made_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running(tmp_path / "cloud") as cloud:
        async with service(cloud, data) as stub:
            job = clips(await picture(stub, tmp_path), 3.0, **SIZE)
            event = await encoding(stub.RunJob(requests.run(job)))
        (remote,) = cloud.jobs.values()
        assert await cloud.clock.until(lambda: remote.ended, WAIT_S)
        cloud.clock.advance(31 * 60)
        assert await cloud.clock.until(lambda: not cloud.jobs, WAIT_S)
        async with service(cloud, data) as stub:
            request = video_service_pb2.WatchJobRequest(name=event.job)
            done = await requests.finished(stub.WatchJob(request))
        assert done.state == Job.SUCCEEDED, done.error
        assert [requests.reason_of(a.error) for a in done.attempts] == ["RUNPOD_JOB_LOST", ""]


async def test_a_job_that_waits_beyond_its_ttl_is_dispatched_again_until_the_limit(
    tmp_path: Path,
) -> None:
    async with (
        running(tmp_path / "cloud", max_workers=0) as cloud,
        service(cloud, tmp_path / "data", max_attempts=2) as stub,
    ):
        async for event in stub.RunJob(requests.run(requests.pictures("a"))):
            if event.attempt.remote_id in cloud.jobs:
                remote = cloud.jobs[event.attempt.remote_id]
                cloud.clock.advance(remote.limit_s("ttl", 0.0) + 1)
        assert event.finished.state == Job.FAILED
        reasons = [requests.reason_of(a.error) for a in event.finished.attempts]
        assert reasons == ["RUNPOD_JOB_LOST"] * 2


async def test_workers_that_cannot_encode_take_no_work_and_say_why(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "cloud") as cloud,
        service(cloud, tmp_path / "data", runpod_queue_limit_s=3.0) as stub,
    ):
        cloud.fleet.environment["APIGPU_WORKER_FFMPEG"] = "/nonexistent/ffmpeg"
        done = await requests.finished(stub.RunJob(requests.run(requests.pictures("a"))))
        assert done.state == Job.FAILED
        assert requests.reason_of(done.error) == "QUEUE_TIME_LIMIT"
        assert len(done.attempts) == 1
        assert [job.workers for job in cloud.jobs.values()] == [[]]
        assert cloud.fleet.crashed
        assert "encoder_process_serves" in cloud.fleet.unhealthy[0]


# As in a container: the first process has no default for signals, and nobody above it reaps.
FIRST = (shutil.which("unshare") or "unshare", "--fork", "--pid", "--mount-proc", "--kill-child")


def can_be_first() -> bool:
    try:
        return subprocess.run((*FIRST, "true"), capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_be_first(), reason="no PID namespaces here: root on Linux has them")
async def test_sigterm_ends_a_worker_that_is_the_first_process_of_its_container(
    tmp_path: Path,
) -> None:
    async with (
        running(tmp_path / "cloud", max_workers=2) as cloud,
        service(cloud, tmp_path / "data") as stub,
    ):
        cloud.fleet.command = (*FIRST, *HANDLER)
        events = aiter(stub.RunJob(requests.run(clips(await picture(stub, tmp_path), 6.0, **SIZE))))
        await encoding(events)
        (worker,) = cloud.workers.values()
        encoders, below = ffmpegs(worker.pid), processes.descendants(worker.pid)
        assert encoders
        cloud.fleet.leave(worker)
        os.kill(processes.first_below(worker.pid), signal.SIGTERM)
        await processes.ended(encoders, 2)
        await processes.ended(below, WAIT_S)
        done = (await requests.collect(events))[-1].finished
        assert done.state == Job.SUCCEEDED, done.error
        broken, made = done.attempts
        assert requests.reason_of(broken.error) == "WORKER_LOST"
        assert broken.worker_id == worker.name != made.worker_id


async def test_sigterm_ends_a_worker_that_is_still_starting(tmp_path: Path) -> None:
    handler = await asyncio.create_subprocess_exec(
        *HANDLER,
        env={**os.environ, **environment("pod", "http://127.0.0.1:1/v2/ep", "ep", tmp_path)},
        start_new_session=True,
    )
    try:
        while not (below := processes.descendants(handler.pid)):
            await asyncio.to_thread(os.sched_yield)
        handler.terminate()
        await processes.ended(below | {handler.pid}, 5)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(handler.pid, signal.SIGKILL)
        await handler.wait()
