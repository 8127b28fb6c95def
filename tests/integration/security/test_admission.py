"""New work is refused before it is read, where there is enough of it already."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import grpc
import pytest
from apigpu.video.v1 import video_service_pb2

from tests import requests
from tests.requests import pictures, refusal_of
from tests.scripted_worker import ScriptedWorker, Sender, serve
from tests.services import in_process


async def hang(task: object, sender: Sender) -> None:
    sender.start()
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("limit", "reason"),
    [({"max_jobs_per_owner": 2}, "TOO_MANY_JOBS"), ({"max_jobs": 2}, "QUEUE_FULL")],
)
async def test_unfinished_jobs_are_bounded_and_a_finished_one_makes_room(
    tmp_path: Path, limit: dict[str, int], reason: str
) -> None:
    async with (
        serve(ScriptedWorker(hang)) as address,
        in_process(tmp_path, (address,), **limit) as stub,
    ):
        job = await stub.CreateJob(requests.create(pictures("a")))
        await stub.CreateJob(requests.create(pictures("b")))
        while True:  # jobs of all are counted every half second, up to the test's time limit
            try:
                await stub.CreateJob(requests.create(pictures("c")))
            except grpc.aio.AioRpcError as error:
                refused = requests.Refusal(error)
                break
        assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (refused.reason, refused.retry_delay_s > 0) == (reason, True)
        run = stub.RunJob(requests.run(pictures("d")))
        assert (await refusal_of(run.read())).reason == reason
        for each in (await stub.ListJobs(video_service_pb2.ListJobsRequest(page_size=1000))).jobs:
            await stub.CancelJob(video_service_pb2.CancelJobRequest(name=each.name))
        await requests.finished(stub.WatchJob(requests.watch(job)))
        while True:
            try:
                await stub.CreateJob(requests.create(pictures("e")))
                break
            except grpc.aio.AioRpcError:
                continue


async def test_calls_that_make_no_job_take_no_place(tmp_path: Path) -> None:
    async with (
        serve(ScriptedWorker(hang)) as address,
        in_process(tmp_path, (address,), max_jobs_per_owner=1) as stub,
    ):
        for _ in range(2):
            refused = await refusal_of(stub.CreateJob(requests.create(pictures())))
            assert refused.reason == "INVALID_REQUEST"
        await stub.CreateJob(requests.create(pictures("a")))
        refused = await refusal_of(stub.CreateJob(requests.create(pictures("b"))))
        assert refused.reason == "TOO_MANY_JOBS"


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"min_free_disk_bytes": 2**60}, "DISK_FULL"),
        ({"min_free_memory_bytes": 2**60}, "MEMORY_FULL"),
    ],
)
async def test_no_work_is_taken_by_a_house_that_is_full(
    tmp_path: Path, limit: dict[str, int], reason: str
) -> None:
    async with (
        serve(ScriptedWorker()) as address,
        in_process(tmp_path, (address,), **limit) as stub,
    ):
        upload = stub.UploadFile(requests.chunks("a", b"123"))
        for call in (stub.CreateJob(requests.create(pictures("a"))), upload):
            assert (await refusal_of(call)).reason == reason
        await stub.GetServerInfo(video_service_pb2.GetServerInfoRequest())


async def test_an_owner_stores_no_more_than_its_share(tmp_path: Path) -> None:
    async with (
        serve(ScriptedWorker()) as address,
        in_process(tmp_path, (address,), max_stored_bytes_per_owner=10) as stub,
    ):
        await stub.UploadFile(requests.chunks("a", b"0123456789"))
        refused = await refusal_of(stub.UploadFile(requests.chunks("b", os.urandom(10))))
        assert refused.reason == "STORAGE_FULL"
        refused = await refusal_of(stub.CreateJob(requests.create(pictures("a"))))
        assert refused.reason == "STORAGE_FULL", "results are stored, too"
