"""WorkerService: runs a task's items, a few at a time, and streams what happens. Cancelling the
call stops everything it has started."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from apigpu.video.v1 import job_pb2, video_service_pb2
from apigpu.video.v1.job_pb2 import Progress
from apigpu.video.v1.operations_pb2 import MediaSource
from apigpu.worker.v1 import worker_service_pb2
from apigpu.worker.v1.worker_service_pb2 import ItemResult, Task, TaskEvent, TaskItem
from apigpu.worker.v1.worker_service_pb2_grpc import WorkerServiceServicer
from google.rpc import code_pb2

from apigpu_common import __version__
from apigpu_common.errors import InternalError, ServiceError
from gpu_worker.deliver import deliver
from gpu_worker.fetch import Fetcher, OnBytes
from gpu_worker.media.encoders import Toolbox
from gpu_worker.operations import OPERATIONS
from gpu_worker.operations.base import ItemContext
from gpu_worker.operations.stages import fetching, stage
from gpu_worker.outbox import Outbox
from gpu_worker.workspace import Workspaces

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


class WorkerService(WorkerServiceServicer):
    """The worker's service. Requests arrive validated by the contract's rules."""

    def __init__(
        self,
        worker_id: str,
        tools: Toolbox,
        workspaces: Workspaces,
        fetcher: Fetcher,
        max_parallel_items: int,
    ) -> None:
        self._worker_id = worker_id
        self._tools = tools
        self._workspaces = workspaces
        self._fetcher = fetcher
        self._max_parallel_items = max_parallel_items
        self._slots = asyncio.Semaphore(max_parallel_items)

    async def Execute(
        self, request: worker_service_pb2.ExecuteRequest, context: Context
    ) -> AsyncIterator[TaskEvent]:
        outbox = Outbox(request.task.attempt_id, self._worker_id)
        work = asyncio.create_task(self._work(request.task, outbox))
        try:
            async for event in outbox.events():
                yield event
        finally:
            work.cancel()
            await asyncio.wait([work])

    async def GetCapabilities(
        self, request: worker_service_pb2.GetCapabilitiesRequest, context: Context
    ) -> worker_service_pb2.Capabilities:
        encoders = [
            video_service_pb2.EncoderInfo(name=e.name, works=e.works, reason=e.reason)
            for e in self._tools.encoders
        ]
        return worker_service_pb2.Capabilities(
            worker_id=self._worker_id,
            version=__version__,
            ffmpeg_version=self._tools.ffmpeg_version,
            encoders=encoders,
            max_parallel_items=self._max_parallel_items,
        )

    async def _work(self, task: Task, outbox: Outbox) -> None:
        """Do all items within the time limit, and tell how they ended."""
        results: dict[str, ItemResult] = {}
        why_not = _time_is_up()
        try:
            async with self._workspaces.folder() as folder:
                inputs = _Inputs(self._fetcher, task, folder)
                work = [
                    asyncio.create_task(self._item(task, item, inputs, outbox, results))
                    for item in task.items
                ]
                await _within([*work], inputs, task.time_limit.ToTimedelta().total_seconds())
        except Exception:
            log.exception("task %s broke", task.attempt_id)
            why_not = _ours()
        missing = why_not.to_status()
        outbox.finish(
            [
                results.get(item.id) or ItemResult(item_id=item.id, error=missing)
                for item in task.items
            ]
        )

    async def _item(
        self,
        task: Task,
        item: TaskItem,
        inputs: _Inputs,
        outbox: Outbox,
        results: dict[str, ItemResult],
    ) -> None:
        result = ItemResult(item_id=item.id)
        try:
            async with self._slots:
                result.output.CopyFrom(await self._make(task, item, inputs, outbox))
        except ServiceError as error:
            log.info("item %s of %s: %s: %s", item.id, task.attempt_id, error.reason, error)
            result.error.CopyFrom(error.to_status())
        except Exception:
            log.exception("item %s of %s broke", item.id, task.attempt_id)
            result.error.CopyFrom(_ours().to_status())
        results[item.id] = result
        outbox.result(result)

    async def _make(
        self, task: Task, item: TaskItem, inputs: _Inputs, outbox: Outbox
    ) -> job_pb2.Output:
        operation = OPERATIONS[task.WhichOneof("operation") or ""]

        def report(progress: Progress) -> None:
            outbox.progress(item.id, progress)

        async def fetch(source: MediaSource, field: str) -> Path:
            return await inputs.get(source, field, lambda part: report(fetching(part)))

        async with self._workspaces.folder() as folder:
            result = folder / "result.mp4"
            report(stage(job_pb2.STAGE_FETCHING))
            context = ItemContext(folder, result, report, fetch, self._tools)
            output = await operation(task, item.id, context)
            frames = output.frame_count
            report(stage(job_pb2.STAGE_DELIVERING, frames, frames))
            await deliver(result, item.target)
            return output


def _time_is_up() -> ServiceError:
    return ServiceError(
        code_pb2.DEADLINE_EXCEEDED, "TIME_LIMIT", "The work took longer than its time limit."
    )


def _ours() -> ServiceError:
    return InternalError("INTERNAL", "Something went wrong in the worker.", retryable=True)


async def _within(work: list[asyncio.Task[None]], inputs: _Inputs, limit_s: float) -> None:
    """Wait for `work`; when time is up, or we are cancelled, stop what is not done."""
    try:
        await asyncio.wait(work, timeout=limit_s)
    finally:
        everything = [*work, *inputs.downloads]
        for each in everything:
            each.cancel()
        await asyncio.wait(everything)


class _Inputs:
    """A task's inputs: each is brought here once, however many items want it."""

    def __init__(self, fetcher: Fetcher, task: Task, folder: Path) -> None:
        self._fetcher = fetcher
        self._task = task
        self._folder = folder
        self._by_source: dict[bytes, asyncio.Task[Path]] = {}

    @property
    def downloads(self) -> list[asyncio.Task[Path]]:
        return list(self._by_source.values())

    async def get(self, source: MediaSource, field: str, on_part: OnBytes) -> Path:
        """The local path of a source. Raises ServiceError that blames `field`."""
        key = source.SerializeToString(deterministic=True)
        if key not in self._by_source:
            self._by_source[key] = asyncio.create_task(
                self._fetcher.fetch(source, field, self._task.files, self._folder, on_part)
            )
        try:
            # Shielded: another item may be waiting for the same bytes.
            return await asyncio.shield(self._by_source[key])
        except ServiceError as error:
            raise error.blaming(field) from error
