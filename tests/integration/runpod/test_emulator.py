"""The emulated RunPod answers as the SDK's own client and worker loop understand it, and behaves as
RunPod is documented to. Its workers here run the SDK with a handler that only yields."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.runpod_emulator import ENDPOINT, KEY, Cloud, Policy, running
from tests.runpod_emulator.endpoint import TEMPLATE_SECRET
from tests.runpod_emulator.faults import Swallowed, script
from tests.runpod_emulator.policy import Rate

ECHO = (sys.executable, "-m", "tests.runpod_emulator.echo_worker")
WAIT_S = 30.0


class Owner:
    """What the endpoint's owner asks over HTTP."""

    def __init__(self, cloud: Cloud, session: aiohttp.ClientSession) -> None:
        self.cloud = cloud
        self._session = session

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        url = f"{self.cloud.url}/{ENDPOINT}/{path}"
        async with self._session.request(method, url, json=body) as answer:
            is_json = answer.content_type == "application/json"
            return answer.status, await (answer.json() if is_json else answer.text())

    async def run(self, chunks: list[Any] | None = None, **more: Any) -> str:
        """The id of a new job. more: beside `input`, or its `end`."""
        given = {"chunks": chunks or []}
        if "end" in more:
            given["end"] = more.pop("end")
        status, answer = await self.call("POST", "run", {"input": given, **more})
        assert status == 200, answer
        return str(answer["id"])

    async def status(self, job_id: str) -> dict[str, Any]:
        status, answer = await self.call("GET", f"status/{job_id}")
        return answer if status == 200 else {"status": status}

    async def until(self, job_id: str, status: str) -> dict[str, Any]:
        job = self.cloud.jobs[job_id]
        assert await self.cloud.clock.until(lambda: job.status == status, WAIT_S), job
        return await self.status(job_id)


