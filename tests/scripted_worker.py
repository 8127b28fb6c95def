"""A real gRPC worker whose behaviour a test scripts: for what FFmpeg cannot be made to do on
command, such as breaking off in the middle, answering twice, or never."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc
import yarl
from apigpu.video.v1 import job_pb2
from apigpu.worker.v1 import worker_service_pb2 as worker
from apigpu.worker.v1.worker_service_pb2 import FileLocation
from apigpu.worker.v1.worker_service_pb2_grpc import (
    WorkerServiceServicer,
    add_WorkerServiceServicer_to_server,
)

from apigpu_common.interceptors.errors import ErrorInterceptor

# Plays one attempt: gets the task and a way to send events.
Script = Callable[[worker.Task, "Sender"], Awaitable[None]]


@dataclass
class Sender:
    """Sends the events of one attempt, with dense sequences."""

    task: worker.Task
    queue: asyncio.Queue[worker.TaskEvent | None] = field(default_factory=asyncio.Queue)
    sequence: int = 0
    run_id: str = ""

    def run_again(self, run_id: str) -> None:
        """As RunPod may have another worker do: the same attempt, told from 1."""
        self.run_id, self.sequence = run_id, 0

    def send(self, **event: Any) -> worker.TaskEvent:
        self.sequence += 1
        message = worker.TaskEvent(
            attempt_id=self.task.attempt_id, sequence=self.sequence, run_id=self.run_id, **event
        )
        self.queue.put_nowait(message)
        return message

    def start(self) -> None:
        self.send(started=worker.TaskStarted(worker_id="scripted"))

    def progress(
        self, item_id: str, percent: float, stage: int = job_pb2.STAGE_ENCODING
    ) -> worker.TaskEvent:
        progress = job_pb2.Progress(stage=stage, percent=percent)  # type: ignore[arg-type]
        return self.send(progress=worker.ItemProgress(item_id=item_id, progress=progress))

    async def succeed(
        self, item_id: str, body: bytes = b"a video", tls: ssl.SSLContext | None = None
    ) -> worker.ItemResult:
        """Deliver `body` at the item's target, and tell so. tls: whom to believe."""
        target = next(item.target for item in self.task.items if item.id == item_id)
        await put(target, body, tls)
        output = job_pb2.Output(
            size_bytes=len(body), sha256=hashlib.sha256(body).hexdigest(), frame_count=24
        )
        result = worker.ItemResult(item_id=item_id, output=output)
        self.send(result=result)
        return result

    def fail(self, item_id: str, error: Any) -> worker.ItemResult:
        result = worker.ItemResult(item_id=item_id, error=error.to_status())
        self.send(result=result)
        return result

    def finish(self, results: list[worker.ItemResult]) -> None:
        self.send(finished=worker.TaskFinished(results=results))
        self.queue.put_nowait(None)


async def put(target: FileLocation, body: bytes, tls: ssl.SSLContext | None = None) -> None:
    url, headers = yarl.URL(target.url, encoded=True), dict(target.headers)
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.put(url, data=body, ssl=tls or True) as response,
    ):
        # 412: it is there already, for the answer to an earlier try was lost.
        assert response.status in (200, 201, 412), await response.text()


async def do_all(task: worker.Task, sender: Sender) -> None:
    """The script of a worker that does its work."""
    sender.start()
    sender.finish([await sender.succeed(item.id) for item in task.items])


class ScriptedWorker(WorkerServiceServicer):
    """Plays `scripts` in order, one an attempt; the last one again and again."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts) or [do_all]
        self.tasks: list[worker.Task] = []
        self.cancelled = asyncio.Event()
        self.slots = 2

    async def Execute(
        self, request: worker.ExecuteRequest, context: Any
    ) -> AsyncIterator[worker.TaskEvent]:
        script = self.scripts[min(len(self.tasks), len(self.scripts) - 1)]
        self.tasks.append(request.task)
        sender = Sender(request.task)
        play = asyncio.create_task(_play(script, sender))
        try:
            while (event := await sender.queue.get()) is not None:
                yield event
            await play
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            play.cancel()

    async def GetCapabilities(
        self, request: worker.GetCapabilitiesRequest, context: Any
    ) -> worker.Capabilities:
        return worker.Capabilities(worker_id="scripted", version="0", max_parallel_items=self.slots)


async def _play(script: Script, sender: Sender) -> None:
    try:
        await script(sender.task, sender)
    finally:
        sender.queue.put_nowait(None)


@asynccontextmanager
async def serve(servicer: ScriptedWorker, listen: str = "127.0.0.1:0") -> AsyncIterator[str]:
    """Serve; yields the address."""
    server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=[("grpc.so_reuseport", 0)])
    add_WorkerServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port(listen)
    await server.start()
    try:
        yield listen if listen.startswith("unix") else f"{listen.rpartition(':')[0]}:{port}"
    finally:
        await server.stop(0)
