"""VideoClient: the service as an async object. Streams survive cuts, transfers are checked."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import grpc
from apigpu.video.v1 import video_service_pb2 as rpc
from apigpu.video.v1.file_pb2 import File
from apigpu.video.v1.job_pb2 import JOB_VIEW_FULL, Job, JobEvent, JobView
from apigpu.video.v1.operations_pb2 import AddAudio, Caption, ImagesToVideos, MediaSource
from apigpu.video.v1.video_service_pb2_grpc import VideoServiceStub

from apigpu_client import channel, jobs, transfer
from apigpu_client.board import Board
from apigpu_client.errors import JobFailed, from_rpc_error
from apigpu_client.hearing import heard, heartbeat_interval
from apigpu_client.resume import CUT, Position
from apigpu_client.transfer import OnProgress

T = TypeVar("T")

# (local path, bytes so far, bytes in all)
OnUpload = Callable[[str, int, int], None]

_PARALLEL_UPLOADS = 4


class VideoClient:
    """A connection to the service. Use as `async with VideoClient("host:port") as client`.

    api_key: sent along with every call. tls: how to connect over TLS, or None for not.
    All methods raise `apigpu_client.errors.ApiGpuError` or one of its children.
    """

    def __init__(
        self,
        target: str = channel.DEFAULT_TARGET,
        *,
        api_key: str = "",
        tls: channel.Tls | None = None,
    ) -> None:
        self._target = target
        self._api_key = api_key
        self._tls = tls

    async def __aenter__(self) -> VideoClient:
        self._channel = channel.open_async(self._target, self._api_key, self._tls)
        self._stub = VideoServiceStub(self._channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    @property
    def channel(self) -> grpc.aio.Channel:
        """The connection itself, for services of the contract that have no method here."""
        return self._channel

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
        position = Position(name, after_sequence)
        while not position.finished:
            request = rpc.WatchJobRequest(
                name=name,
                after_sequence=position.sequence,
                heartbeat_interval=heartbeat_interval(),
            )
            try:
                async for event in heard(self._stub.WatchJob(request)):
                    if position.accept(event):
                        yield event
            except grpc.aio.AioRpcError as error:
                if error.code() not in CUT:
                    raise from_rpc_error(error) from None
            if not position.finished:
                await asyncio.sleep(position.pause_s())

    async def get_job(self, name: str) -> Job:
        return await _call(self._stub.GetJob(rpc.GetJobRequest(name=name)))

    async def watch_jobs(
        self, filter: str = "", initial_jobs: int = 100
    ) -> AsyncIterator[Mapping[str, Job]]:
        """Jobs that match, as they stand now, by name: first those that there are, the newest
        ones, then all of them again after every change. Without items and attempts. Never
        ends; goes on through cuts, and raises StreamLost when the service stays away.

        The mapping is the same one each time.
        """
        board = Board()
        while True:
            request = rpc.WatchJobsRequest(
                filter=filter,
                initial_jobs=initial_jobs,
                heartbeat_interval=heartbeat_interval(),
            )
            board.begin()
            try:
                async for message in heard(self._stub.WatchJobs(request)):
                    if board.accept(message):
                        yield board.jobs
            except grpc.aio.AioRpcError as error:
                if error.code() not in CUT:
                    raise from_rpc_error(error) from None
            lost = "The service does not tell of its jobs any more. They go on: watch again later."
            await asyncio.sleep(board.patience.pause_s(lost))

    async def retry_job(self, name: str, request_id: str = "") -> Job:
        """A new job that makes what the ended job `name` has not made, and carries over what
        it has; returns at once."""
        request = rpc.RetryJobRequest(name=name, request_id=request_id or str(uuid.uuid4()))
        return await _call(self._stub.RetryJob(request))

    async def list_jobs(
        self,
        filter: str = "",
        page_size: int = 0,
        order_by: str = "",
        view: JobView.ValueType = JOB_VIEW_FULL,
    ) -> AsyncIterator[Job]:
        """All jobs that match, newest first where `order_by` does not say otherwise, page by
        page. view: JOB_VIEW_BASIC leaves out items and attempts."""
        request = rpc.ListJobsRequest(
            filter=filter, page_size=page_size, order_by=order_by, view=view
        )
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

    async def delete_file(self, name: str) -> None:
        """Remove an uploaded file. A result goes with its job."""
        await _call(self._stub.DeleteFile(rpc.DeleteFileRequest(name=name)))

    async def server_info(self) -> rpc.ServerInfo:
        return await _call(self._stub.GetServerInfo(rpc.GetServerInfoRequest()))

    async def backend_status(self) -> rpc.BackendStatus:
        """How busy the backend is, how it is set up, and what is wrong with it."""
        return await _call(self._stub.GetBackendStatus(rpc.GetBackendStatusRequest()))

    async def result(self, job: Job, request_id: str = "") -> Job:
        """Have `job` done; returns it with all of its outputs. Raises JobFailed, which
        carries the job, where an output is missing."""
        ended = Job()
        async for event in self.run(job, request_id):
            if event.HasField("finished"):
                ended = event.finished
        if ended.state != Job.SUCCEEDED:
            raise JobFailed(ended)
        return ended

    # Files

    async def upload(self, path: Path | str, on_progress: OnProgress | None = None) -> File:
        """Send a local file; returns it as the service knows it, checksum compared."""
        return await transfer.upload(self._stub, Path(path), on_progress)

    async def download(
        self, name: str, path: Path | str, on_progress: OnProgress | None = None
    ) -> Path:
        """Get the file `name` ("files/...") to `path`: complete and checked, or not at all."""
        return await transfer.download(self._stub, name, Path(path), on_progress)

    async def describe_file(self, name: str) -> File:
        """What the service knows of the file `name`: its own name, length and checksum."""
        return await transfer.describe(self._stub, name)

    async def sources(
        self, media: Sequence[str | Path], on_upload: OnUpload | None = None
    ) -> list[MediaSource]:
        """URLs and "files/..." as they are, anything else uploaded from local disk: a few
        at a time, each once. Nothing is sent while one of them cannot be read."""
        distinct = list(dict.fromkeys(str(each) for each in media))
        for path in filter(_is_local, distinct):
            await asyncio.to_thread(_check_readable, path)
        slots = asyncio.Semaphore(_PARALLEL_UPLOADS)
        tasks = [asyncio.create_task(self._source(each, slots, on_upload)) for each in distinct]
        try:
            found = dict(zip(distinct, await asyncio.gather(*tasks), strict=True))
        finally:
            for task in tasks:
                task.cancel()
        return [found[str(each)] for each in media]

    async def _source(
        self, media: str, slots: asyncio.Semaphore, on_upload: OnUpload | None
    ) -> MediaSource:
        if jobs.is_url(media):
            return MediaSource(uri=media)
        if not _is_local(media):
            return MediaSource(file=media)
        on_progress = partial(on_upload, media) if on_upload is not None else None
        async with slots:
            return MediaSource(file=(await self.upload(media, on_progress)).name)

    # Operations: media may be URLs or local paths

    async def images_to_videos(
        self,
        images: Sequence[str | Path],
        duration_s: float,
        batch: ImagesToVideos | None = None,
        on_upload: OnUpload | None = None,
    ) -> Job:
        """A job that makes a clip of each picture; give it to `run` or `create_job`.

        batch: size, motion and all else that holds for every clip; its `images` stay empty.
        """
        ids = jobs.item_ids([str(image) for image in images])
        sources = await self.sources(images, on_upload)
        clips = dict(zip(ids, sources, strict=True))
        durations_s = [duration_s] * len(ids)
        return jobs.images_to_videos(clips, durations_s, batch or ImagesToVideos())

    async def caption(
        self,
        video: str | Path,
        subtitles: str | Path,
        request: Caption | None = None,
        fonts: Sequence[str | Path] = (),
        on_upload: OnUpload | None = None,
    ) -> Job:
        """A job that puts captions on a video; give it to `run` or `create_job`.

        request: style, mode and all else but the media.
        """
        picture, text, *faces = await self.sources([video, subtitles, *fonts], on_upload)
        return jobs.caption(picture, text, faces, request or Caption())

    async def add_audio(
        self,
        video: str | Path,
        audio: str | Path,
        request: AddAudio | None = None,
        on_upload: OnUpload | None = None,
    ) -> Job:
        """A job that replaces a video's sound; give it to `run` or `create_job`.

        request: where it ends, how loud it is and all else but the media.
        """
        picture, sound = await self.sources([video, audio], on_upload)
        return jobs.add_audio(picture, sound, request or AddAudio())


def _is_local(media: str) -> bool:
    if jobs.is_url(media):
        return False
    return not media.startswith("files/") or Path(media).exists()


def _check_readable(path: str) -> None:
    with Path(path).open("rb"):
        pass


async def _call(call: Awaitable[T]) -> T:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None
