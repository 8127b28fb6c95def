"""What RunPod itself does to a job, and where each of its faults is tested through the real
dispatcher: the right state, the right number of attempts, no item lost or doubled.

fault | test
queue | test_an_order_of_jobs_is_kept_and_none_waits_for_ever
scaling from 0, cold starts | test_workers_scale_from_none_to_two_sleep_and_wake
flash boot, idle time-out | test_workers_scale_from_none_to_two_sleep_and_wake
throttled workers | test_work_waits_for_a_gpu_that_is_not_free_and_the_status_says_so
execution time-out | test_a_job_that_takes_too_long_is_stopped_there_and_not_tried_again
ttl | test_a_job_that_waits_beyond_its_ttl_is_dispatched_again_until_the_limit
cancel | test_cancel_stops_ffmpeg_within_a_second_of_the_workers_learning_of_it
cancel in the moment of delivery | test_a_cancel_that_meets_the_delivery_leaves_nothing_running
retry | test_a_job_that_the_platform_runs_again_after_its_end_does_nothing
stream | test_an_answer_that_goes_wrong_costs_no_attempt
chunks that are too long | test_parts_that_are_too_long_for_runpod_are_told_by_the_last_one
output that is too long | test_an_output_that_runpod_finds_too_long_was_heard_before
health | test_a_runpod_whose_health_cannot_be_asked_still_does_the_work
purge | test_a_purged_queue_ends_its_jobs_once
rate limits (429) | test_more_calls_than_are_allowed_cost_patience_alone
result expiry | test_a_result_that_runpod_has_forgotten_is_made_again
worker death | test_a_worker_that_dies_is_replaced_by_the_platform_within_the_attempt
job after SIGTERM | test_a_job_that_comes_after_sigterm_is_given_back_at_once
stopPod | test_workers_that_go_after_each_job_lose_none
duplicate delivery | test_a_job_that_two_workers_are_given_makes_each_item_once
slow and broken responses | test_a_workers_call_that_goes_wrong_costs_no_attempt
lost dispatch | test_a_dispatch_whose_answer_is_lost_makes_nothing_twice
late progress | test_a_job_that_is_told_as_running_after_its_end_has_ended
strangers' requests (runsync) | test_a_request_that_is_not_ours_harms_nobody
webhook | test_no_webhook_is_asked_for
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import pytest
from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.job_pb2 import Item, Job, JobEvent

from orchestrator.dispatch import runpod_status
from tests import requests
from tests.requests import pictures
from tests.runpod_emulator import ENDPOINT, KEY, Cloud, Policy, running
from tests.runpod_emulator.worker import RELAY
from tests.runpod_jobs import service
from tests.scripted_worker import ScriptedWorker, serve

pytestmark = pytest.mark.one_backend("it is about RunPod alone")
WAIT_S = 60.0


@dataclass
class Place:
    """An endpoint whose workers, under the real SDK, do what `worker` does."""

    cloud: Cloud
    stub: Any
    worker: ScriptedWorker

    async def story(self, *ids: str) -> list[JobEvent]:
        run = self.stub.RunJob(requests.run(pictures(*(ids or ("a", "b")))))
        return await asyncio.wait_for(requests.collect(run), WAIT_S)

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """As the account's owner, around us."""
        url = f"{self.cloud.url}/{ENDPOINT}/{path}"
        headers = {"Authorization": f"Bearer {KEY}"}
        async with aiohttp.request(method, url, json=body, headers=headers) as answer:
            return await answer.json()


@asynccontextmanager
async def place(folder: Path, **policy: Any) -> AsyncIterator[Place]:
    worker = ScriptedWorker()
    # None of them dies here: on a crowded machine pings are late.
    patient = Policy(**{"missed_pings": 60, **policy})
    async with (
        serve(worker) as address,
        running(folder / "cloud", policy=patient) as cloud,
        service(cloud, folder / "data", max_items_per_task=2) as stub,
    ):
        cloud.fleet.command = RELAY
        cloud.fleet.environment["RELAY_TO"] = address
        yield Place(cloud, stub, worker)


def made_once(story: list[JobEvent], attempts: int) -> Job:
    """It succeeded after so many attempts, each item once."""
    done = story[-1].finished
    assert done.state == Job.SUCCEEDED, (done.error, done.attempts)
    assert len(done.attempts) == attempts
    ended = [event.item.id for event in story if event.item.state == Item.SUCCEEDED]
    assert sorted(ended) == sorted(item.id for item in done.items)
    assert len({item.output.file for item in done.items}) == len(done.items)
    return done


def test_each_fault_has_a_test() -> None:
    """The table above tells no tale."""
    there = "".join(path.read_text() for path in Path(__file__).parent.glob("test_runpod*.py"))
    assert __doc__
    named = re.findall(r"\| (test_\w+)", __doc__)
    assert len(named) > 20
    assert [name for name in named if f"def {name}(" not in there] == []


