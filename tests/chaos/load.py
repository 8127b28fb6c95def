"""Callers under fire: each job is asked for until it is accepted, then followed to its end."""

from __future__ import annotations

import asyncio
import io
import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from apigpu.video.v1 import job_pb2, operations_pb2, video_service_pb2
from apigpu.video.v1.job_pb2 import Job, JobEvent
from apigpu.video.v1.video_service_pb2_grpc import VideoServiceStub
from grpc_status import rpc_status
from PIL import Image

from tests import requests
from tests.chaos.system import System

T = TypeVar("T")
_CALLERS = 8
_CALL_TIMEOUT_S = 10.0
_WATCH_TIMEOUT_S = 30.0
_PAUSE_S = 0.3
_AGAIN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


@dataclass
class Story:
    """A job as its caller saw it. faults: what broke a promise."""

    name: str = ""
    last: Job | None = None
    sequence: int = 0
    percent: float = 0.0
    time_ns: int = 0
    cuts: int = 0
    faults: list[str] = field(default_factory=list)

    def see(self, event: JobEvent) -> None:
        if event.HasField("heartbeat"):
            return
        if event.sequence != self.sequence + 1 + event.skipped:
            self.faults.append(f"event {event.sequence} came after {self.sequence}")
        if event.progress.percent < self.percent:
            self.faults.append(f"progress fell from {self.percent} to {event.progress.percent}")
        time_ns = event.event_time.ToNanoseconds()
        if time_ns < self.time_ns:
            self.faults.append(f"event {event.sequence} is older than the one before it")
        self.sequence, self.percent = event.sequence, event.progress.percent
        self.time_ns = time_ns
        if event.HasField("finished"):
            self.last = event.finished


class Callers:
    """Makes `count` jobs with a few callers at a time, and then one after the other until all
    that is to happen has happened."""

    def __init__(
        self, system: System, dice: random.Random, count: int, all_happened: asyncio.Event
    ) -> None:
        self._system = system
        self._dice = dice
        self._all_happened = all_happened
        self.stories = [Story() for _ in range(count)]
        self._picture = _picture(dice)

    @property
    def ended(self) -> int:
        return sum(story.last is not None for story in self.stories)

    async def run(self) -> None:
        left = list(self.stories)

        async def caller() -> None:
            while left:
                await self._one(left.pop())

        await asyncio.gather(*(caller() for _ in range(_CALLERS)))
        while not self._all_happened.is_set():
            self.stories.append(Story())
            await self._one(self.stories[-1])

    async def _one(self, story: Story) -> None:
        file = await self._until_answered(self._upload)
        request = video_service_pb2.CreateJobRequest(
            job=_clips(self._dice, file), request_id=str(uuid.uuid4())
        )

        async def create(stub: Any) -> str:
            job = await stub.CreateJob(request, timeout=_CALL_TIMEOUT_S)
            return str(job.name)

        story.name = await self._until_answered(create)
        while story.last is None:
            await self._until_answered(lambda stub: self._watch(stub, story))

    async def _upload(self, stub: Any) -> str:
        chunks = requests.chunks("picture.jpg", self._picture)
        file = await stub.UploadFile(chunks, timeout=_CALL_TIMEOUT_S)
        return str(file.name)

    async def _watch(self, stub: Any, story: Story) -> None:
        request = video_service_pb2.WatchJobRequest(name=story.name, after_sequence=story.sequence)
        try:
            async for event in stub.WatchJob(request, timeout=_WATCH_TIMEOUT_S):
                story.see(event)
        except grpc.aio.AioRpcError:
            story.cuts += 1
            raise

    async def _until_answered(self, call: Callable[[Any], Awaitable[T]]) -> T:
        """The answer of some replica, however often it takes."""
        while True:
            address = self._system.any_replica(self._dice).address
            try:
                async with grpc.aio.insecure_channel(address) as channel:
                    return await call(VideoServiceStub(channel))
            except grpc.aio.AioRpcError as error:
                if error.code() not in _AGAIN and not _cut(error):
                    raise
                await asyncio.sleep(_PAUSE_S)


def _cut(error: grpc.aio.AioRpcError) -> bool:
    """A connection that broke is told by gRPC itself, without details of ours."""
    status: Any = rpc_status.from_call(error)  # type: ignore[arg-type]
    return error.code() is grpc.StatusCode.INTERNAL and status is None


def _picture(dice: random.Random) -> bytes:
    body = io.BytesIO()
    Image.frombytes("L", (160, 90), dice.randbytes(160 * 90)).save(body, "JPEG")
    return body.getvalue()


def _clips(dice: random.Random, file: str) -> Job:
    images = operations_pb2.ImagesToVideos(width=160, height=90, frame_rate=12)
    for number in range(dice.randint(1, 3)):
        images.images.add(
            id=f"clip{number}",
            image=operations_pb2.MediaSource(file=file),
            duration=requests.seconds(dice.choice((0.5, 1.0))),
        )
    return job_pb2.Job(images_to_videos=images)
