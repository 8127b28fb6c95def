"""How a batch is cut, and how long a task may run."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from apigpu.video.v1 import job_pb2, operations_pb2
from hypothesis import given
from hypothesis import strategies as st

from bench import sharding as model
from orchestrator.jobs import limits, sources
from orchestrator.jobs.effort import item_efforts_s
from orchestrator.jobs.machine import JobMachine
from orchestrator.jobs.sharding import Fleet, shard, workers_that_pay
from tests.requests import pictures, source

NOW = datetime(2026, 1, 1, tzinfo=UTC)
efforts = st.lists(st.floats(0.0, 3600.0), min_size=1, max_size=300)
fleets = st.builds(Fleet, st.integers(1, 20), st.integers(1, 8), st.floats(0.0, 300.0))


@given(efforts, st.integers(1, 64), fleets)
def test_every_item_is_in_one_task_in_its_order(
    efforts_s: list[float], most: int, fleet: Fleet
) -> None:
    tasks = shard(efforts_s, most, fleet)
    assert [place for task in tasks for place in task] == list(range(len(efforts_s)))
    assert all(1 <= len(task) <= most for task in tasks)


@given(efforts, fleets)
def test_work_is_shared_to_the_nearest_item(efforts_s: list[float], fleet: Fleet) -> None:
    tasks = shard(efforts_s, 1000, fleet)
    share_s = sum(efforts_s) / len(tasks)
    heaviest_s = max(sum(efforts_s[place] for place in task) for task in tasks)
    assert heaviest_s <= share_s + max(efforts_s) + 1e-6


@given(efforts, st.integers(1, 64), fleets, st.data())
def test_whatever_is_read_together_every_item_is_in_one_task(
    efforts_s: list[float], most: int, fleet: Fleet, data: st.DataObject
) -> None:
    length = len(efforts_s)
    named = st.lists(st.sampled_from("abc"), min_size=length, max_size=length)
    tasks = shard(efforts_s, most, fleet, sorted(data.draw(named)))
    assert [place for task in tasks for place in task] == list(range(length))
    assert all(1 <= len(task) <= most for task in tasks)
    assert len(tasks) == len(shard(efforts_s, most, fleet))


def test_items_of_one_picture_stay_together_where_that_moves_little_work() -> None:
    fleet = Fleet(max_workers=2, slots=1)
    efforts_s = [10.0] * 10
    assert shard(efforts_s, 100, fleet, "aaaabbcccc") == [range(0, 4), range(4, 10)]
    assert shard(efforts_s, 100, fleet, "aaaaaaabbb") == [range(0, 7), range(7, 10)]
    assert shard(efforts_s, 100, fleet, "aaaaaaaabb") == [range(0, 5), range(5, 10)]
    assert shard(efforts_s, 5, fleet, "aaaabbcccc") == [range(0, 5), range(5, 10)]


def test_pictures_that_other_tasks_read_too_are_named() -> None:
    job = JobMachine.create(pictures("a", "b", "c", "d"), "jobs/1", NOW).job
    for image, uri in zip(job.images_to_videos.images, "xyxy", strict=True):
        image.image.uri = uri
    assert sources.side_by_side(["a", "b", "c", "d"], sources.picture_names(job)) == list("acbd")
    assert sources.shared(job, ["a", "c"]) == []
    assert sources.shared(job, ["a", "b", "c"]) == ["y"]
    job.items[3].carried_over = True
    assert sources.shared(job, ["a", "b", "c"]) == [], "nobody reads it in this job"


@given(st.floats(0.0, 1e6), st.integers(1, 1000), fleets)
def test_more_workers_only_where_they_pay(work_s: float, items: int, fleet: Fleet) -> None:
    count = workers_that_pay(work_s, items, fleet)
    assert 1 <= count <= max(1, min(fleet.max_workers, items))
    dearer = Fleet(fleet.max_workers, fleet.slots, fleet.start_s * 2 + 1)
    assert workers_that_pay(work_s, items, dearer) <= count
    assert workers_that_pay(work_s * 2, items, fleet) >= count


def test_a_short_batch_is_not_worth_a_second_start() -> None:
    fleet = Fleet(max_workers=5, slots=3, start_s=15)
    assert len(shard([4.0] * 6, 16, fleet)) == 2, "one for each slot of one worker"
    assert workers_that_pay(4.0 * 6, 6, fleet) == 1
    assert workers_that_pay(4.0 * 600, 600, fleet) == 5


def test_long_clips_are_not_left_to_one_task() -> None:
    fleet = Fleet(max_workers=2, slots=1)
    assert shard([60.0, 60.0, *[5.0] * 24], 100, fleet) == [range(0, 2), range(2, 26)]


@pytest.mark.parametrize("clip_s", [3.0, 6.5, 30.0])
@pytest.mark.parametrize("images", [30, 31, 60])
def test_a_batch_is_never_later_than_by_the_old_split_and_sooner_at_30_pictures(
    images: int, clip_s: float
) -> None:
    efforts_s = model.efforts_s(images, clip_s)
    old, new = model.old_product(efforts_s), model.ours(efforts_s)
    assert new.done_s <= old.done_s
    if images == 30:
        assert new.done_s <= old.done_s / 1.5
    starts_s = (new.workers - old.workers) * model.FLEET.start_s
    # Each worker is at its last item while its other slots have no more.
    last_items_s = new.workers * max(efforts_s)
    assert new.paid_s <= old.paid_s + starts_s + last_items_s


def test_effort_grows_with_length_size_and_rate() -> None:
    job = pictures("a", "b", duration_s=5)
    job.images_to_videos.images[1].duration.seconds = 10
    first_s, second_s = item_efforts_s(job) or []
    assert second_s > first_s
    job.images_to_videos.width, job.images_to_videos.height = 3840, 2160
    job.images_to_videos.frame_rate = 48
    larger_s, _ = item_efforts_s(job) or []
    assert larger_s - 2 == pytest.approx((first_s - 2) * 8)


def test_a_video_that_nobody_has_probed_gets_the_whole_limit() -> None:
    job = job_pb2.Job(caption=operations_pb2.Caption(video=source("https://x.example/a.mp4")))
    assert item_efforts_s(job) is None
    assert limits.run_limit_s(None, 6 * 3600) == 6 * 3600
    short, long = item_efforts_s(job, 60.0), item_efforts_s(job, 3600.0)
    assert limits.run_limit_s(short, 6 * 3600) == pytest.approx(300 + 620)
    assert limits.run_limit_s(long, 6 * 3600) == 6 * 3600


@given(st.floats(0.1, 1e7), st.floats(0.1, 1e7))
def test_runpod_gets_limits_that_it_takes_and_that_outlive_ours(
    run_s: float, wait_s: float
) -> None:
    execution_s, ttl_s = limits.runpod_policy_s(run_s, wait_s)
    assert 5 <= execution_s <= 7 * 86400 and 10 <= ttl_s <= 7 * 86400
    assert execution_s >= min(run_s, 7 * 86400 - 60)
    assert ttl_s >= execution_s