async def test_an_order_of_jobs_is_kept_and_none_waits_for_ever(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        stories = await asyncio.gather(*(here.story(f"a{n}", f"b{n}") for n in range(12)))
        for story in stories:
            made_once(story, attempts=1)
        assert len(here.worker.tasks) == len(here.cloud.jobs) == 12
        taken = sorted(here.cloud.jobs.values(), key=lambda job: job.taken_at)
        assert taken == list(here.cloud.jobs.values())


@pytest.fixture
def fresh_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """RunPod is asked for each status anew."""
    monkeypatch.setattr(runpod_status, "_KEPT_S", 0.0)


@pytest.mark.usefixtures("fresh_status")
async def test_work_waits_for_a_gpu_that_is_not_free_and_the_status_says_so(tmp_path: Path) -> None:
    async with place(tmp_path, throttled=True) as here:
        events = aiter(here.stub.RunJob(requests.run(pictures("a"))))
        story = []
        async for event in events:
            story.append(event)
            if event.attempt.remote_id:
                break
        status = await here.stub.GetBackendStatus(video_service_pb2.GetBackendStatusRequest())
        assert status.workers.throttled == 1
        assert "WORKERS_THROTTLED" in {problem.reason for problem in status.problems}
        here.cloud.policy.throttled = False
        made_once([*story, *await requests.collect(events)], attempts=1)


async def test_a_job_that_the_platform_runs_again_after_its_end_does_nothing(
    tmp_path: Path,
) -> None:
    """Somebody presses Retry in RunPod's console, or RunPod does by itself."""
    async with place(tmp_path, workers_max=0) as here:
        events = aiter(here.stub.RunJob(requests.run(pictures("a", "b"))))
        story, first = [], ""
        async for event in events:
            story.append(event)
            if event.attempt.remote_id and not first:
                first = event.attempt.remote_id
                here.cloud.end("FAILED")
            elif event.attempt.remote_id not in ("", first):
                break
        told = await here.ask("POST", f"retry/{first}")
        assert told["status"] == "IN_QUEUE"
        here.cloud.policy.workers_max = 1
        done = made_once([*story, *await requests.collect(events)], attempts=2)
        retried = here.cloud.jobs[first]
        assert await here.cloud.clock.until(lambda: retried.ended, WAIT_S)
        assert "ATTEMPT_OVER" in str(retried.output)
        assert [task.attempt_id for task in here.worker.tasks] == [done.attempts[1].id]


async def test_parts_that_are_too_long_for_runpod_are_told_by_the_last_one(tmp_path: Path) -> None:
    async with place(tmp_path, max_chunk_bytes=300) as here:
        story = await here.story()
        done = made_once(story, attempts=1)
        (remote,) = here.cloud.jobs.values()
        told = [event for event in remote.output if "result" in event or "finished" in event]
        assert len(told) == 1 + len(done.items)


@pytest.mark.usefixtures("fresh_status")
async def test_a_runpod_whose_health_cannot_be_asked_still_does_the_work(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        here.cloud.fault = lambda called: (
            aiohttp.web.Response(status=500) if called in ("health", "configuration") else None
        )
        status = await here.stub.GetBackendStatus(video_service_pb2.GetBackendStatusRequest())
        assert status.problems, "it is not told that the state is unknown"
        made_once(await here.story(), attempts=1)


async def test_a_purged_queue_ends_its_jobs_once(tmp_path: Path) -> None:
    async with place(tmp_path, workers_max=0) as here:
        async for event in here.stub.RunJob(requests.run(pictures("a"))):
            if event.attempt.remote_id and event.attempt.remote_id in here.cloud.jobs:
                remote = here.cloud.jobs[event.attempt.remote_id]
                if not remote.ended:
                    assert (await here.ask("POST", "purge-queue"))["removed"] == 1
        done = event.finished
        assert (done.state, requests.reason_of(done.error)) == (Job.FAILED, "CANCELLED_ON_RUNPOD")
        assert len(done.attempts) == len(here.cloud.jobs) == 1


async def test_workers_that_go_after_each_job_lose_none(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        here.cloud.fleet.environment["REFRESH"] = "yes"
        first = made_once(await here.story(), attempts=1)
        second = made_once(await here.story(), attempts=1)
        assert first.attempts[0].remote_id != second.attempts[0].remote_id
        workers = [job.worker for job in here.cloud.jobs.values()]
        assert len(set(workers)) == 2


async def test_a_request_that_is_not_ours_harms_nobody(tmp_path: Path) -> None:
    """RunPod's console offers one to try an endpoint with; `runsync` waits for its end."""
    async with place(tmp_path) as here:
        for body in ({"prompt": "Hello World"}, {"task": 7}):
            told = await here.ask("POST", "runsync?wait=60000", {"input": body})
            assert told["status"] == "FAILED" and told["error"], body
        made_once(await here.story(), attempts=1)
        assert len(here.worker.tasks) == 1
        assert len(here.cloud.workers) == 1, "the worker did not survive them"


async def test_no_webhook_is_asked_for(tmp_path: Path) -> None:
    """RunPod's are not signed and are given up after three tries: ends are asked for instead, so
    none can be lost, forged or told twice."""
    async with place(tmp_path) as here:
        made_once(await here.story(), attempts=1)
        (remote,) = here.cloud.jobs.values()
        assert set(remote.body) == {"input", "policy"}
