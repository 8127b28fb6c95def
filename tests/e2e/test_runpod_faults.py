"""What may go wrong between us and RunPod: each job ends in the right state, after the right number
of attempts, with every item once. Two workers are shared, warm, by all tests here."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from apigpu.video.v1 import job_pb2, operations_pb2, video_service_pb2
from apigpu.video.v1.job_pb2 import Item, Job, JobEvent

from tests import media_samples, processes, requests
from tests.runpod_emulator import Cloud, Policy, faults, running
from tests.runpod_emulator.faults import HalfWritten, Lost, Reset, Slow, script
from tests.runpod_emulator.policy import RATES, Rate
from tests.runpod_emulator.queue import Job as RemoteJob
from tests.runpod_jobs import clips, encoding, ffmpegs, picture, service

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.one_backend("it is about RunPod alone"),
]
WAIT_S = 60.0
FOREVER_S = 1e9


@dataclass
class Place:
    """The emulated endpoint, the service that uses it, and a picture that was sent to it."""

    cloud: Cloud
    stub: Any
    file: str
    data_dir: Path

    def job(self, duration_s: float = 0.5, *ids: str) -> Job:
        return clips(self.file, duration_s, *(ids or ("a", "b")), width=320, height=180)

    async def story(self, job: Job | None = None) -> list[JobEvent]:
        """Of a job, up to its end."""
        run = self.stub.RunJob(requests.run(job or self.job()))
        return await asyncio.wait_for(requests.collect(run), WAIT_S)

    def remotes(self, done: Job) -> list[RemoteJob]:
        """The RunPod jobs that were made for it."""
        tasks = {attempt.id for attempt in done.attempts}
        return [
            job
            for job in self.cloud.jobs.values()
            if job.body["input"]["task"]["attempt_id"] in tasks
        ]

    def made_once(self, story: list[JobEvent], attempts: int) -> Job:
        """It succeeded, each item once, with the bytes that were promised."""
        done = story[-1].finished
        assert done.state == Job.SUCCEEDED, (done.error, done.attempts)
        assert len(done.attempts) == attempts
        ended = [e.item.id for e in story if e.item.state == Item.SUCCEEDED]
        assert sorted(ended) == sorted(item.id for item in done.items), "an item was told twice"
        for item in done.items:
            stored = self.data_dir / "files" / item.output.file.removeprefix("files/")
            assert hashlib.sha256(stored.read_bytes()).hexdigest() == item.output.sha256
        return done


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    # None of them dies here: on a crowded machine pings are late.
    policy = Policy(workers_min=2, workers_max=2, idle_timeout_s=FOREVER_S, missed_pings=60)
    async with (
        running(folder / "cloud", policy=policy) as cloud,
        service(cloud, folder / "data") as stub,
    ):
        yield Place(cloud, stub, await picture(stub, folder), folder / "data")


@pytest.fixture
def place(shared: Place) -> Iterator[Place]:
    yield shared
    cloud = shared.cloud
    cloud.fault = cloud.worker_fault = faults.none
    cloud.rates.limits = dict(RATES)
    cloud.policy.max_output_bytes = Policy.max_output_bytes


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        ("stream", Lost()),
        ("stream", HalfWritten()),
        ("stream", Reset()),
        ("stream", Slow(0.7)),
        ("stream", 429),
        ("stream", 502),
        ("status", Lost()),
        ("status", HalfWritten()),
        ("status", 500),
    ],
    ids=str,
)
async def test_an_answer_that_goes_wrong_costs_no_attempt(
    place: Place, operation: str, fault: faults.Fault | int
) -> None:
    place.cloud.fault = script(operation, fault, fault)
    done = place.made_once(await place.story(), attempts=1)
    assert len(place.remotes(done)) == 1


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        ("job-stream", Lost()),
        ("job-stream", Reset()),
        ("job-stream", Slow(0.7)),
        ("job-stream", 429),
        ("job-stream", 500),  # the SDK repeats that
        ("job-done", 500),
        ("job-done", Lost()),
        ("job-done", Reset()),  # lost for good: what the stream told is taken
        ("job-take", 500),
    ],
    ids=str,
)
async def test_a_workers_call_that_goes_wrong_costs_no_attempt(
    place: Place, operation: str, fault: faults.Fault | int
) -> None:
    place.cloud.worker_fault = script(operation, fault)
    done = place.made_once(await place.story(), attempts=1)
    assert len(place.remotes(done)) == 1


async def test_a_dispatch_whose_answer_is_lost_makes_nothing_twice(place: Place) -> None:
    place.cloud.fault = script("run", Lost())
    done = place.made_once(await place.story(), attempts=2)
    assert requests.reason_of(done.attempts[0].error) == "RUNPOD_UNAVAILABLE"
    assert not done.attempts[0].remote_id, "it was never told"
    assert len(place.remotes(done)) == 2


async def test_more_calls_than_are_allowed_cost_patience_alone(place: Place) -> None:
    place.cloud.rates.limits["stream"] = Rate(count=2, window_s=2, concurrent=400)
    place.made_once(await place.story(place.job(4.0)), attempts=1)


async def test_an_output_that_runpod_finds_too_long_was_heard_before(place: Place) -> None:
    place.cloud.policy.max_output_bytes = 1500
    done = place.made_once(await place.story(), attempts=1)
    (remote,) = place.remotes(done)
    assert (remote.status, remote.output) == ("COMPLETED", None)


async def test_an_output_that_nobody_heard_is_made_again(place: Place) -> None:
    """Too long for RunPod, and every answer with a part of it was lost."""
    place.cloud.policy.max_output_bytes = 1500
    before = set(place.cloud.jobs)

    def hook(operation: str) -> faults.Fault | None:
        first = next((job for job in place.cloud.jobs.values() if job.id not in before), None)
        untold = first is not None and (not first.ended or bool(first.buffered))
        return Lost() if operation == "stream" and untold else None

    place.cloud.fault = hook
    done = place.made_once(await place.story(), attempts=2)
    assert requests.reason_of(done.attempts[0].error) == "RESULT_LOST"


async def test_a_job_that_two_workers_are_given_makes_each_item_once(place: Place) -> None:
    both_done = asyncio.Event()
    ends = itertools.count(1)

    def count(operation: str) -> None:
        if operation == "job-done" and next(ends) == 2:
            both_done.set()

    place.cloud.worker_fault = count
    place.cloud.queue.deliver_twice = 1
    done = place.made_once(await place.story(), attempts=1)
    (remote,) = place.remotes(done)
    assert len(set(remote.workers)) == 2
    before = {item.id: item.output.sha256 for item in done.items}
    await asyncio.wait_for(both_done.wait(), WAIT_S)
    job = await place.stub.GetJob(video_service_pb2.GetJobRequest(name=done.name))
    assert {item.id: item.output.sha256 for item in job.items} == before
    for item in job.items:
        stored = place.data_dir / "files" / item.output.file.removeprefix("files/")
        assert hashlib.sha256(stored.read_bytes()).hexdigest() == item.output.sha256


async def test_a_job_that_is_told_as_running_after_its_end_has_ended(place: Place) -> None:
    """runpod-python #250: a late sign of progress undid the end, and its output."""
    before = set(place.cloud.jobs)

    def undone(operation: str) -> None:
        if operation == "status":
            (job,) = [job for job in place.cloud.jobs.values() if job.id not in before]
            job.status, job.output = "IN_PROGRESS", "half way"

    place.cloud.fault = undone
    place.made_once(await place.story(), attempts=1)


