"""What jobs have taken and cost, and how long their budget lasts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from apigpu.video.v1.job_pb2 import Attempt, Job
from google.rpc import status_pb2

from orchestrator import backend
from orchestrator.jobs import prices, stats
from orchestrator.jobs.machine import JobMachine
from tests.requests import pictures, seconds

NOW = datetime(2026, 11, 24, tzinfo=UTC)
L4 = 190


def at(seconds_later: float) -> datetime:
    return NOW + timedelta(seconds=seconds_later)


def running(max_cost_micros: int | None = None) -> JobMachine:
    """A job with two tasks, one of which has waited 10 s for a worker on an L4."""
    spec = pictures("a", "b")
    if max_cost_micros is not None:
        spec.max_cost_micros = max_cost_micros
    job = JobMachine.create(spec, "jobs/j", NOW)
    job.attempt_begun("t-1", ["a"], "runpod", NOW)
    job.attempt_begun("u-1", ["b"], "runpod", NOW)
    facts = Attempt(gpu="NVIDIA L4", price_micros_per_second=L4, cold_start_time=seconds(4))
    job.start("t-1", "pod-1", at(10), facts)
    return job


def test_broken_attempts_are_paid_for_and_told_as_wasted() -> None:
    job = running()
    job.attempt_ended("t-1", status_pb2.Status(code=14), at(30))
    facts = Attempt(gpu="NVIDIA A40", price_micros_per_second=340)
    job.start("u-1", "pod-2", at(15), facts)
    # RunPod's own word counts more than our clock.
    times = Attempt(queue_time=seconds(12), execution_time=seconds(50))
    job.attempt_told("u-1", times, at(80))
    job.attempt_ended("u-1", None, at(80))
    told = job.job.stats
    assert told.attempts == 2
    assert told.queue_time == seconds(12)
    assert told.cold_start_time == seconds(4)
    assert told.execution_time == seconds(70)
    assert told.wasted_time == seconds(20)
    assert told.wasted_cost_micros == (4 + 20) * L4
    assert told.cost_micros == (4 + 20) * L4 + 50 * 340
    assert list(told.worker_ids) == ["pod-1", "pod-2"]
    assert list(told.gpus) == ["NVIDIA L4", "NVIDIA A40"]


def test_work_that_nobody_is_paid_for_has_times_and_no_cost() -> None:
    job = JobMachine.create(pictures("a"), "jobs/j", NOW)
    job.attempt_begun("t-1", ["a"], "child", NOW)
    job.start("t-1", "here", at(1))
    job.attempt_ended("t-1", None, at(3))
    told = job.job.stats
    assert (told.queue_time, told.execution_time) == (seconds(1), seconds(2))
    assert not told.HasField("cost_micros")


def test_what_never_reached_a_worker_costs_nothing() -> None:
    job = JobMachine.create(pictures("a"), "jobs/j", NOW)
    job.attempt_begun("t-1", ["a"], "runpod", NOW)
    job.attempt_ended("t-1", status_pb2.Status(code=4), at(1800))
    assert not job.job.stats.HasField("cost_micros")
    assert not job.job.stats.HasField("execution_time")


@pytest.mark.parametrize(
    ("budget", "now_s", "left_s"),
    [
        pytest.param(None, 1000, None, id="no budget"),
        pytest.param(L4 * 14, 10, 10.0, id="what the start has cost is gone"),
        pytest.param(L4 * 14, 15, 5.0, id="half of it is gone"),
        pytest.param(L4 * 14, 20, 0.0, id="spent to the last"),
        pytest.param(L4 * 14, 99, 0.0, id="overspent"),
    ],
)
def test_a_budget_is_spent_while_work_goes_on(
    budget: int | None, now_s: float, left_s: float | None
) -> None:
    assert stats.budget_left_s(running(budget).job, at(now_s)) == left_s


def test_tasks_at_the_same_time_spend_a_budget_faster() -> None:
    job = running(L4 * 24)
    facts = Attempt(gpu="NVIDIA L4", price_micros_per_second=L4)
    job.start("u-1", "pod-2", at(10), facts)
    assert stats.budget_left_s(job.job, at(10)) == 10.0


def test_a_budget_that_nothing_draws_on_lasts() -> None:
    job = running(L4 * 24)
    job.attempt_ended("t-1", None, at(20))
    assert stats.budget_left_s(job.job, at(5000)) is None
    assert stats.spent_micros(job.job, at(5000)) == L4 * 14


def test_the_price_list_that_comes_along_is_whole() -> None:
    listed = prices.parse(Path(backend.__file__).with_name("prices.toml").read_text())
    assert listed.of("NVIDIA L4") == 190
    assert listed.has_nvenc["NVIDIA L4"] and not listed.has_nvenc["NVIDIA H100 PCIe"]
    assert listed.of("NVIDIA T1000000") == max(listed.micros_per_second.values())
    assert listed.source.startswith("https://") and listed.date == "2026-08-20"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "source = 'x'\ndate = 2026-01-01\ngpu = []",
        "source = 'x'\ndate = 2026-01-01\n[[gpu]]\nnames = ['a']\nmicros_per_second = 1.5",
        "source = 'x'\ndate = 2026-01-01\n[[gpu]]\nnames = ['a']",
        "not toml",
    ],
)
def test_a_price_list_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"price list|has no GPU|whole number"):
        prices.parse(text)


def test_a_budget_is_a_part_of_the_request() -> None:
    spec = pictures("a")
    spec.max_cost_micros = 5
    job = JobMachine.create(spec, "jobs/j", NOW).job
    assert job.max_cost_micros == 5
    assert not JobMachine.create(
        Job(images_to_videos=spec.images_to_videos), "jobs/j", NOW
    ).job.HasField("max_cost_micros")
