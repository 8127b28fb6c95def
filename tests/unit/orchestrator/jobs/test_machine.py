"""The state machine by example; test_story.py has it meet whatever may come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from apigpu.video.v1 import job_pb2
from apigpu.video.v1.job_pb2 import Item, Job, Progress
from google.rpc import error_details_pb2, status_pb2

from orchestrator.jobs import deadlines
from orchestrator.jobs.machine import JobMachine, is_final
from orchestrator.jobs.request import fingerprint, with_defaults
from tests.requests import pictures, seconds

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ATTEMPT = "t-1"
ERROR = status_pb2.Status(code=3, message="bad picture")


def machine(*ids: str) -> JobMachine:
    return JobMachine.create(pictures(*ids), "jobs/1", NOW)


def started(*ids: str) -> JobMachine:
    job = machine(*ids)
    job.attempt_begun(ATTEMPT, ids, "workers", NOW)
    job.start(ATTEMPT, "worker", NOW)
    return job


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
        job = started("a", "b")
        for item_id, outcome in zip("ab", outcomes, strict=True):
            assert not is_final(job.job)
            if outcome == "s":
                job.item_succeeded(ATTEMPT, item_id, job_pb2.Output(), NOW)
            else:
                job.item_failed(ATTEMPT, item_id, ERROR, NOW)
        assert job.job.state == state
        assert job.job.HasField("error") == (state == Job.FAILED)


def test_a_failed_job_does_not_claim_to_be_complete() -> None:
    job = started("a")
    job.items_progressed(ATTEMPT, {"a": Progress(percent=37)}, NOW)
    job.item_failed(ATTEMPT, "a", ERROR, NOW)
    assert job.job.progress.percent == 37


def test_progress_weighs_pictures_by_their_length() -> None:
    spec = pictures("short", "long", duration_s=1)
    spec.images_to_videos.images[1].duration.seconds = 9
    job = JobMachine.create(spec, "jobs/1", NOW)
    job.attempt_begun(ATTEMPT, ["short", "long"], "workers", NOW)
    job.start(ATTEMPT, "worker", NOW)
    job.items_progressed(ATTEMPT, {"short": Progress(percent=100)}, NOW)
    assert job.job.progress.percent == 10
    job.items_progressed(ATTEMPT, {"long": Progress(percent=50)}, NOW)
    assert job.job.progress.percent == 55


def test_time_left_follows_from_the_time_spent() -> None:
    job = started("a")
    job.items_progressed(ATTEMPT, {"a": Progress(percent=25)}, NOW + timedelta(seconds=10))
    assert job.job.progress.time_left.seconds == 30


def test_cancel_keeps_what_was_done() -> None:
    job = started("a", "b")
    job.item_succeeded(ATTEMPT, "a", job_pb2.Output(file="files/1"), NOW)
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
    job.item_succeeded("t-2", "a", job_pb2.Output(), NOW)
    assert all(attempt.HasField("end_time") for attempt in job.job.attempts)
    assert [attempt.HasField("error") for attempt in job.job.attempts] == [True, False, False]


def test_a_dead_attempt_changes_nothing_for_the_one_that_follows() -> None:
    job = started("a", "b")
    job.attempt_broke(ATTEMPT, ERROR, {}, ["a", "b"], NOW)
    job.attempt_begun("t-2", ["a", "b"], "workers", NOW)
    job.take_events()
    job.items_progressed(ATTEMPT, {"a": Progress(percent=90)}, NOW)
    job.item_succeeded(ATTEMPT, "a", job_pb2.Output(file="files/late"), NOW)
    job.item_failed(ATTEMPT, "b", ERROR, NOW)
    job.attempt_broke(ATTEMPT, ERROR, {"b": ERROR}, [], NOW)
    assert job.take_events() == []


def test_a_job_that_waits_too_long_fails_without_a_start() -> None:
    spec = pictures("a", "b")
    spec.queue_time_limit.CopyFrom(seconds(60))
    job = JobMachine.create(spec, "jobs/1", NOW)
    job.expire(NOW + timedelta(seconds=59))
    assert job.job.state == Job.QUEUED
    job.expire(NOW + timedelta(seconds=60))
    assert job.job.state == Job.FAILED
    assert reason(job.job.error) == "QUEUE_TIME_LIMIT"
    assert "60 s" in job.job.error.message
    assert not job.job.HasField("start_time")
    assert [reason(item.error) for item in job.job.items] == ["QUEUE_TIME_LIMIT"] * 2


def test_a_job_that_runs_too_long_keeps_what_is_finished() -> None:
    spec = pictures("a", "b")
    spec.queue_time_limit.CopyFrom(seconds(1))
    spec.run_time_limit.CopyFrom(seconds(60))
    job = JobMachine.create(spec, "jobs/1", NOW)
    job.attempt_begun(ATTEMPT, ["a", "b"], "workers", NOW)
    job.start(ATTEMPT, "worker", NOW)
    job.item_succeeded(ATTEMPT, "a", job_pb2.Output(file="files/1"), NOW)
    job.expire(NOW + timedelta(seconds=59))  # long after the wait's limit, which is over
    assert job.job.state == Job.RUNNING
    job.expire(NOW + timedelta(seconds=60))
    assert job.job.state == Job.PARTIALLY_SUCCEEDED
    assert job.job.items[0].output.file == "files/1"
    assert reason(job.job.items[1].error) == "TIME_LIMIT"
    assert reason(job.job.attempts[0].error) == "TIME_LIMIT"


def test_a_job_that_is_being_cancelled_has_no_deadline() -> None:
    job = JobMachine.create(with_defaults(pictures("a"), 60, 60), "jobs/1", NOW)
    assert deadlines.deadline(job.job) == NOW + timedelta(seconds=60)
    job.request_cancel(NOW)
    assert deadlines.deadline(job.job) is None


def test_a_retry_makes_only_what_is_missing() -> None:
    spec = pictures("a", "b", labels={"show": "news"})
    spec.priority = 80
    first = JobMachine.create(spec, "jobs/1", NOW)
    first.attempt_begun(ATTEMPT, ["a", "b"], "workers", NOW)
    first.item_succeeded(ATTEMPT, "a", job_pb2.Output(file="files/1", frame_count=24), NOW)
    first.item_failed(ATTEMPT, "b", ERROR, NOW)
    assert first.job.state == Job.PARTIALLY_SUCCEEDED
    retry = JobMachine.retry(first.job, "jobs/2", NOW)
    job = retry.job
    assert (job.retry_of, job.state, job.priority) == ("jobs/1", Job.QUEUED, 80)
    assert job.labels == {"show": "news"}
    assert job.images_to_videos == first.job.images_to_videos
    assert retry.unfinished(["a", "b"]) == ["b"]
    assert job.items[0].output.file == "files/1"
    assert [item.carried_over for item in job.items] == [True, False]
    assert job.progress.percent == 50
    assert not job.attempts
    retry.attempt_begun("u-1", ["b"], "workers", NOW)
    retry.item_succeeded("u-1", "b", job_pb2.Output(file="files/2"), NOW)
    assert job.state == Job.SUCCEEDED


def test_what_was_left_to_the_service_is_said_and_what_was_asked_for_is_kept() -> None:
    spec = pictures("a")
    spec.priority = 0
    spec.run_time_limit.CopyFrom(seconds(5))
    told = with_defaults(spec, queue_limit_s=100, run_limit_s=200)
    assert told.HasField("priority")
    assert told.priority == 0
    assert (told.queue_time_limit.seconds, told.run_time_limit.seconds) == (100, 5)
    assert with_defaults(pictures("a"), 100, 200).priority == 50


def test_a_request_is_the_same_when_it_asks_for_the_same() -> None:
    spec, other = pictures("a"), pictures("a")
    other.name, other.state = "jobs/forged", Job.FAILED
    assert fingerprint(spec) == fingerprint(other)
    other.priority = 50  # said, not left to the service
    assert fingerprint(spec) != fingerprint(other)


def reason(error: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in error.details)
    return str(info.reason)