async def test_cancel_stops_ffmpeg_within_a_second_of_the_workers_learning_of_it(
    place: Place,
) -> None:
    events = aiter(place.stub.RunJob(requests.run(clips(place.file, 60.0))))
    event = await encoding(events)
    encoders = {pid for worker in place.cloud.workers.values() for pid in ffmpegs(worker.pid)}
    assert encoders, "nothing is encoding"
    gone = asyncio.create_task(asyncio.to_thread(processes.waited_for, encoders, WAIT_S))
    await place.stub.CancelJob(video_service_pb2.CancelJobRequest(name=event.job))
    ended_at = await gone
    done = [event async for event in events][-1].finished
    assert done.state == Job.CANCELLED
    (remote,) = place.remotes(done)
    assert remote.status == "CANCELLED"
    assert ended_at - place.cloud.worker_side.stopped_at[remote.id] < 1.0


@pytest.mark.parametrize("moment", ["job-take", "job-stream"])
async def test_a_cancel_that_meets_the_delivery_leaves_nothing_running(
    place: Place, moment: str
) -> None:
    """The SDK forgets a stop for a job that it is just being given. The worker asks whether the
    work is still wanted before it begins, so it is not done all the same."""
    cloud = place.cloud
    begun = asyncio.Event()

    def met(operation: str) -> None:
        taken = any(job.status == "IN_PROGRESS" for job in cloud.jobs.values())
        if operation == moment and taken:
            begun.set()

    job = await place.stub.CreateJob(requests.create(clips(place.file, 60.0)))
    if moment == "job-take":  # in the moment when RunPod gives it away
        assert await cloud.clock.until(
            lambda: any(job.status == "IN_PROGRESS" for job in cloud.jobs.values()), WAIT_S
        )
    else:
        cloud.worker_fault = met
        await asyncio.wait_for(begun.wait(), WAIT_S)
    await place.stub.CancelJob(video_service_pb2.CancelJobRequest(name=job.name))
    done = await requests.finished(place.stub.WatchJob(requests.watch(job)))
    assert done.state == Job.CANCELLED
    (remote,) = place.remotes(done)
    assert remote.status == "CANCELLED" and len(done.attempts) == 1
    # Both workers take other work, and nothing of this one is left.
    for _ in range(2):
        place.made_once(await place.story(), attempts=1)
    encoders = {pid for worker in cloud.workers.values() for pid in ffmpegs(worker.pid)}
    await asyncio.to_thread(processes.waited_for, encoders, 5)