@asynccontextmanager
async def owning(tmp_path: Path, **policy: Any) -> AsyncIterator[Owner]:
    """An endpoint whose workers echo."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        running(tmp_path, policy=Policy(**policy)) as cloud,
        aiohttp.ClientSession(headers=headers) as session,
    ):
        cloud.fleet.command = ECHO
        yield Owner(cloud, session)


async def test_the_sdks_own_client_understands_every_answer(tmp_path: Path) -> None:
    """In a process of its own: it reads its settings when it is imported."""
    async with owning(tmp_path, workers_max=2) as owner:
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.integration.runpod.sdk_client"),
            env={
                **os.environ,
                "HOME": str(tmp_path),
                "RUNPOD_ENDPOINT_BASE_URL": owner.cloud.url,
                "ENDPOINT": ENDPOINT,
                "KEY": KEY,
            },
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await asyncio.wait_for(client.communicate(), WAIT_S)
    assert client.returncode == 0
    told = json.loads(out.decode().splitlines()[-1])
    assert told == {
        "streamed": [{"n": 1}, {"n": 2}],
        "status": "COMPLETED",
        "output": [{"n": 1}, {"n": 2}],
        "health": {
            "jobs": {"completed": 1, "failed": 0, "inProgress": 0, "inQueue": 0, "retried": 0},
            "running": 0,
            "idle": 1,
        },
        "cancelled": "CANCELLED",
        "after": "CANCELLED",
        "purged": {"removed": 0, "status": "completed"},
        "blocking": [7],
    }


async def test_times_run_out_and_results_are_forgotten(tmp_path: Path) -> None:
    async with owning(tmp_path) as owner:
        clock = owner.cloud.clock
        done = await owner.run([1])
        told = await owner.until(done, "COMPLETED")
        assert told["output"] == [1] and told["executionTime"] >= 0 and told["workerId"]

        hanging = await owner.run(end="hang", policy={"executionTimeout": 60_000})
        await owner.until(hanging, "IN_PROGRESS")
        clock.advance(61)
        told = await owner.until(hanging, "TIMED_OUT")
        assert "output" not in told
        # Its worker was told to stop, and is free again.
        again = await owner.run([2])
        await owner.until(again, "COMPLETED")

        old = await owner.run(end="hang", policy={"ttl": 120_000})
        await owner.until(old, "IN_PROGRESS")
        clock.advance(121)
        assert await clock.until(lambda: old not in owner.cloud.jobs, WAIT_S)
        assert await owner.status(old) == {"status": 404}

        clock.advance(31 * 60)
        assert await clock.until(lambda: done not in owner.cloud.jobs, WAIT_S)
        assert (await owner.call("GET", f"stream/{done}"))[0] == 404


async def test_what_failed_is_run_again_on_demand(tmp_path: Path) -> None:
    async with owning(tmp_path) as owner:
        failing = await owner.run(["kept"], end="raise")
        told = await owner.until(failing, "FAILED")
        assert "told to fail" in told["error"] and "output" not in told
        assert (await owner.call("POST", f"retry/{failing}"))[1]["status"] == "IN_QUEUE"
        await owner.until(failing, "FAILED")
        done = await owner.run([1])
        await owner.until(done, "COMPLETED")
        assert (await owner.call("POST", f"retry/{done}"))[0] == 400
        status, answer = await owner.call("POST", "runsync?wait=1000", {"input": {"end": "hang"}})
        assert (status, answer["status"]) == (200, "IN_PROGRESS")


async def test_what_is_too_long_is_refused(tmp_path: Path) -> None:
    limits = {"max_output_bytes": 3000, "max_chunk_bytes": 2000, "max_run_bytes": 20_000}
    async with owning(tmp_path, **limits) as owner:
        long, longer = "x" * 1500, "x" * 2500
        job = await owner.run([long, longer])
        told = await owner.until(job, "COMPLETED")
        assert "output" not in told, "a whole output that is too long is lost"
        _, stream = await owner.call("GET", f"stream/{job}")
        assert stream["stream"] == [{"output": long}], "a part that is too long is lost"
        status, _ = await owner.call("POST", "run", {"input": {"chunks": ["x" * 30_000]}})
        assert status == 413


async def test_too_many_calls_are_turned_away_until_the_window_has_passed(tmp_path: Path) -> None:
    async with owning(tmp_path, workers_max=0) as owner:
        owner.cloud.rates.limits["status"] = Rate(count=2, window_s=10, concurrent=400)
        job = await owner.run()
        answers = [(await owner.status(job))["status"] for _ in range(3)]
        assert answers == ["IN_QUEUE", "IN_QUEUE", 429]
        owner.cloud.clock.advance(11)
        assert (await owner.status(job))["status"] == "IN_QUEUE"


async def test_a_webhook_is_told_of_the_end_until_it_says_that_all_is_well(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    enough = asyncio.Event()

    async def hook(request: web.Request) -> web.Response:
        told.append(await request.json())
        if len(told) == 2:
            enough.set()
        return web.Response(status=500 if len(told) == 1 else 200)

    application = web.Application()
    application.router.add_post("/", hook)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    async with owning(tmp_path, workers_max=0, webhook_pause_s=0.01) as owner:
        job = await owner.run(webhook=url)
        await owner.call("POST", f"cancel/{job}")
        await asyncio.wait_for(enough.wait(), WAIT_S)
    await runner.cleanup()
    assert told == [{"id": job, "status": "CANCELLED"}] * 2


async def test_workers_come_with_the_work_and_go_when_they_idle(tmp_path: Path) -> None:
    async with owning(tmp_path, workers_max=2, flash_boot=False, idle_timeout_s=60) as owner:
        cloud = owner.cloud
        hanging = [await owner.run([1], end="hang") for _ in range(3)]

        def at_it() -> int:
            return sum(bool(job.buffered) for job in cloud.jobs.values())

        assert await cloud.clock.until(lambda: at_it() == 2, WAIT_S)
        assert [job.status for job in cloud.jobs.values()].count("IN_QUEUE") == 1
        for job in hanging:
            await owner.call("POST", f"cancel/{job}")
        assert await cloud.clock.until(lambda: cloud.fleet.count("idle") == 2, WAIT_S)
        cloud.clock.advance(61)
        assert await cloud.clock.until(lambda: not cloud.workers, WAIT_S)


async def test_a_worker_without_a_gpu_to_run_on_is_told_as_throttled(tmp_path: Path) -> None:
    async with owning(tmp_path, throttled=True) as owner:
        job = await owner.run([1])
        _, health = await owner.call("GET", "health")
        assert (health["workers"]["throttled"], health["workers"]["initializing"]) == (1, 0)
        owner.cloud.policy.throttled = False
        await owner.until(job, "COMPLETED")


async def test_flash_boot_wakes_the_worker_that_was_put_to_sleep(tmp_path: Path) -> None:
    async with owning(tmp_path, idle_timeout_s=60) as owner:
        cloud = owner.cloud
        first = await owner.until(await owner.run([1]), "COMPLETED")
        cloud.clock.advance(61)
        assert await cloud.clock.until(lambda: cloud.fleet.count("paused") == 1, WAIT_S)
        second = await owner.until(await owner.run([2]), "COMPLETED")
        assert second["workerId"] == first["workerId"]
        assert second["output"] == [2]


async def test_jobs_come_in_batches_and_run_beside_each_other(tmp_path: Path) -> None:
    async with owning(tmp_path) as owner:
        owner.cloud.fleet.environment["ECHO_JOBS"] = "3"
        jobs = [await owner.run(end="hang") for _ in range(3)]
        for job in jobs:
            await owner.until(job, "IN_PROGRESS")
        assert len({owner.cloud.jobs[job].worker for job in jobs}) == 1


async def test_a_worker_that_refreshes_itself_is_replaced(tmp_path: Path) -> None:
    async with owning(tmp_path) as owner:
        owner.cloud.fleet.environment["ECHO_REFRESH"] = "1"
        first = await owner.until(await owner.run([1]), "COMPLETED")
        second = await owner.until(await owner.run([2]), "COMPLETED")
        assert first["workerId"] != second["workerId"]


async def test_a_late_sign_of_progress_may_undo_an_end(tmp_path: Path) -> None:
    """As in runpod-python #250; by default it does not."""
    async with owning(tmp_path) as owner:
        job = await owner.run([1])
        told = await owner.until(job, "COMPLETED")

        async def late() -> str:
            url = f"{owner.cloud.url}/{ENDPOINT}/job-done/{told['workerId']}/{job}"
            body = b'{"status": "IN_PROGRESS", "output": "half way"}'
            headers = {"Authorization": "worker-key"}
            async with aiohttp.request("POST", url, data=body, headers=headers) as answer:
                assert answer.status == 200
            return str((await owner.status(job))["status"])

        assert await late() == "COMPLETED"
        owner.cloud.worker_side.late_progress = True
        assert await late() == "IN_PROGRESS"


async def test_a_result_that_is_lost_leaves_the_job_in_progress(tmp_path: Path) -> None:
    async with owning(tmp_path) as owner:
        owner.cloud.worker_fault = script("job-done", Swallowed())
        job = await owner.run([1])
        _, stream = await owner.call("GET", f"stream/{job}")
        assert stream["stream"] == [{"output": 1}]
        other = await owner.run([2])
        await owner.until(other, "COMPLETED")
        assert (await owner.status(job))["status"] == "IN_PROGRESS"


async def test_the_configuration_is_told_as_the_rest_api_does(tmp_path: Path) -> None:
    async with owning(tmp_path, workers_max=3, idle_timeout_s=5) as owner:
        url = f"{owner.cloud.rest_url}/endpoints/{ENDPOINT}"
        headers = {"Authorization": f"Bearer {KEY}"}
        async with aiohttp.request("GET", url, headers=headers) as answer:
            told = await answer.json()
        async with aiohttp.request("GET", url) as refused:
            assert refused.status == 401
    assert (told["id"], told["workersMax"], told["idleTimeout"]) == (ENDPOINT, 3, 5)
    assert told["env"] == {"HF_TOKEN": TEMPLATE_SECRET}
