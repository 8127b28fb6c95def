"""Results on their way from a worker to the file storage."""

from __future__ import annotations

import hashlib
from pathlib import Path

import aiohttp
from apigpu.video.v1 import job_pb2, video_service_pb2
from apigpu.video.v1.job_pb2 import Job
from apigpu.worker.v1 import worker_service_pb2 as worker

from tests import requests
from tests.requests import pictures
from tests.scripted_worker import ScriptedWorker, Sender, put, serve
from tests.services import in_process, kept_files


async def test_a_result_that_was_accepted_is_never_overwritten(tmp_path: Path) -> None:
    answers = []

    async def delivered_twice(task: worker.Task, sender: Sender) -> None:
        sender.start()
        url = task.items[0].target.url
        await put(task.items[0].target, b"the first result")
        async with aiohttp.ClientSession() as session:
            for body in (b"another result", b"x" * 40_000_000):
                async with session.put(url, data=body, expect100=True) as response:
                    answers.append(response.status)
        digest = hashlib.sha256(b"the first result").hexdigest()
        output = job_pb2.Output(size_bytes=len(b"the first result"), sha256=digest)
        sender.finish([worker.ItemResult(item_id="a", output=output)])

    async with (
        serve(ScriptedWorker(delivered_twice)) as address,
        in_process(tmp_path, (address,)) as stub,
    ):
        job = await requests.finished(stub.RunJob(requests.run(pictures("a"))))
        request = video_service_pb2.DownloadFileRequest(name=job.items[0].output.file)
        body = b"".join([part.chunk async for part in stub.DownloadFile(request)])
    assert job.state == Job.SUCCEEDED, job.error
    assert answers == [412, 412]
    assert body == b"the first result"
    assert len(kept_files(tmp_path)) == 1, "nothing else is left"


async def test_a_result_is_accepted_only_as_it_was_measured(tmp_path: Path) -> None:
    """Of two workers that have the same attempt, one finds the other's result at its place:
    it tells of bytes that are not there, and only what is there may be called done."""

    async def of_two_workers(task: worker.Task, sender: Sender) -> None:
        sender.start()
        digest = hashlib.sha256(b"a slow one").hexdigest()
        await put(task.items[0].target, b"a fast one")
        output = job_pb2.Output(size_bytes=len(b"a slow one"), sha256=digest)
        sender.send(result=worker.ItemResult(item_id="a", output=output))
        output.sha256 = hashlib.sha256(b"a fast one").hexdigest()
        sender.finish([worker.ItemResult(item_id="a", output=output)])

    scripted = ScriptedWorker(of_two_workers)
    async with serve(scripted) as address, in_process(tmp_path, (address,)) as stub:
        job = await requests.finished(stub.RunJob(requests.run(pictures("a"))))
    assert job.state == Job.SUCCEEDED, job.error
    assert job.items[0].output.sha256 == hashlib.sha256(b"a fast one").hexdigest()
    assert len(job.attempts) == 1
