"""How long work will take: from history, from the present speed, and from both."""

from __future__ import annotations

from apigpu.video.v1.job_pb2 import Job
from apigpu.video.v1.operations_pb2 import VIDEO_CODEC_AV1, Caption, VideoEncoding
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.jobs.estimates import History, frames_of, left_s
from tests.requests import pictures, seconds


def done(frames: int, took_s: float, **what: object) -> Job:
    job = Job(caption=Caption(**what), state=Job.SUCCEEDED)  # type: ignore[arg-type]
    job.start_time.seconds = 1000
    job.end_time.FromNanoseconds(int((1000 + took_s) * 1e9))
    job.progress.frames_total = frames
    return job


def asked(frames: int, **what: object) -> Job:
    job = Job(caption=Caption(**what))  # type: ignore[arg-type]
    job.progress.frames_total = frames
    return job


def test_work_of_the_same_kind_and_size_tells_how_long_it_takes() -> None:
    history = History()
    for took_s in (9.0, 10.0, 11.0, 100.0):  # one that was held up tells little
        history.learn(done(1000, took_s))
    assert 10 <= (history.expected_s(asked(1000)) or 0) <= 11
    assert 20 <= (history.expected_s(asked(2000)) or 0) <= 22


def test_other_work_tells_nothing() -> None:
    history = History()
    history.learn(done(1000, 10))
    assert history.expected_s(asked(100)) is None, "much smaller"
    assert history.expected_s(asked(10_000)) is None, "much larger"
    assert history.expected_s(asked(0)) is None, "of unknown size"
    av1 = VideoEncoding(codec=VIDEO_CODEC_AV1)
    assert history.expected_s(asked(1000, encoding=av1)) is None, "encoded otherwise"
    assert history.expected_s(pictures("a", duration_s=40)) is None, "another operation"


def test_jobs_that_did_not_do_all_of_the_work_are_no_example() -> None:
    history = History()
    for state in (Job.FAILED, Job.CANCELLED, Job.PARTIALLY_SUCCEEDED):
        job = done(1000, 10)
        job.state = state
        history.learn(job)
    retry = done(1000, 1)
    retry.retry_of = "jobs/1"
    history.learn(retry)
    assert history.expected_s(asked(1000)) is None


def test_a_batch_is_known_by_its_clips_before_it_begins() -> None:
    batch = pictures("a", "b", duration_s=2.5)
    assert frames_of(batch) == 2 * 2.5 * 24
    batch.images_to_videos.frame_rate = 60
    assert frames_of(batch) == 2 * 2.5 * 60
    batch.images_to_videos.images[0].duration.CopyFrom(seconds(10))
    assert frames_of(batch) == 12.5 * 60


def test_only_the_newest_jobs_are_remembered() -> None:
    history = History()
    for took_s in [10.0] * 500 + [20.0] * 60:
        history.learn(done(1000, took_s))
    assert history.expected_s(asked(1000)) == 20


def test_history_fades_as_the_work_goes_on() -> None:
    assert left_s(None, elapsed_s=10, percent=1) is None
    assert left_s(None, elapsed_s=10, percent=25) == 30
    assert left_s(100, elapsed_s=0, percent=0) == 100
    assert left_s(100, elapsed_s=10, percent=50) == 0.5 * 10 + 0.5 * 50
    assert round(left_s(100, elapsed_s=10, percent=99) or 0, 2) == 0.11


@given(st.one_of(st.none(), st.floats(0, 1e6)), st.floats(0, 1e6), st.floats(0, 100, width=32))
def test_time_left_is_never_negative_and_ends_at_nothing(
    expected_s: float | None, elapsed_s: float, percent: float
) -> None:
    left = left_s(expected_s, elapsed_s, percent)
    assert left is None or left >= 0
    assert left_s(expected_s, elapsed_s, 100.0) == 0
