"""WorkerService: runs a task's items, a few at a time, and streams what happens. Cancelling the
call stops everything it has started."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from apigpu.video.v1 import job_pb2, video_service_pb2
from apigpu.video.v1.job_pb2 import Progress
from apigpu.video.v1.operations_pb2 import MediaSource
from apigpu.worker.v1 import worker_service_pb2
from apigpu.worker.v1.worker_service_pb2 import (
    ItemResult,
    Task,
    TaskEvent,
    TaskItem,
    TaskStarted,
)
from apigpu.worker.v1.worker_service_pb2_grpc import WorkerServiceServicer
from google.rpc import code_pb2
from opentelemetry import trace

from apigpu_common import __version__
from apigpu_common.errors import InternalError, ServiceError
from apigpu_common.logs import about
from apigpu_common.telemetry import context_of
from gpu_worker.cage.rules import only_inputs
from gpu_worker.deliver import deliver
from gpu_worker.fetch import Fetcher
from gpu_worker.inputs import Inputs
from gpu_worker.media.encoders import Toolbox
from gpu_worker.media.profiles import ALL
from gpu_worker.operations import OPERATIONS
from gpu_worker.operations.base import ItemContext
from gpu_worker.operations.stages import fetching, stage
from gpu_worker.outbox import Outbox
from gpu_worker.shared_inputs import SharedInputs
from gpu_worker.workspace import Workspaces

log = logging.getLogger(__name__)

_TRACER = trace.get_tracer("apigpu")

Context = grpc.aio.ServicerContext[Any, Any]
InputsOf = Callable[[MediaSource], Inputs]


class WorkerService(WorkerServiceServicer):
    """The worker's service. Requests arrive validated by the contract's rules."""

    def __init__(
        self,
        worker_id: str,
        gpu: str,
        tools: Toolbox,
        workspaces: Workspaces,
        fetcher: Fetcher,
        max_parallel_items: int,
    ) -> None:
        self._worker_id = worker_id
        self._gpu = gpu
        self._tools = tools
        self._workspaces = workspaces
        self._fetcher = fetcher
        self._shared = SharedInputs(workspaces, fetcher)
        self._max_parallel_items = max_parallel_items
        self._slots = asyncio.Semaphore(max_parallel_items)

    async def Execute(
        self, request: worker_service_pb2.ExecuteRequest, context: Context
    ) -> AsyncIterator[TaskEvent]:
        started = TaskStarted(worker_id=self._worker_id, gpu=self._gpu, version=__version__)
        outbox = Outbox(request.task.attempt_id, started)
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
        profiles = {profile.name: profile for profile in ALL}
        encoders = [
            video_service_pb2.EncoderInfo(
                name=e.name,
                works=e.works,
                reason=e.reason,
                codec=profiles[e.name].codec,
                hardware=profiles[e.name].hardware,
            )
            for e in self._tools.encoders
        ]
        return worker_service_pb2.Capabilities(
            worker_id=self._worker_id,
            version=__version__,
            ffmpeg_version=self._tools.ffmpeg_version,
            encoders=encoders,
            max_parallel_items=self._max_parallel_items,
            gpu=self._gpu,
            cage=sorted(self._tools.cage.held),
        )

    async def _work(self, task: Task, outbox: Outbox) -> None:
        """Do all items within the time limit, and tell how they ended."""
        attributes = {"apigpu.job": task.job, "apigpu.attempt": task.attempt_id}
        with (
            about(job=task.job, attempt=task.attempt_id),
            _TRACER.start_as_current_span(
                "task", context_of(task.trace_parent), attributes=attributes
            ),
        ):
            await self._tell(task, outbox)

    async def _tell(self, task: Task, outbox: Outbox) -> None:
        results: dict[str, ItemResult] = {}
        why_not = _time_is_up()
        try:
            async with asyncio.timeout(task.time_limit.ToTimedelta().total_seconds()):
                await self._items(task, outbox, results)
        except TimeoutError:
            log.info("task %s ran into its time limit", task.attempt_id)
        except Exception:
            log.exception("task %s broke", task.attempt_id)
            why_not = _ours()
        for item in task.items:
            if item.id not in results:
                results[item.id] = ItemResult(item_id=item.id, error=why_not.to_status())
        outbox.finish([results[item.id] for item in task.items])

    async def _items(self, task: Task, outbox: Outbox, results: dict[str, ItemResult]) -> None:
        async with (
            self._inputs(task) as inputs,
            asyncio.TaskGroup() as group,
        ):
            # A task waits for one slot at a time, so tasks take turns, however long they are.
            for item in task.items:
                await self._slots.acquire()
                work = group.create_task(self._item(task, item, inputs, outbox, results))
                work.add_done_callback(lambda _: self._slots.release())

    @asynccontextmanager
    async def _inputs(self, task: Task) -> AsyncIterator[InputsOf]:
        """The inputs for each source: the task's own, or those that it shares with others of
        its job."""
        async with AsyncExitStack() as stack:
            folder = await stack.enter_async_context(self._workspaces.folder())
            own = await stack.enter_async_context(Inputs(self._fetcher, folder))
            shared = own
            if task.shared_inputs and task.job:
                shared = await stack.enter_async_context(self._shared.of(task.job))
            names = frozenset(task.shared_inputs)
            yield lambda source: shared if (source.uri or source.file) in names else own

    async def _item(
        self,
        task: Task,
        item: TaskItem,
        inputs: InputsOf,
        outbox: Outbox,
        results: dict[str, ItemResult],
    ) -> None:
        result = ItemResult(item_id=item.id)
        try:
            with _TRACER.start_as_current_span("item", attributes={"apigpu.item": item.id}):
                output = await self._make(task, item, inputs, outbox)
            result.output.CopyFrom(output)
            log.info("item %s is done with %s", item.id, output.encoder.used)
        except ServiceError as error:
            log.info("item %s of %s: %s: %s", item.id, task.attempt_id, error.reason, error)
            result.error.CopyFrom(error.to_status())
        except Exception:
            log.exception("item %s of %s broke", item.id, task.attempt_id)
            result.error.CopyFrom(_ours().to_status())
        results[item.id] = result
        outbox.result(result)

    async def _make(
        self, task: Task, item: TaskItem, inputs: InputsOf, outbox: Outbox
    ) -> job_pb2.Output:
        operation = OPERATIONS[task.WhichOneof("operation") or ""]
        here: dict[str, float] = {}  # which part of each input has come

        def report(progress: Progress) -> None:
            outbox.progress(item.id, progress)

        def arrived(field: str, part: float) -> None:
            here[field] = part
            report(fetching(sum(here.values()) / len(here)))

        async def fetch(source: MediaSource, field: str) -> Path:
            here[field] = 0.0
            with _TRACER.start_as_current_span("fetch", attributes={"apigpu.field": field}):
                path = await inputs(source).get(
                    source, field, task.files, lambda part: arrived(field, part or 0.0)
                )
            readable.append(path)
            return path

        async with AsyncExitStack() as stack:
            folder = await stack.enter_async_context(self._workspaces.folder())
            readable = stack.enter_context(only_inputs())
            readable.append(folder)
            result = folder / "result.mp4"
            report(stage(job_pb2.STAGE_FETCHING))
            context = ItemContext(folder, result, report, fetch, self._tools)
            output = await operation(task, item.id, context)
            frames = output.frame_count
            report(stage(job_pb2.STAGE_DELIVERING, frames, frames))
            with _TRACER.start_as_current_span("deliver"):
                await deliver(result, item.target, item.long_target)
            return output


def _time_is_up() -> ServiceError:
    return ServiceError(
        code_pb2.DEADLINE_EXCEEDED, "TIME_LIMIT", "The work took longer than its time limit."
    )


def _ours() -> ServiceError:
    return InternalError("INTERNAL", "Something went wrong in the worker.", retryable=True)
