"""Jobs through the real service, with a worker that does what the test says."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from apigpu.video.v1 import file_pb2, video_service_pb2
from apigpu.video.v1.job_pb2 import Item, Job
from apigpu.worker.v1 import worker_service_pb2 as worker

from orchestrator.server import Orchestrator
from tests import requests
from tests.requests import Refusal, pictures
from tests.scripted_worker import ScriptedWorker, Sender, do_all, serve
from tests.services import connect, in_process, kept_files, settings


async def hang(task: worker.Task, sender: Sender) -> None:
    sender.start()
    sender.progress(task.items[0].id, 40)
    await asyncio.Event().wait()


async def test_a_job_runs_to_its_end_and_its_output_can_be_downloaded(tmp_path: Path) -> None:
    async with serve(ScriptedWorker()) as address, in_process(tmp_path, (address,)) as stub:
        events = await requests.collect(stub.RunJob(requests.run(pictures("a", "b"))))
        assert events[0].created.state == Job.QUEUED
        job = events[-1].finished
        assert job.state == Job.SUCCEEDED
        assert job.progress.percent == 100
        assert [item.id for item in job.items] == ["a", "b"]
        assert job.last_sequence == events[-1].sequence
        assert job == await stub.GetJob(video_service_pb2.GetJobRequest(name=job.name))
        output = job.items[1].output
        assert output.filename == "b.mp4"
        parts = [
            part
            async for part in stub.DownloadFile(
                video_service_pb2.DownloadFileRequest(name=output.file, offset=2)
            )
        ]
        assert parts[0].file.sha256 == output.sha256
        assert b"".join(part.chunk for part in parts[1:]) == b"a video"[2:]


async def test_any_watcher_sees_the_same_story_from_any_point(tmp_path: Path) -> None:
    async with serve(ScriptedWorker()) as address, in_process(tmp_path, (address,)) as stub:
        story = await requests.collect(stub.RunJob(requests.run(pictures("a", "b", "c"))))
        job = story[-1].finished
        for after in range(len(story) + 2):
            seen = [event async for event in stub.WatchJob(requests.watch(job, after))]
            assert seen == (story[after:] or story[-1:])


async def test_watchers_that_come_while_the_job_runs_miss_nothing(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def script(task: worker.Task, sender: Sender) -> None:
        sender.start()
        sender.progress("a", 10)
        await go.wait()
        for percent in range(11, 90):
            sender.progress("a", percent)
        sender.finish([await sender.succeed("a")])

    async with serve(ScriptedWorker(script)) as address, in_process(tmp_path, (address,)) as stub:
        job = await stub.CreateJob(requests.create(pictures("a")))
        watchers = [stub.WatchJob(requests.watch(job)) for _ in range(5)]
        iterators = [aiter(watcher) for watcher in watchers]
        firsts = [await anext(iterator) for iterator in iterators]
        assert all(event.sequence == 1 for event in firsts)
        go.set()
        stories = [await requests.collect(iterator) for iterator in iterators]
        assert all(story == stories[0] for story in stories)


async def test_a_repeated_request_id_makes_one_job(tmp_path: Path) -> None:
    async with serve(ScriptedWorker()) as address, in_process(tmp_path, (address,)) as stub:
        calls = [stub.CreateJob(requests.create(pictures("a"), "order-7")) for _ in range(8)]
        names = {(await call).name for call in calls}
        assert len(names) == 1
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.CreateJob(requests.create(pictures("b"), "order-7"))
        refusal = Refusal(refused.value)
        assert refusal.code is grpc.StatusCode.ALREADY_EXISTS
        assert refusal.reason == "REQUEST_ID_REUSED"


async def test_a_repeated_request_finds_its_job_although_its_files_are_gone(
    tmp_path: Path,
) -> None:
    async with serve(ScriptedWorker()) as address, in_process(tmp_path, (address,)) as stub:
        file = await stub.UploadFile(requests.chunks("a.jpg", b"a picture"))
        spec, other = pictures("a"), pictures("b")
        for asked in (spec, other):
            asked.images_to_videos.images[0].image.file = file.name
        job = await requests.finished(stub.RunJob(requests.run(spec, "order-8")))
        await stub.DeleteFile(video_service_pb2.DeleteFileRequest(name=file.name))
        assert await stub.CreateJob(requests.create(spec, "order-8")) == job
        for asked, request_id, reason in (
            (other, "order-8", "REQUEST_ID_REUSED"),
            (spec, "order-9", "FILE_NOT_FOUND"),
            (spec, "", "FILE_NOT_FOUND"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.CreateJob(requests.create(asked, request_id))
            assert Refusal(refused.value).reason == reason


async def test_cancel_stops_the_worker_and_ends_the_job(tmp_path: Path) -> None:
    scripted = ScriptedWorker(hang)
    async with serve(scripted) as address, in_process(tmp_path, (address,)) as stub:
        call = stub.RunJob(requests.run(pictures("a", "b")))
        async for event in call:
            if event.HasField("item"):
                break
        job = await stub.CancelJob(video_service_pb2.CancelJobRequest(name=event.job))
        assert job.state in (Job.CANCELLING, Job.CANCELLED)
        events = [event async for event in call]
        assert events[-1].finished.state == Job.CANCELLED
        assert {item.state for item in events[-1].finished.items} == {Item.CANCELLED}
        await asyncio.wait_for(scripted.cancelled.wait(), 5)
        again = await stub.CancelJob(video_service_pb2.CancelJobRequest(name=event.job))
        assert again.state == Job.CANCELLED


async def test_a_queued_job_is_cancelled_at_once(tmp_path: Path) -> None:
    scripted = ScriptedWorker(hang)
    scripted.slots = 1
    async with serve(scripted) as address, in_process(tmp_path, (address,)) as stub:
        blocking = await stub.CreateJob(requests.create(pictures("a")))
        async for event in stub.WatchJob(requests.watch(blocking)):
            if event.state == Job.RUNNING:
                break
        queued = await stub.CreateJob(requests.create(pictures("b")))
        job = await stub.CancelJob(video_service_pb2.CancelJobRequest(name=queued.name))
        assert job.state == Job.CANCELLED
        assert len(scripted.tasks) == 1


async def test_leaving_the_stream_does_not_end_the_job(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def script(task: worker.Task, sender: Sender) -> None:
        sender.start()
        await go.wait()
        sender.finish([await sender.succeed("a")])

    async with serve(ScriptedWorker(script)) as address, in_process(tmp_path, (address,)) as stub:
        call = stub.RunJob(requests.run(pictures("a")))
        first = await anext(aiter(call))
        call.cancel()
        go.set()
        name = first.job
        job = await requests.finished(stub.WatchJob(video_service_pb2.WatchJobRequest(name=name)))
        assert job.state == Job.SUCCEEDED


async def test_a_stopped_service_goes_on_with_its_jobs_when_it_starts_again(tmp_path: Path) -> None:
    scripted = ScriptedWorker(hang, do_all)
    async with serve(scripted) as address:
        async with in_process(tmp_path, (address,)) as stub:
            job = await stub.CreateJob(requests.create(pictures("a", "b")))
            seen = []
            async for event in stub.WatchJob(requests.watch(job)):
                seen.append(event)
                if event.HasField("item"):
                    break
        async with in_process(tmp_path, (address,)) as stub:
            rest = await requests.collect(stub.WatchJob(requests.watch(job, seen[-1].sequence)))
    assert rest[0].sequence == seen[-1].sequence + 1
    assert [attempt.handed_over for attempt in rest[-1].finished.attempts] == [True, False]
    assert rest[-1].finished.state == Job.SUCCEEDED
    assert len(scripted.tasks) == 2


async def test_watchers_are_told_to_come_back_when_the_service_stops(tmp_path: Path) -> None:
    async with serve(ScriptedWorker(hang)) as worker_address:
        orchestrator = Orchestrator(settings(tmp_path, (worker_address,)))
        async with orchestrator, AsyncExitStack() as stack:
            stub = await stack.enter_async_context(connect(orchestrator.address))
            events = aiter(stub.RunJob(requests.run(pictures("a"))))
            await anext(events)
            connection = stack.pop_all()  # outlives the service
        async with connection:
            with pytest.raises(grpc.aio.AioRpcError) as cut:
                await requests.collect(events)
    refusal = Refusal(cut.value)
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    assert refusal.reason == "SHUTTING_DOWN"
    assert refusal.retry_delay_s > 0


async def test_delete_removes_the_job_and_its_outputs(tmp_path: Path) -> None:
    async with serve(ScriptedWorker()) as address, in_process(tmp_path, (address,)) as stub:
        job = await requests.finished(stub.RunJob(requests.run(pictures("a"))))
        assert len(kept_files(tmp_path)) == 1
        await stub.DeleteJob(video_service_pb2.DeleteJobRequest(name=job.name))
        assert not kept_files(tmp_path)
        for call in (
            stub.GetJob(video_service_pb2.GetJobRequest(name=job.name)),
            stub.DeleteJob(video_service_pb2.DeleteJobRequest(name=job.name)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert Refusal(refused.value).code is grpc.StatusCode.NOT_FOUND


async def test_a_running_job_is_not_deleted(tmp_path: Path) -> None:
    async with serve(ScriptedWorker(hang)) as address, in_process(tmp_path, (address,)) as stub:
        job = await stub.CreateJob(requests.create(pictures("a")))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.DeleteJob(video_service_pb2.DeleteJobRequest(name=job.name))
        assert Refusal(refused.value).code is grpc.StatusCode.FAILED_PRECONDITION
        assert Refusal(refused.value).reason == "JOB_NOT_FINISHED"


async def test_list_gives_every_job_once_newest_first_and_filters(tmp_path: Path) -> None:
    async with serve(ScriptedWorker()) as address, in_process(tmp_path, (address,)) as stub:
        names = []
        for number in range(7):
            labels = {"parity": "even" if number % 2 == 0 else "odd"}
            job = await requests.finished(stub.RunJob(requests.run(pictures("a", labels=labels))))
            names.append(job.name)

        async def listed(filter_text: str) -> list[str]:
            found, token = [], ""
            while True:
                page = await stub.ListJobs(
                    video_service_pb2.ListJobsRequest(
                        page_size=2, page_token=token, filter=filter_text
                    )
                )
                assert len(page.jobs) <= 2
                found += [job.name for job in page.jobs]
                token = page.next_page_token
                if not token:
                    return found

        assert await listed("") == names[::-1]
        assert await listed('state = SUCCEEDED AND labels.parity = "odd"') == names[5::-2]
        assert await listed("labels.parity != odd") == names[::-2]
        assert await listed("operation = caption") == []


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"filter": "colour = red"}, "INVALID_FILTER"),
        ({"filter": "state = SLEEPING"}, "INVALID_FILTER"),
        ({"filter": "state = RUNNING OR "}, "INVALID_FILTER"),
        ({"order_by": "colour"}, "INVALID_ORDER"),
        ({"filter": "state = RUNNING AND "}, "INVALID_FILTER"),
        ({"page_token": "bm9uc2Vuc2U="}, "INVALID_PAGE_TOKEN"),
        ({"page_token": "%%%"}, "INVALID_PAGE_TOKEN"),
        ({"page_size": -1}, "INVALID_REQUEST"),
    ],
)
async def test_a_list_request_that_makes_no_sense_is_refused(
    tmp_path: Path, query: dict[str, object], reason: str
) -> None:
    async with serve(ScriptedWorker()) as address, in_process(tmp_path, (address,)) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ListJobs(video_service_pb2.ListJobsRequest(**query))  # type: ignore[arg-type]
        assert Refusal(refused.value).code is grpc.StatusCode.INVALID_ARGUMENT
        assert Refusal(refused.value).reason == reason


async def upload(stub: object, filename: str, body: bytes) -> file_pb2.File:
    return await stub.UploadFile(requests.chunks(filename, body))  # type: ignore[attr-defined,no-any-return]


async def test_a_worker_elsewhere_gets_uploaded_files_by_signed_link(tmp_path: Path) -> None:
    body = b"some picture" * 100_000
    fetched: list[bytes] = []

    async def script(task: worker.Task, sender: Sender) -> None:
        import aiohttp

        (location,) = task.files.values()
        async with aiohttp.ClientSession() as session:
            async with session.get(location.url) as response:
                fetched.append(await response.read())
            async with session.put(location.url, data=b"overwrite") as response:
                assert response.status == 403
            async with session.get(location.url.replace("signature=", "signature=0")) as response:
                assert response.status == 403
        await do_all(task, sender)

    async with serve(ScriptedWorker(script)) as address, in_process(tmp_path, (address,)) as stub:
        file = await upload(stub, "picture.jpg", body)
        spec = pictures("a")
        spec.images_to_videos.images[0].image.file = file.name
        job = await requests.finished(stub.RunJob(requests.run(spec)))
    assert job.state == Job.SUCCEEDED, job.error
    assert fetched == [body]


async def test_a_job_that_names_a_missing_file_is_refused_with_the_field(tmp_path: Path) -> None:
    spec = pictures("a", "b")
    spec.images_to_videos.images[1].image.file = "files/0123"
    async with serve(ScriptedWorker()) as address, in_process(tmp_path, (address,)) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.CreateJob(requests.create(spec))
    assert Refusal(refused.value).reason == "FILE_NOT_FOUND"
    assert Refusal(refused.value).fields == ["job.images_to_videos.images[1].image.file"]
