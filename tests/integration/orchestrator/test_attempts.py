"""What one attempt at a job leaves undone: what is tried again, how often, and what is not."""

from __future__ import annotations

from pathlib import Path

from apigpu.video.v1 import job_pb2
from apigpu.video.v1.job_pb2 import Item, Job
from apigpu.worker.v1 import worker_service_pb2 as worker
from google.rpc import code_pb2

from apigpu_common.errors import InvalidInput, Unavailable
from tests import requests
from tests.requests import pictures
from tests.scripted_worker import ScriptedWorker, Sender, do_all, serve
from tests.services import in_process


async def test_one_bad_item_leaves_the_others_their_results(tmp_path: Path) -> None:
    async def script(task: worker.Task, sender: Sender) -> None:
        sender.start()
        bad = InvalidInput("NOT_AN_IMAGE", "is text", field="images_to_videos.images[0].image")
        sender.finish(
            [
                sender.fail(item.id, bad) if item.id == "c" else await sender.succeed(item.id)
                for item in task.items
            ]
        )

    async with (
        serve(ScriptedWorker(script)) as address,
        in_process(tmp_path, (address,), max_items_per_task=2) as stub,
    ):
        job = await requests.finished(stub.RunJob(requests.run(pictures("a", "b", "c", "d", "e"))))
    assert job.state == Job.PARTIALLY_SUCCEEDED
    assert [item.id for item in job.items] == ["a", "b", "c", "d", "e"]
    assert [item.state for item in job.items].count(Item.SUCCEEDED) == 4
    error = job.items[2].error
    assert requests.reason_of(error) == "NOT_AN_IMAGE"
    assert requests.blamed_by(error) == ["job.images_to_videos.images[2].image"]


async def test_a_worker_lost_in_the_middle_costs_only_what_was_not_done(tmp_path: Path) -> None:
    async def break_off(task: worker.Task, sender: Sender) -> None:
        sender.start()
        await sender.succeed("a")
        sender.progress("b", 60)
        raise Unavailable("GONE", "the machine went away")

    scripted = ScriptedWorker(break_off, do_all)
    async with serve(scripted) as address, in_process(tmp_path, (address,)) as stub:
        job = await requests.finished(stub.RunJob(requests.run(pictures("a", "b"))))
    assert job.state == Job.SUCCEEDED
    assert [[item.id for item in task.items] for task in scripted.tasks] == [["a", "b"], ["b"]]
    assert [image.id for image in scripted.tasks[1].images_to_videos.images] == ["b"]
    first, second = job.attempts
    assert [first.id, second.id] == [task.attempt_id for task in scripted.tasks]
    assert [list(one.item_ids) for one in job.attempts] == [["a", "b"], ["b"]]
    assert (first.backend, first.worker_id) == ("workers", "scripted")
    assert requests.reason_of(first.error) == "WORKER_LOST"
    assert second.HasField("end_time") and not second.HasField("error")


async def test_attempts_are_bounded(tmp_path: Path) -> None:
    async def break_off(task: worker.Task, sender: Sender) -> None:
        raise Unavailable("GONE", "the machine went away")

    scripted = ScriptedWorker(break_off)
    async with (
        serve(scripted) as address,
        in_process(tmp_path, (address,), max_attempts=2) as stub,
    ):
        job = await requests.finished(stub.RunJob(requests.run(pictures("a"))))
    assert job.state == Job.FAILED
    assert requests.reason_of(job.error) == "WORKER_LOST"
    assert len(scripted.tasks) == len(job.attempts) == 2


async def test_a_bad_input_is_not_tried_again(tmp_path: Path) -> None:
    async def script(task: worker.Task, sender: Sender) -> None:
        sender.start()
        sender.finish([sender.fail("a", InvalidInput("NOT_AN_IMAGE", "is text"))])

    scripted = ScriptedWorker(script)
    async with serve(scripted) as address, in_process(tmp_path, (address,)) as stub:
        job = await requests.finished(stub.RunJob(requests.run(pictures("a"))))
    assert job.state == Job.FAILED
    assert len(scripted.tasks) == 1


async def test_a_result_that_was_not_delivered_is_made_again(tmp_path: Path) -> None:
    async def claim_without_delivering(task: worker.Task, sender: Sender) -> None:
        sender.start()
        result = worker.ItemResult(item_id="a")
        result.output.size_bytes = 1234
        sender.send(result=result)
        sender.finish([result])

    scripted = ScriptedWorker(claim_without_delivering, do_all)
    async with serve(scripted) as address, in_process(tmp_path, (address,)) as stub:
        job = await requests.finished(stub.RunJob(requests.run(pictures("a"))))
    assert job.state == Job.SUCCEEDED
    assert job.items[0].output.size_bytes == len(b"a video")


async def test_events_that_come_twice_or_late_do_no_harm(tmp_path: Path) -> None:
    async def script(task: worker.Task, sender: Sender) -> None:
        sender.start()
        early = sender.progress("b", 5, stage=job_pb2.STAGE_FETCHING)
        late = sender.progress("a", 10)
        sender.progress("b", 50, stage=job_pb2.STAGE_VERIFYING)
        sender.queue.put_nowait(early)
        result = await sender.succeed("a")
        sender.queue.put_nowait(late)
        stale = worker.TaskEvent(attempt_id="another", sequence=99)
        stale.result.item_id = "b"
        stale.result.error.code = code_pb2.INTERNAL
        sender.queue.put_nowait(stale)
        sender.finish([result, await sender.succeed("b"), result])

    async with serve(ScriptedWorker(script)) as address, in_process(tmp_path, (address,)) as stub:
        story = await requests.collect(stub.RunJob(requests.run(pictures("a", "b"))))
    assert story[-1].finished.state == Job.SUCCEEDED
    stages = [event.item.progress.stage for event in story if event.item.id == "b"]
    assert stages == sorted(stages), "an event that came twice has moved the item back"
