"""The state machine: whatever comes, in whatever order, the story stays true."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from apigpu.video.v1 import job_pb2
from apigpu.video.v1.job_pb2 import Item, Job, JobEvent, Progress
from google.rpc import status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.jobs.machine import FINAL_ITEM_STATES, JobMachine, is_final
from tests.requests import pictures

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ATTEMPT = "t-1"
ERROR = status_pb2.Status(code=3, message="bad picture")


def machine(*ids: str) -> JobMachine:
    return JobMachine.create(pictures(*ids), "jobs/1", NOW)


def test_the_first_event_carries_the_whole_job() -> None:
    (event,) = machine("a", "b").take_events()
    assert event.sequence == 1
    assert event.created.images_to_videos == pictures("a", "b").images_to_videos
    assert [item.state for item in event.created.items] == [Item.QUEUED, Item.QUEUED]


def test_a_caller_cannot_forge_what_only_the_service_sets() -> None:
    spec = pictures("a")
    spec.name, spec.state = "jobs/mine", Job.SUCCEEDED
    spec.items.add(id="forged")
    job = JobMachine.create(spec, "jobs/1", NOW).job
    assert (job.name, job.state, [item.id for item in job.items]) == ("jobs/1", Job.QUEUED, ["a"])


def test_states_follow_from_the_items() -> None:
    for outcomes, state in [
        ("ss", Job.SUCCEEDED),
        ("sf", Job.PARTIALLY_SUCCEEDED),
        ("ff", Job.FAILED),
    ]:
        job = machine("a", "b")
        job.start(ATTEMPT, "worker", NOW)
        for item_id, outcome in zip("ab", outcomes, strict=True):
            assert not is_final(job.job)
            if outcome == "s":
                job.item_succeeded(item_id, job_pb2.Output(), NOW)
            else:
                job.item_failed(item_id, ERROR, NOW)
        assert job.job.state == state
        assert job.job.HasField("error") == (state == Job.FAILED)


def test_a_failed_job_does_not_claim_to_be_complete() -> None:
    job = machine("a")
    job.start(ATTEMPT, "worker", NOW)
    job.items_progressed({"a": Progress(percent=37)}, NOW)
    job.item_failed("a", ERROR, NOW)
    assert job.job.progress.percent == 37


def test_progress_weighs_pictures_by_their_length() -> None:
    spec = pictures("short", "long", duration_s=1)
    spec.images_to_videos.images[1].duration.seconds = 9
    job = JobMachine.create(spec, "jobs/1", NOW)
    job.start(ATTEMPT, "worker", NOW)
    job.items_progressed({"short": Progress(percent=100)}, NOW)
    assert job.job.progress.percent == 10
    job.items_progressed({"long": Progress(percent=50)}, NOW)
    assert job.job.progress.percent == 55


def test_time_left_follows_from_the_time_spent() -> None:
    job = machine("a")
    job.start(ATTEMPT, "worker", NOW)
    job.items_progressed({"a": Progress(percent=25)}, NOW + timedelta(seconds=10))
    assert job.job.progress.time_left.seconds == 30


def test_cancel_keeps_what_was_done() -> None:
    job = machine("a", "b")
    job.start(ATTEMPT, "worker", NOW)
    job.item_succeeded("a", job_pb2.Output(file="files/1"), NOW)
    job.request_cancel(NOW)
    assert job.job.state == Job.CANCELLING
    job.cancelled(ERROR, NOW)
    assert job.job.state == Job.CANCELLED
    assert [item.state for item in job.job.items] == [Item.SUCCEEDED, Item.CANCELLED]
    assert job.job.items[0].output.file == "files/1"


def test_attempts_are_told_apart_by_their_task_and_end_with_the_job() -> None:
    job = machine("a")
    for attempt_id in ("t-1", "u-1", "t-2"):
        job.attempt_begun(attempt_id, ["a"], "workers", NOW)
    job.attempt_ended("t-1", ERROR, NOW)
    assert [attempt.id for attempt in job.attempts("t")] == ["t-1", "t-2"]
    job.item_succeeded("a", job_pb2.Output(), NOW)
    assert all(attempt.HasField("end_time") for attempt in job.job.attempts)
    assert [attempt.HasField("error") for attempt in job.job.attempts] == [True, False, False]


ITEM = st.sampled_from(["a", "b", "c", "unknown"])
STEP = st.one_of(
    st.tuples(st.just("begin"), st.sampled_from(["t-1", "t-2", "u-1"])),
    st.tuples(st.just("end"), st.sampled_from(["t-1", "t-2", "unknown"])),
    st.tuples(st.just("start")),
    st.tuples(st.just("progress"), ITEM, st.floats(allow_nan=True)),
    st.tuples(st.just("succeed"), ITEM),
    st.tuples(st.just("fail"), ITEM),
    st.tuples(st.just("requeue"), ITEM),
    st.tuples(st.just("request_cancel")),
    st.tuples(st.just("cancelled")),
)


def apply(job: JobMachine, step: tuple[object, ...]) -> None:  # noqa: C901  one case a step
    match step:
        case ("begin", str(attempt)):
            job.attempt_begun(attempt, ["a"], "workers", NOW)
        case ("end", str(attempt)):
            job.attempt_ended(attempt, ERROR, NOW)
        case ("start",):
            job.start(ATTEMPT, "worker", NOW)
        case ("progress", str(item), float(percent)):
            job.items_progressed({item: Progress(percent=percent)}, NOW)
        case ("succeed", str(item)):
            job.item_succeeded(item, job_pb2.Output(file="files/1"), NOW)
        case ("fail", str(item)):
            job.item_failed(item, ERROR, NOW)
        case ("requeue", str(item)):
            job.items_requeued([item], NOW)
        case ("request_cancel",):
            job.request_cancel(NOW)
        case ("cancelled",):
            job.cancelled(ERROR, NOW)


@settings(max_examples=300)
@given(st.lists(STEP, max_size=40))
def test_the_invariants_hold_whatever_happens(steps: list[tuple[object, ...]]) -> None:
    job = machine("a", "b", "c")
    story: list[JobEvent] = job.take_events()
    item_percent = dict.fromkeys("abc", 0.0)
    for step in steps:
        ended = is_final(job.job)
        before = job.job.SerializeToString(deterministic=True)
        apply(job, step)
        events = job.take_events()
        if ended:
            assert not events
            assert job.job.SerializeToString(deterministic=True) == before
        story += events
        for item in job.job.items:
            assert item.progress.percent >= item_percent[item.id]
            item_percent[item.id] = item.progress.percent
            assert item.HasField("output") == (item.state == Item.SUCCEEDED)
    assert [event.sequence for event in story] == list(range(1, len(story) + 1))
    assert job.job.last_sequence == len(story)
    percents = [event.progress.percent for event in story]
    assert percents == sorted(percents)
    assert all(0 <= percent <= 100 for percent in percents)
    assert [e.HasField("finished") for e in story].count(True) == is_final(job.job)
    if is_final(job.job):
        assert story[-1].finished == job.job
        assert all(item.state in FINAL_ITEM_STATES for item in job.job.items)
