"""Jobs that are begun in one program and ended in another, and what must be there of them: the
story that upgrades, roll-backs and restores must not break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.job_pb2 import Job, JobEvent
from apigpu.worker.v1.worker_service_pb2 import Task

from tests import releases, requests
from tests.scripted_worker import ScriptedWorker, Sender, serve
from tests.services import Process, connect, process


@dataclass
class Gate:
    """A worker whose jobs end when they are let go."""

    begun: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, task: Task, sender: Sender) -> None:
        sender.start()
        self.begun.put_nowait(task.items[0].id)
        await self.open.wait()
        sender.finish([await sender.succeed(item.id) for item in task.items])


@dataclass
class Story:
    """What was asked for, and what was seen of it so far."""

    gate: Gate
    environment: dict[str, str]
    jobs: dict[str, Job] = field(default_factory=dict)
    seen: dict[str, list[JobEvent]] = field(default_factory=dict)

    @asynccontextmanager
    async def release(self, data: Path, tree: Path | None = None) -> AsyncIterator[Process]:
        """tree: of another release's program; None: this one's."""
        packages = releases.environment(tree) if tree else {}
        async with process(data, **self.environment, **packages) as running:
            yield running

    async def begin(self, running: Process, name: str) -> None:
        """A job whose work begins, and goes on until the gate is opened."""
        async with connect(running.address) as stub:
            request = requests.create(requests.pictures(name), request_id=name)
            self.jobs[name] = await stub.CreateJob(request)
            assert await self.gate.begun.get() == name
            async for event in stub.WatchJob(requests.watch(self.jobs[name])):
                self.seen.setdefault(name, []).append(event)
                if event.sequence >= 2:
                    break

    async def finish(self, running: Process) -> None:
        """What was begun ends here, without a gap in what was told, and is done only once."""
        self.gate.open.set()
        async with connect(running.address) as stub:
            for name, seen in self.seen.items():
                after = seen[-1].sequence
                if seen[-1].HasField("finished"):
                    continue
                call = stub.WatchJob(requests.watch(self.jobs[name], after))
                seen += await requests.collect(call)
        self.gate.open.clear()
        while not self.gate.begun.empty():
            self.gate.begun.get_nowait()

    async def check(self, running: Process) -> None:
        """Everything that was ever made is there: job, story, result; and is asked for once."""
        async with connect(running.address) as stub:
            for name, job in self.jobs.items():
                now = await stub.GetJob(video_service_pb2.GetJobRequest(name=job.name))
                assert now.state == Job.SUCCEEDED, now.error
                told = await requests.collect(stub.WatchJob(requests.watch(job)))
                assert [event.sequence for event in told] == list(range(1, len(told) + 1))
                assert told[: len(self.seen[name])] == self.seen[name]
                request = requests.create(requests.pictures(name), request_id=name)
                assert (await stub.CreateJob(request)).name == job.name
                file = now.items[0].output.file
                call: Any = stub.DownloadFile(video_service_pb2.DownloadFileRequest(name=file))
                assert b"".join([part.chunk async for part in call]) == b"a video"


@asynccontextmanager
async def telling(database: dict[str, str]) -> AsyncIterator[Story]:
    """A story whose programs have these settings of where things are kept."""
    gate = Gate()
    worker = ScriptedWorker(gate)
    worker.slots = 8
    async with serve(worker) as address:
        environment = {"APIGPU_WORKERS": address, "APIGPU_GRACE_S": "0", "APIGPU_LEASE_S": "1"}
        yield Story(gate, {**environment, **database})
