"""Retries, time limits, turns and dashboards, through the real service with scripted workers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from apigpu.video.v1 import video_service_pb2 as service
from apigpu.video.v1.job_pb2 import JOB_VIEW_BASIC, Job
from apigpu.worker.v1 import worker_service_pb2 as worker
from google.rpc import error_details_pb2, status_pb2

from apigpu_common.errors import InvalidInput
from tests import requests
from tests.requests import Refusal, pictures, seconds
from tests.scripted_worker import ScriptedWorker, Sender, do_all, serve
from tests.services import in_process


async def fail_bad(task: worker.Task, sender: Sender) -> None:
    sender.start()
    bad = InvalidInput("NOT_AN_IMAGE", "This should be a picture.", field="images[0].image")
    sender.finish(
        [
            sender.fail(item.id, bad) if item.id == "bad" else await sender.succeed(item.id)
            for item in task.items
        ]
    )


async def hang(task: worker.Task, sender: Sender) -> None:
    sender.start()
    sender.progress(task.items[0].id, 40)
    await asyncio.Event().wait()


def reason(error: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in error.details)
    return str(info.reason)


def retry(job: Job, request_id: str = "") -> service.RetryJobRequest:
    return service.RetryJobRequest(name=job.name, request_id=request_id)


async def body(stub: Any, file: str) -> bytes:
    parts = stub.DownloadFile(service.DownloadFileRequest(name=file))
    return b"".join([part.chunk async for part in parts])


async def test_a_retry_makes_what_failed_and_shares_what_did_not(tmp_path: Path) -> None:
    worker_ = ScriptedWorker(fail_bad, do_all)
    async with serve(worker_) as address, in_process(tmp_path, (address,)) as stub:
        spec = pictures("good", "bad", labels={"show": "news"})
        first = await requests.finished(stub.RunJob(requests.run(spec)))
        assert first.state == Job.PARTIALLY_SUCCEEDED
        second = await stub.RetryJob(retry(first))
        assert second.retry_of == first.name
        job = await requests.finished(stub.WatchJob(requests.watch(second)))
        assert job.state == Job.SUCCEEDED
        assert [item.id for item in worker_.tasks[1].items] == ["bad"]
        assert [item.carried_over for item in job.items] == [True, False]
        assert job.items[0].output.file == first.items[0].output.file
        # the first one is as it ended, and can go without taking the file along
        assert await stub.GetJob(service.GetJobRequest(name=first.name)) == first
        await stub.DeleteJob(service.DeleteJobRequest(name=first.name))
        assert await body(stub, job.items[0].output.file) == b"a video"
        await stub.DeleteJob(service.DeleteJobRequest(name=job.name))
        assert not [path for path in (tmp_path / "files").rglob("*") if path.is_file()]


async def test_a_repeated_retry_makes_one_job_and_a_useless_one_none(tmp_path: Path) -> None:
    async with (
        serve(ScriptedWorker(fail_bad, hang)) as address,
        in_process(tmp_path, (address,)) as stub,
    ):
        first = await requests.finished(stub.RunJob(requests.run(pictures("bad"))))
        again = [await stub.RetryJob(retry(first, "retry-1")) for _ in range(3)]
        assert len({job.name for job in again}) == 1
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.RetryJob(retry(again[0]))
        assert Refusal(refused.value).reason == "JOB_NOT_FINISHED"
    async with serve(ScriptedWorker()) as address, in_process(tmp_path / "b", (address,)) as stub:
        done = await requests.finished(stub.RunJob(requests.run(pictures("a"))))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.RetryJob(retry(done))
        assert Refusal(refused.value).code is grpc.StatusCode.FAILED_PRECONDITION
        assert Refusal(refused.value).reason == "NOTHING_TO_RETRY"


async def test_a_job_that_no_worker_takes_fails_when_its_wait_is_over(tmp_path: Path) -> None:
    async with in_process(tmp_path, ("127.0.0.1:1",)) as stub:
        spec = pictures("a")
        spec.queue_time_limit.CopyFrom(seconds(0.1))
        job = await requests.finished(stub.RunJob(requests.run(spec)))
    assert job.state == Job.FAILED
    assert reason(job.error) == "QUEUE_TIME_LIMIT"


async def test_a_job_that_runs_too_long_is_stopped_at_the_worker(tmp_path: Path) -> None:
    worker_ = ScriptedWorker(hang)
    # A long lease: it is stopped at once, not when the lease is next renewed.
    async with (
        serve(worker_) as address,
        in_process(tmp_path, (address,), lease_s=120) as stub,
    ):
        spec = pictures("a")
        spec.run_time_limit.CopyFrom(seconds(0.1))
        job = await requests.finished(stub.RunJob(requests.run(spec)))
        assert job.state == Job.FAILED
        assert reason(job.error) == "TIME_LIMIT"
        assert job.items[0].progress.percent == 40
        await asyncio.wait_for(worker_.cancelled.wait(), 10)
        # its place is free for the next
        worker_.scripts.append(do_all)
        after = await requests.finished(stub.RunJob(requests.run(pictures("b"))))
        assert after.state == Job.SUCCEEDED


async def test_higher_priorities_go_first(tmp_path: Path) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def wait_for_it(task: worker.Task, sender: Sender) -> None:
        begun.set()
        await go.wait()
        await do_all(task, sender)

    worker_ = ScriptedWorker(wait_for_it)
    worker_.slots = 1
    async with serve(worker_) as address, in_process(tmp_path, (address,)) as stub:
        first = await stub.CreateJob(requests.create(pictures("first")))
        await begun.wait()
        jobs = [first]
        for priority in (10, 90, None, 90):
            spec = pictures(f"p{priority}")
            if priority is not None:
                spec.priority = priority
            jobs.append(await stub.CreateJob(requests.create(spec)))
        go.set()
        for job in jobs:
            await requests.finished(stub.WatchJob(requests.watch(job)))
    assert [task.items[0].id for task in worker_.tasks] == ["first", "p90", "p90", "pNone", "p10"]


async def next_news(stream: Any) -> service.WatchJobsResponse:
    """The next message that is no heartbeat."""
    async for message in stream:
        if message.ByteSize():
            return message  # type: ignore[no-any-return]
    raise AssertionError("the stream has ended")


async def test_a_dashboard_begins_with_what_there_is_and_then_follows(tmp_path: Path) -> None:
    async with serve(ScriptedWorker(fail_bad)) as address, in_process(tmp_path, (address,)) as stub:
        old = [
            await requests.finished(stub.RunJob(requests.run(pictures("a", labels={"n": str(n)}))))
            for n in range(3)
        ]
        stream = aiter(stub.WatchJobs(service.WatchJobsRequest(initial_jobs=2)))
        message = await anext(stream)
        assert message.initial_complete
        assert [job.name for job in message.jobs] == [old[2].name, old[1].name]
        assert not message.jobs[0].items
        assert message.jobs[0].WhichOneof("operation") == "images_to_videos"
        assert not message.jobs[0].images_to_videos.images
        assert message.jobs[0].item_counts.succeeded == 1

        new = await stub.CreateJob(requests.create(pictures("good", "bad")))
        states: list[int] = []
        while not states or states[-1] != Job.PARTIALLY_SUCCEEDED:
            told = (await next_news(stream)).jobs
            states += [job.state for job in told if job.name == new.name]
        await stub.DeleteJob(service.DeleteJobRequest(name=new.name))
        assert list((await next_news(stream)).removed) == [new.name]


async def test_a_dashboard_tells_of_jobs_that_match_and_of_those_that_no_longer_do(
    tmp_path: Path,
) -> None:
    go = asyncio.Event()

    async def wait_for_it(task: worker.Task, sender: Sender) -> None:
        sender.start()
        await go.wait()
        sender.finish([await sender.succeed(item.id) for item in task.items])

    async with (
        serve(ScriptedWorker(wait_for_it)) as address,
        in_process(tmp_path, (address,)) as stub,
    ):
        query = service.WatchJobsRequest(filter="state = RUNNING AND labels:show")
        stream = aiter(stub.WatchJobs(query))
        assert (await anext(stream)).initial_complete
        await stub.CreateJob(requests.create(pictures("other")))
        job = await stub.CreateJob(requests.create(pictures("a", labels={"show": "news"})))
        message = await next_news(stream)
        assert [each.name for each in message.jobs] == [job.name]
        assert message.jobs[0].state == Job.RUNNING
        go.set()
        assert list((await next_news(stream)).removed) == [job.name]


async def test_a_dashboard_has_heartbeats_and_a_wrong_filter_is_refused(tmp_path: Path) -> None:
    async with serve(ScriptedWorker()) as address, in_process(tmp_path, (address,)) as stub:
        query = service.WatchJobsRequest(heartbeat_interval=seconds(1))
        stream = aiter(stub.WatchJobs(query))
        assert (await anext(stream)).initial_complete
        assert await anext(stream) == service.WatchJobsResponse()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await anext(aiter(stub.WatchJobs(service.WatchJobsRequest(filter="colour = red"))))
        assert Refusal(refused.value).reason == "INVALID_FILTER"


async def test_lists_are_ordered_and_small_where_that_is_asked_for(tmp_path: Path) -> None:
    async with serve(ScriptedWorker()) as address, in_process(tmp_path, (address,)) as stub:
        for priority in (50, 90, 10, 90):
            spec = pictures("a", "b")
            spec.priority = priority
            await requests.finished(stub.RunJob(requests.run(spec)))
        query = service.ListJobsRequest(
            page_size=3, order_by="priority desc, create_time", view=JOB_VIEW_BASIC
        )
        page = await stub.ListJobs(query)
        assert [job.priority for job in page.jobs] == [90, 90, 50]
        assert page.jobs[0].create_time.ToNanoseconds() < page.jobs[1].create_time.ToNanoseconds()
        assert not page.jobs[0].items
        query.page_token = page.next_page_token
        assert [job.priority for job in (await stub.ListJobs(query)).jobs] == [10]
        query.order_by = "priority"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ListJobs(query)
        assert Refusal(refused.value).reason == "INVALID_PAGE_TOKEN"


async def test_the_time_left_is_known_from_earlier_jobs_before_there_is_progress(
    tmp_path: Path,
) -> None:
    async with (
        serve(ScriptedWorker(do_all, hang)) as address,
        in_process(tmp_path, (address,)) as stub,
    ):
        # One clip of a second is 24 frames, which is what the scripted worker makes of it.
        await requests.finished(stub.RunJob(requests.run(pictures("a"))))
        async for event in stub.RunJob(requests.run(pictures("b"))):
            if event.state == Job.RUNNING:
                assert event.progress.percent == 0
                assert event.progress.HasField("time_left")
                return


async def test_an_owner_has_no_more_tasks_at_work_than_allowed(tmp_path: Path) -> None:
    at_work, most = 0, 0

    async def count(task: worker.Task, sender: Sender) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await do_all(task, sender)
        at_work -= 1

    worker_ = ScriptedWorker(count)
    worker_.slots = 4
    async with (
        serve(worker_) as address,
        in_process(tmp_path, (address,), max_tasks_per_owner=1) as stub,
    ):
        jobs = [await stub.CreateJob(requests.create(pictures("a"))) for _ in range(4)]
        for job in jobs:
            await requests.finished(stub.WatchJob(requests.watch(job)))
    assert most == 1
