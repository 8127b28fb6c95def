"""Calls to RunPod: what each wrong answer leads to, and how many there are. Against the emulator,
without workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from apigpu_common.errors import ServiceError, Unavailable
from orchestrator.dispatch.call_budget import CallBudget, Rate
from orchestrator.dispatch.runpod import RunpodDispatcher
from orchestrator.dispatch.runpod_api import NotDone, RemoteJob, RunpodApi
from orchestrator.dispatch.runpod_watch import JobWatch
from orchestrator.jobs.prices import PriceList
from orchestrator.jobs.sharding import Fleet
from tests.runpod_emulator import ENDPOINT, KEY, Cloud, faults, policy, running

PRICES = PriceList("test", "", {"NVIDIA L4": 190}, {})


@asynccontextmanager
async def calling(
    folder: Path, *, key: str = KEY, patience_s: float = 20.0, budget: CallBudget | None = None
) -> AsyncIterator[tuple[Cloud, RunpodApi]]:
    async with running(folder, max_workers=0) as cloud:
        api = RunpodApi(
            cloud.url, cloud.rest_url, ENDPOINT, key, budget=budget, patience_s=patience_s
        )
        await api.open()
        try:
            yield cloud, api
        finally:
            await api.close()


async def test_a_dispatch_that_is_surely_not_done_is_repeated_and_makes_one_job(
    tmp_path: Path,
) -> None:
    async with calling(tmp_path) as (cloud, api):
        cloud.fault = faults.script("run", 429, 429)
        assert await api.run({}, 60, 600) in cloud.jobs
        assert cloud.calls == ["run"] * 3
        assert len(cloud.jobs) == 1


@pytest.mark.parametrize("fault", [500, 503, faults.Lost(), faults.HalfWritten()])
async def test_a_dispatch_that_may_be_done_is_not_repeated(
    tmp_path: Path, fault: faults.Fault | int
) -> None:
    async with calling(tmp_path) as (cloud, api):
        cloud.fault = faults.script("run", fault)
        with pytest.raises(Unavailable) as told:
            await api.run({}, 60, 600)
        assert not isinstance(told.value, NotDone)
        assert cloud.calls == ["run"]


async def test_a_busy_platform_is_not_asked_for_ever(tmp_path: Path) -> None:
    async with calling(tmp_path, patience_s=1.0) as (cloud, api):
        cloud.fault = faults.script("run", *[429] * 100)
        with pytest.raises(NotDone):
            await api.run({}, 60, 600)
        assert 1 < len(cloud.calls) < 5


@pytest.mark.parametrize("fault", [401, 429, 502, faults.Reset(), faults.HalfWritten()])
async def test_what_goes_on_at_runpod_is_asked_for_again(
    tmp_path: Path, fault: faults.Fault | int
) -> None:
    async with calling(tmp_path) as (cloud, api):
        job_id = await api.run({}, 60, 600)
        cloud.queue.jobs[job_id].buffered.append({"sequence": 1})
        cloud.fault = faults.script("status", fault)
        assert (await api.status(job_id)).status == "IN_QUEUE"
        assert cloud.calls.count("status") == 2


@pytest.mark.parametrize(("status", "reason"), [(404, "RUNPOD_NOT_FOUND"), (400, "RUNPOD_REFUSED")])
async def test_what_will_not_change_is_asked_once(tmp_path: Path, status: int, reason: str) -> None:
    async with calling(tmp_path) as (cloud, api):
        cloud.fault = faults.script("status", status)
        with pytest.raises(ServiceError) as told:
            await api.status("any")
        assert told.value.reason == reason
        assert cloud.calls == ["status"]


async def test_a_task_that_runpod_would_not_take_is_not_sent(tmp_path: Path) -> None:
    async with calling(tmp_path) as (cloud, api):
        with pytest.raises(ServiceError) as told:
            await api.run({"task": "x" * 10_000_000}, 60, 600)
        assert told.value.reason == "PAYLOAD_TOO_LARGE"
        assert not told.value.retryable
        assert cloud.calls == []


async def test_a_wrong_key_is_told_as_one(tmp_path: Path) -> None:
    async with calling(tmp_path, key="another") as (cloud, api):
        with pytest.raises(ServiceError, match="RUNPOD_API_KEY") as told:
            await api.run({}, 60, 600)
        assert (told.value.reason, told.value.retryable) == ("RUNPOD_KEY_REFUSED", False)
        assert cloud.calls == ["run"]


async def test_dispatches_come_no_faster_than_the_platform_takes_them(tmp_path: Path) -> None:
    rates = {"run": Rate(10, 1, 200), "status": Rate(100, 1, 20), "stream": Rate(40, 1, 20)}
    async with calling(tmp_path, budget=CallBudget(rates)) as (cloud, api):
        cloud.rates.limits["run"] = policy.Rate(10, 1, 200)
        await asyncio.gather(*(api.run({}, 60, 600) for _ in range(15)))
        assert cloud.calls == ["run"] * 15, "RunPod has said 429"


class Followed:
    """Counts how often each job is asked for. chatty: one that has news whenever it is asked."""

    def __init__(self, cloud: Cloud, api: RunpodApi, jobs: list[str], chatty: str) -> None:
        self.asked = Counter(dict.fromkeys([*jobs, chatty], 0))
        self.all_twice = asyncio.Event()
        self._cloud, self._chatty, self._news = cloud, chatty, api.news

    async def news(self, job_id: str) -> RemoteJob:
        self.asked[job_id] += 1
        if job_id == self._chatty:
            self._cloud.queue.jobs[job_id].buffered.append({"sequence": self.asked[job_id]})
        if min(self.asked.values()) >= 2:
            self.all_twice.set()
        return await self._news(job_id)


async def test_followers_share_the_budget_and_news_come_within_two_intervals(
    tmp_path: Path,
) -> None:
    """More jobs than may be asked at the same time: each has its turn, none is refused."""
    rates = {"run": Rate(1000, 1, 200), "status": Rate(100, 1, 20), "stream": Rate(80, 1, 40)}
    async with calling(tmp_path, budget=CallBudget(rates)) as (cloud, api):
        # The platform allows twice of what we ask of our share.
        cloud.rates.limits["stream"] = policy.Rate(80, 1, 40)
        dispatcher = RunpodDispatcher(api, Fleet(1, 1), PRICES, max_tasks=31, queue_limit_s=600)
        chatty, *jobs = [await api.run({}, 60, 600) for _ in range(31)]
        followed = Followed(cloud, api, jobs, chatty)
        api.news = followed.news  # type: ignore[method-assign]
        written: dict[str, int] = {}

        async def first_event(job_id: str) -> int:
            """How often it was asked for, from the event's being there to its being known."""
            async for _ in dispatcher._live(job_id, JobWatch(600, 600, lambda: 0.0)):
                if job_id != chatty:
                    break
            return followed.asked[job_id] - written[job_id]

        talk = asyncio.create_task(first_event(chatty))
        following = [asyncio.create_task(first_event(job_id)) for job_id in jobs]
        await asyncio.wait_for(followed.all_twice.wait(), 60)
        asked = followed.asked
        assert asked[chatty] <= min(asked.values()) + 2, "it takes the turns of others"
        for job_id in jobs:
            written[job_id] = asked[job_id]
            cloud.queue.jobs[job_id].buffered.append({"attempt_id": "a", "sequence": 1})
        cloud.clock.advance(0)
        polls = await asyncio.wait_for(asyncio.gather(*following), 60)
        assert max(polls) <= 2
        assert api.budget._lanes["stream"].closed_until == 0, "RunPod has said 429"
        talk.cancel()
