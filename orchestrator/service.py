"""VideoService: translates RPCs to what the engine and the file storage can do. No rules here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from apigpu.video.v1 import file_pb2, video_service_pb2
from apigpu.video.v1.job_pb2 import JOB_VIEW_BASIC, Job, JobEvent
from apigpu.video.v1.video_service_pb2_grpc import VideoServiceServicer
from google.protobuf import duration_pb2, empty_pb2, timestamp_pb2

from apigpu_common import __version__
from apigpu_common.errors import InvalidInput, NotFound
from orchestrator import ids, pages
from orchestrator.access.identity import current
from orchestrator.dispatch.base import Dispatcher
from orchestrator.files.links import Links
from orchestrator.files.storage import FileStorage
from orchestrator.jobs import filter_text, orders, views
from orchestrator.running.engine import Engine
from orchestrator.settings import Settings
from orchestrator.store.records import StoredFile
from orchestrator.store.store import Store
from orchestrator.upload_links import UploadLinks
from orchestrator.uploads import Uploads

_LINK_LIFETIME_S = 3600.0
_FILES = "files"  # what a page token of ListFiles is bound to

_INITIAL_JOBS = 100

Context = grpc.aio.ServicerContext[Any, Any]


class VideoService(VideoServiceServicer):
    """The public service. Requests arrive validated by the contract's rules."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        store: Store,
        storage: FileStorage,
        uploads: Uploads,
        links: Links,
        dispatcher: Dispatcher,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._store = store
        self._storage = storage
        self._uploads = uploads
        self._links = links
        self._upload_links = UploadLinks(store, storage, links, uploads)
        self._dispatcher = dispatcher

    def _heartbeat_s(self, asked: duration_pb2.Duration) -> float:
        return asked.ToTimedelta().total_seconds() or self._settings.watch_heartbeat_s

    async def CreateJob(self, request: video_service_pb2.CreateJobRequest, context: Context) -> Job:
        return await self._engine.create(request.job, current().owner, request.request_id)

    async def RunJob(
        self, request: video_service_pb2.RunJobRequest, context: Context
    ) -> AsyncIterator[JobEvent]:
        job = await self._engine.create(request.job, current().owner, request.request_id)
        heartbeat_s = self._heartbeat_s(request.heartbeat_interval)
        async for event in self._engine.watch(ids.id_of(job.name), 0, heartbeat_s):
            yield event

    async def GetJob(self, request: video_service_pb2.GetJobRequest, context: Context) -> Job:
        return await self._engine.get(ids.id_of(request.name))

    async def ListJobs(
        self, request: video_service_pb2.ListJobsRequest, context: Context
    ) -> video_service_pb2.ListJobsResponse:
        order = orders.parse(request.order_by)
        question = f"{request.filter}|{request.order_by}"
        page = await self._engine.list(
            filter_text.parse(request.filter),
            order,
            pages.decode(request.page_token, question, len(order)),
            pages.size(request.page_size),
            current().owner,
        )
        view = views.basic if request.view == JOB_VIEW_BASIC else views.full
        jobs = pages.fitting([view(job) for job in page.jobs])
        more = not page.complete or len(jobs) < len(page.jobs)
        last = orders.place(order, ids.id_of(jobs[-1].name), jobs[-1]) if more else None
        return video_service_pb2.ListJobsResponse(
            jobs=jobs, next_page_token=pages.encode(last, question)
        )

    async def WatchJob(
        self, request: video_service_pb2.WatchJobRequest, context: Context
    ) -> AsyncIterator[JobEvent]:
        job_id = ids.id_of(request.name)
        await self._engine.get(job_id)
        heartbeat_s = self._heartbeat_s(request.heartbeat_interval)
        async for event in self._engine.watch(job_id, request.after_sequence, heartbeat_s):
            yield event

    async def WatchJobs(
        self, request: video_service_pb2.WatchJobsRequest, context: Context
    ) -> AsyncIterator[video_service_pb2.WatchJobsResponse]:
        filter = filter_text.parse(request.filter)
        initial = request.initial_jobs if request.HasField("initial_jobs") else _INITIAL_JOBS
        heartbeat_s = self._heartbeat_s(request.heartbeat_interval)
        owner = current().owner
        async for message in self._engine.watch_all(filter, owner, initial, heartbeat_s):
            yield message

    async def RetryJob(self, request: video_service_pb2.RetryJobRequest, context: Context) -> Job:
        return await self._engine.retry(
            ids.id_of(request.name), current().owner, request.request_id
        )

    async def CancelJob(self, request: video_service_pb2.CancelJobRequest, context: Context) -> Job:
        return await self._engine.cancel(ids.id_of(request.name))

    async def DeleteJob(
        self, request: video_service_pb2.DeleteJobRequest, context: Context
    ) -> empty_pb2.Empty:
        await self._engine.delete(ids.id_of(request.name))
        return empty_pb2.Empty()

    async def UploadFile(
        self, request_iterator: AsyncIterator[video_service_pb2.UploadFileRequest], context: Context
    ) -> file_pb2.File:
        header = await _header(request_iterator)
        return _to_proto(await self._uploads.receive(header, _chunks(request_iterator)))

    async def QueryUpload(
        self, request: video_service_pb2.QueryUploadRequest, context: Context
    ) -> video_service_pb2.UploadStatus:
        size_bytes, file = await self._uploads.query(request.upload_id)
        told = video_service_pb2.UploadStatus(size_bytes=size_bytes)
        if file is not None:
            told.file.CopyFrom(_to_proto(file))
        return told

    async def CreateUploadLink(
        self, request: video_service_pb2.CreateUploadLinkRequest, context: Context
    ) -> video_service_pb2.UploadLink:
        lifetime_s = request.lifetime.ToTimedelta().total_seconds() or _LINK_LIFETIME_S
        location, expires_at = await self._upload_links.create(request.header, lifetime_s)
        link = video_service_pb2.UploadLink(uri=location.url, headers=location.headers)
        link.expire_time.FromSeconds(int(expires_at))
        return link

    async def CompleteUpload(
        self, request: video_service_pb2.CompleteUploadRequest, context: Context
    ) -> file_pb2.File:
        return _to_proto(await self._upload_links.complete(request.header))

    async def GetFile(
        self, request: video_service_pb2.GetFileRequest, context: Context
    ) -> file_pb2.File:
        return _to_proto(await self._file(request.name))

    async def ListFiles(
        self, request: video_service_pb2.ListFilesRequest, context: Context
    ) -> video_service_pb2.ListFilesResponse:
        limit = pages.size(request.page_size)
        place = pages.decode(request.page_token, _FILES, 2)
        found = await self._uploads.list(current().owner, place, limit + 1)
        last = found[limit - 1] if len(found) > limit else None
        next_place = (last.create_time.timestamp(), last.id) if last else None
        return video_service_pb2.ListFilesResponse(
            files=[_to_proto(file) for file in found[:limit]],
            next_page_token=pages.encode(next_place, _FILES),
        )

    async def DeleteFile(
        self, request: video_service_pb2.DeleteFileRequest, context: Context
    ) -> empty_pb2.Empty:
        await self._uploads.delete(await self._file(request.name))
        return empty_pb2.Empty()

    async def CreateFileLink(
        self, request: video_service_pb2.CreateFileLinkRequest, context: Context
    ) -> video_service_pb2.FileLink:
        file = await self._file(request.name)
        lifetime_s = request.lifetime.ToTimedelta().total_seconds() or _LINK_LIFETIME_S
        uri, expires_at = await self._links.get(file.key, file.filename, lifetime_s)
        link = video_service_pb2.FileLink(uri=uri)
        if expires_at is not None:
            link.expire_time.FromMilliseconds(int(expires_at * 1000))
        return link

    async def DownloadFile(
        self, request: video_service_pb2.DownloadFileRequest, context: Context
    ) -> AsyncIterator[video_service_pb2.DownloadFileResponse]:
        file = await self._file(request.name)
        if request.offset > file.size_bytes:
            raise InvalidInput(
                "OFFSET_OUT_OF_RANGE",
                f"The file has {file.size_bytes} bytes; offset must not be greater.",
                field="offset",
            )
        yield video_service_pb2.DownloadFileResponse(file=_to_proto(file))
        async for chunk in self._storage.read(file.key, request.offset):
            yield video_service_pb2.DownloadFileResponse(chunk=chunk)

    async def _file(self, name: str) -> StoredFile:
        file = await self._store.get_file(ids.id_of(name))
        if file is None or file.owner != current().owner:
            raise NotFound("FILE_NOT_FOUND", "There is no such file.", field="name")
        return file

    async def GetServerInfo(
        self, request: video_service_pb2.GetServerInfoRequest, context: Context
    ) -> video_service_pb2.ServerInfo:
        return video_service_pb2.ServerInfo(
            version=__version__,
            backend=self._dispatcher.name,
            workers=await self._dispatcher.workers(),
            max_upload_bytes=self._uploads.max_bytes,
        )

    async def GetBackendStatus(
        self, request: video_service_pb2.GetBackendStatusRequest, context: Context
    ) -> video_service_pb2.BackendStatus:
        status = await self._dispatcher.status()
        if not self._dispatcher.outlives_us:  # it has no queue of its own: ours is its queue
            status.tasks.queued = await self._store.count_unclaimed_tasks()
        return status


async def _header(
    requests: AsyncIterator[video_service_pb2.UploadFileRequest],
) -> video_service_pb2.UploadFileHeader:
    async for request in requests:
        if request.WhichOneof("part") == "header":
            return request.header
        break
    raise InvalidInput(
        "HEADER_MISSING", "The first message of an upload must be its header.", field="header"
    )


async def _chunks(
    requests: AsyncIterator[video_service_pb2.UploadFileRequest],
) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidInput(
                "HEADER_REPEATED",
                "Only the first message of an upload is a header.",
                field="header",
            )
        yield request.chunk


def _to_proto(file: StoredFile) -> file_pb2.File:
    create_time = timestamp_pb2.Timestamp()
    create_time.FromDatetime(file.create_time)
    return file_pb2.File(
        name=ids.file_name(file.id),
        filename=file.filename,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        create_time=create_time,
    )