async def test_a_job_that_takes_too_long_is_stopped_there_and_not_tried_again(
    place: Place,
) -> None:
    events = aiter(place.stub.RunJob(requests.run(clips(place.file, 60.0))))
    await encoding(events)
    encoders = {pid for worker in place.cloud.workers.values() for pid in ffmpegs(worker.pid)}
    remote = list(place.cloud.jobs.values())[-1]
    place.cloud.clock.advance(remote.limit_s("executionTimeout", 0.0) + 1)
    done = [event async for event in events][-1].finished
    assert done.state == Job.FAILED
    assert requests.reason_of(done.error) == "TIME_LIMIT"
    assert len(done.attempts) == 1
    await processes.ended(encoders, 5)


async def test_a_long_video_in_a_small_file_gets_the_time_that_it_needs(
    place: Place, tmp_path: Path
) -> None:
    """Its length is read from its header before it is dispatched."""
    video = media_samples.plain_video(tmp_path / "v.mp4", duration_s=1200, size=(64, 36), rate=1)
    captions = b"1\n00:19:50,000 --> 00:19:59,000\nThe end\n"
    assert video.stat().st_size < 200_000
    sent = [
        await place.stub.UploadFile(requests.chunks(name, body))
        for name, body in (("v.mp4", video.read_bytes()), ("c.srt", captions))
    ]
    source = operations_pb2.MediaSource
    caption = operations_pb2.Caption(
        video=source(file=sent[0].name), subtitles=source(file=sent[1].name)
    )
    job = Job(caption=caption)
    done = place.made_once(await place.story(job), attempts=1)
    (remote,) = place.remotes(done)
    assert remote.limit_s("executionTimeout", 0) > 10 * 1200
    assert done.items[0].output.duration.seconds == pytest.approx(1200, abs=2)


async def test_progress_is_told_within_two_polls(place: Place) -> None:
    """Counted, not timed: how many answers RunPod gave between the one with a frame count and
    the moment when the client has it."""
    answers: list[list[int]] = []
    drain = place.cloud.queue.drain

    def counted(job: RemoteJob) -> list[Any]:
        chunks = drain(job)
        told = [chunk.get("progress", {}).get("progress", {}) for chunk in chunks]
        answers.append([int(progress.get("frames_done", 0)) for progress in told])
        return chunks

    place.cloud.queue.drain = counted  # type: ignore[method-assign]
    try:
        seen = 0
        async for event in place.stub.RunJob(requests.run(clips(place.file, 3.0, "a"))):
            frames = event.item.progress.frames_done
            if event.item.progress.stage == job_pb2.STAGE_ENCODING and frames > seen:
                (told_in,) = [n for n, counts in enumerate(answers) if frames in counts][:1]
                assert len(answers) - 1 - told_in <= 2
                seen = frames
    finally:
        place.cloud.queue.drain = drain  # type: ignore[method-assign]
    assert event.finished.state == Job.SUCCEEDED
    assert seen, "no progress was told"
