"""GetBackendStatus: what of the backend is told, how often it is asked, and no secret."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from apigpu.video.v1.video_service_pb2 import (
    BackendProblem,
    BackendStatus,
    EndpointConfiguration,
    GetBackendStatusRequest,
    TaskCounts,
    WorkerCounts,
)

from apigpu_common.errors import Unavailable
from orchestrator.dispatch.runpod_problems import problems
from orchestrator.jobs.prices import PriceList
from tests import requests
from tests.runpod_emulator import ENDPOINT, KEY, Policy, running
from tests.runpod_emulator.endpoint import TEMPLATE_SECRET
from tests.runpod_jobs import service
from tests.scripted_worker import ScriptedWorker, do_all, serve
from tests.services import in_process

PRICES = PriceList("", "", {"NVIDIA L4": 190}, {"NVIDIA L4": True, "NVIDIA H200": False})


async def status(stub: Any) -> BackendStatus:
    return await stub.GetBackendStatus(GetBackendStatusRequest())  # type: ignore[no-any-return]


async def test_an_endpoint_is_told_as_it_is_and_asked_rarely(tmp_path: Path) -> None:
    policy = Policy(workers_max=0, workers_min=0, idle_timeout_s=7, execution_timeout_s=900)
    async with (
        running(tmp_path / "cloud", policy=policy) as cloud,
        service(cloud, tmp_path / "data") as stub,
    ):
        cloud.queue.submit({"input": {}})
        answers = await asyncio.gather(*(status(stub) for _ in range(50)))
        told = answers[0]
        assert all(answer == told for answer in answers)
        assert cloud.calls == ["health", "configuration"], "50 callers, one question"
        assert (told.backend, told.endpoint_id) == ("runpod", ENDPOINT)
        assert told.configuration.idle_timeout.seconds == 7
        assert told.configuration.execution_timeout.seconds == 900
        assert list(told.configuration.gpu_types) == ["NVIDIA L4"]
        assert [problem.reason for problem in told.problems] == ["NO_WORKERS_ALLOWED"]
        assert KEY not in str(told) and TEMPLATE_SECRET not in str(told)


@pytest.mark.parametrize(
    ("more", "reason", "told"),
    [
        ({"runpod_api_key": "wrong"}, "RUNPOD_KEY_REFUSED", "RUNPOD_API_KEY"),
        ({"runpod_endpoint_id": "gone"}, "RUNPOD_NOT_FOUND", "RUNPOD_ENDPOINT_ID"),
    ],
)
async def test_what_keeps_it_from_working_is_told_with_what_to_do(
    tmp_path: Path, more: dict[str, str], reason: str, told: str
) -> None:
    async with (
        running(tmp_path / "cloud") as cloud,
        service(cloud, tmp_path / "data", **more) as stub,
    ):
        (problem,) = (await status(stub)).problems
        assert (problem.reason, problem.severity) == (reason, BackendProblem.ERROR)
        assert told in problem.message


async def test_a_key_that_may_not_read_the_configuration_is_good_enough(tmp_path: Path) -> None:
    async with running(tmp_path / "cloud") as cloud:
        cloud.fault = lambda operation: (
            web.Response(status=403) if operation == "configuration" else None
        )
        async with service(cloud, tmp_path / "data") as stub:
            told = await status(stub)
            assert not told.HasField("configuration") and not told.problems


async def test_workers_by_address_are_counted_as_well(tmp_path: Path) -> None:
    async def stay(task: Any, sender: Any) -> None:
        sender.start()
        await asyncio.Event().wait()

    async with (
        serve(ScriptedWorker(stay)) as busy,
        in_process(tmp_path, (busy, "127.0.0.1:1")) as stub,
    ):
        events = aiter(stub.RunJob(requests.run(requests.pictures("a"))))
        while not (await anext(events)).attempt.worker_id:
            pass
        told = await status(stub)
        assert told.backend == "workers"
        assert told.workers == WorkerCounts(running=1, unhealthy=1)
        assert told.tasks == TaskCounts(in_progress=1)
        assert not told.HasField("configuration")


async def test_work_of_our_own_workers_is_counted_as_it_waits_and_ends(tmp_path: Path) -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def fail(task: Any, sender: Any) -> None:
        away = Unavailable("DISK_AWAY", "The disk is away.")
        sender.finish([sender.fail(item.id, away) for item in task.items])

    async def wait(task: Any, sender: Any) -> None:
        begun.set()
        await release.wait()
        await do_all(task, sender)

    worker = ScriptedWorker(fail, wait)
    worker.slots = 1
    async with serve(worker) as address, in_process(tmp_path, (address,)) as stub:
        job = await stub.CreateJob(requests.create(requests.pictures("a")))
        await asyncio.wait_for(begun.wait(), 30)
        await stub.CreateJob(requests.create(requests.pictures("b")))
        told = await status(stub)
        assert told.tasks == TaskCounts(queued=1, in_progress=1, completed=1, retried=1)
        release.set()
        await requests.finished(stub.WatchJob(requests.watch(job)))
        assert (await status(stub)).tasks.completed >= 2


@pytest.mark.parametrize(
    ("workers", "configuration", "reasons"),
    [
        ({"running": 1, "throttled": 2}, {"max_workers": 3}, []),
        ({"throttled": 2}, {"max_workers": 3}, ["WORKERS_THROTTLED"]),
        ({"unhealthy": 1, "idle": 1}, {"max_workers": 3}, ["WORKERS_UNHEALTHY"]),
        (
            {},
            {"max_workers": 3, "gpu_types": ["NVIDIA L4", "NVIDIA H200"]},
            ["GPU_WITHOUT_ENCODER"],
        ),
        ({}, {"max_workers": 3, "gpu_types": ["NVIDIA L4", "unheard of"]}, []),
        ({}, None, []),
    ],
)
def test_what_is_likely_to_go_wrong_is_told(
    workers: dict[str, int], configuration: dict[str, Any] | None, reasons: list[str]
) -> None:
    told = BackendStatus(workers=WorkerCounts(**workers))
    if configuration is not None:
        told.configuration.CopyFrom(EndpointConfiguration(**configuration))
    assert [problem.reason for problem in problems(told, PRICES)] == reasons
