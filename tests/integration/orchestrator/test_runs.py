"""An attempt that is run twice, as RunPod may do when it misses a worker: both are heard."""

from __future__ import annotations

from pathlib import Path

from apigpu.video.v1.job_pb2 import Job
from apigpu.worker.v1 import worker_service_pb2 as worker

from tests import requests
from tests.scripted_worker import ScriptedWorker, Sender, serve
from tests.services import in_process


async def test_a_second_run_that_has_less_to_tell_ends_the_attempt(tmp_path: Path) -> None:
    async def twice(task: worker.Task, sender: Sender) -> None:
        sender.start()
        for percent in range(20):
            sender.progress("a", percent)
        sender.run_again("second")
        sender.start()
        sender.finish([await sender.succeed("a")])

    async with serve(ScriptedWorker(twice)) as address, in_process(tmp_path, (address,)) as stub:
        done = await requests.finished(stub.RunJob(requests.run(requests.pictures("a"))))
    assert done.state == Job.SUCCEEDED, done.error
    assert len(done.attempts) == 1
