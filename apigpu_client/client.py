"""VideoClient: the service as an async object. Streams survive cuts, transfers are checked."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import Path
from typing import TypeVar

import grpc
from apigpu.video.v1 import video_service_pb2 as rpc
from apigpu.video.v1.file_pb2 import File
from apigpu.video.v1.job_pb2 import Job, JobEvent
from apigpu.video.v1.operations_pb2 import MediaSource
from apigpu.video.v1.video_service_pb2_grpc import VideoServiceStub

from apigpu_client import channel, jobs, transfer
from apigpu_client.errors import from_rpc_error
from apigpu_client.resume import CUT, Position
from apigpu_client.transfer import OnProgress

T = TypeVar("T")


class VideoClient:
    """A connection to the service. Use as `async with VideoClient("host:port") as client`.

    All methods raise `apigpu_client.errors.ApiGpuError` or one of its children.
    """

    def __init__(self, target: str = channel.DEFAULT_TARGET) -> None:
        self._target = target

    async def __aenter__(self) -> VideoClient:
        self._channel = grpc.aio.insecure_channel(self._target, options=channel.options())
        self._stub = VideoServiceStub(self._channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    # Jobs

    async def create_job(self, job: Job, request_id: str = "") -> Job:
        """Have `job` done; returns at once. A request_id of your own makes a repeat harmless."""
        request = rpc.CreateJobRequest(job=job, request_id=request_id or str(uuid.uuid4()))
        return await _call(self._stub.CreateJob(request))

    async def run(self, job: Job, request_id: str = "") -> AsyncIterator[JobEvent]:
        """Have `job` done; yields its events up to `finished`, each once, through any cut."""
        created = await self.create_job(job, request_id)
        async for event in self.watch(created.name):
            yield event

    async def watch(self, name: str, after_sequence: int = 0) -> AsyncIterator[JobEvent]:
        """The events of a job after `after_sequence`, up to `finished`. Raises StreamLost
        when the service stays away for minutes; the job goes on all the same."""
        position = Position(after_sequence)
        position.job = name
        while not position.finished:
            request = rpc.WatchJobRequest(name=name, after_sequence=position.sequence)
            try:
                async for event in self._stub.WatchJob(request):
                    if position.accept(event):
                        yield event
            except grpc.aio.AioRpcError as error:
                if error.code() not in CUT:
                    raise from_rpc_error(error) from None
            if not position.finished:
                await asyncio.sleep(position.pause_s())

    async def get_job(self, name: str) -> Job:
        return await _call(self._stub.GetJob(rpc.GetJobRequest(name=name)))

    async def list_jobs(self, filter: str = "", page_size: int = 0) -> AsyncIterator[Job]:
        """All jobs that match, newest first, page by page."""
        request = rpc.ListJobsRequest(filter=filter, page_size=page_size)
        while True:
            page = await _call(self._stub.ListJobs(request))
            for job in page.jobs:
                yield job
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def cancel_job(self, name: str) -> Job:
        return await _call(self._stub.CancelJob(rpc.CancelJobRequest(name=name)))

    async def delete_job(self, name: str) -> None:
        await _call(self._stub.DeleteJob(rpc.DeleteJobRequest(name=name)))

    async def server_info(self) -> rpc.ServerInfo:
        return await _call(self._stub.GetServerInfo(rpc.GetServerInfoRequest()))

    # Files

    async def upload(self, path: Path | str, on_progress: OnProgress | None = None) -> File:
        """Send a local file; returns it as the service knows it, checksum compared."""
        return await transfer.upload(self._stub, Path(path), on_progress)

    async def download(
        self, name: str, path: Path | str, on_progress: OnProgress | None = None
    ) -> Path:
        """Get the file `name` ("files/...") to `path`: complete and checked, or not at all."""
        return await transfer.download(self._stub, name, Path(path), on_progress)

    async def source(self, media: str | Path, on_progress: OnProgress | None = None) -> MediaSource:
        """A URL as it is, "files/..." as it is, anything else uploaded from local disk."""
        text = str(media)
        if jobs.is_url(text):
            return MediaSource(uri=text)
        if text.startswith("files/") and not Path(text).exists():
            return MediaSource(file=text)
        return MediaSource(file=(await self.upload(text, on_progress)).name)

    # Operations: media may be URLs or local paths

    async def images_to_videos(
        self,
        images: Sequence[str | Path],
        duration_s: float,
        options: jobs.ClipOptions | None = None,
    ) -> Job:
        """A job that makes a clip of each picture; give it to `run` or `create_job`."""
        ids = jobs.item_ids([str(image) for image in images])
        sources = {i: await self.source(m) for i, m in zip(ids, images, strict=True)}
        durations_s = [duration_s] * len(ids)
        return jobs.images_to_videos(sources, durations_s, options or jobs.ClipOptions())

    async def caption(self, video: str | Path, subtitles: str | Path) -> Job:
        """A job that burns captions into a video; give it to `run` or `create_job`."""
        return jobs.caption(await self.source(video), await self.source(subtitles))

    async def add_audio(self, video: str | Path, audio: str | Path) -> Job:
        """A job that replaces a video's sound; give it to `run` or `create_job`."""
        return jobs.add_audio(await self.source(video), await self.source(audio))


async def _call(call: Awaitable[T]) -> T:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None
