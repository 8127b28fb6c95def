"""Dispatch to gRPC workers by address. A task goes to the least busy worker that answers."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence

import grpc
from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.job_pb2 import Attempt
from apigpu.worker.v1 import worker_service_pb2
from apigpu.worker.v1.worker_service_pb2_grpc import WorkerServiceStub
from google.rpc import status_pb2
from grpc_status import rpc_status

from apigpu_common.errors import ServiceError, Unavailable
from orchestrator.jobs.sharding import Fleet

log = logging.getLogger(__name__)

_ASK_TIMEOUT_S = 5.0
# The worker enforces the task's own limit; this only catches one that does not answer at all.
_LIMIT_MARGIN_S = 30.0
_CHANNEL_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
    ("grpc.max_send_message_length", 8 * 1024 * 1024),
    # Find out within half a minute when a worker's host is gone.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
]


class _Worker:
    """One worker and what is known of it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.running = 0
        self.slots = 0  # 0 while it does not answer
        self._channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self._stub = WorkerServiceStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()

    async def ask(self) -> worker_service_pb2.Capabilities | None:
        """What it can do, or None if it does not answer."""
        try:
            answer = await self._stub.GetCapabilities(
                worker_service_pb2.GetCapabilitiesRequest(), timeout=_ASK_TIMEOUT_S
            )
        except grpc.aio.AioRpcError as error:
            self.slots = 0
            log.warning("worker %s does not answer: %s", self.address, error.code().name)
            return None
        self.slots = max(1, answer.max_parallel_items)
        return answer

    async def execute(
        self, task: worker_service_pb2.Task
    ) -> AsyncIterator[worker_service_pb2.TaskEvent]:
        limit_s = task.time_limit.ToTimedelta().total_seconds() + _LIMIT_MARGIN_S
        call = self._stub.Execute(worker_service_pb2.ExecuteRequest(task=task), timeout=limit_s)
        self.running += 1
        try:
            async for event in call:
                yield event
        except grpc.aio.AioRpcError as error:
            raise _to_service_error(error) from error
        finally:
            self.running -= 1
            call.cancel()


class GrpcDispatcher:
    """Implements `Dispatcher` for a fixed list of worker addresses."""

    outlives_us = False

    def __init__(self, addresses: Sequence[str], *, name: str, shares_disk: bool) -> None:
        self.name = name
        self.shares_disk = shares_disk
        self._addresses = addresses
        self._workers: list[_Worker] = []
        self._done = video_service_pb2.TaskCounts()  # what has ended since the start

    async def open(self) -> None:
        self._workers = [_Worker(address) for address in self._addresses]

    async def close(self) -> None:
        for worker in self._workers:
            await worker.close()

    async def capacity(self) -> int:
        for worker in self._workers:
            if worker.slots == 0:
                await worker.ask()
        return sum(worker.slots for worker in self._workers)

    async def cancel(self, attempt: Attempt) -> None:
        """Nothing to do: closing the iterator has stopped it."""

    async def execute(
        self, task: worker_service_pb2.Task, attempt: Attempt
    ) -> AsyncIterator[worker_service_pb2.TaskEvent]:
        worker = self._least_busy()
        self._done.retried += attempt.id.rpartition("-")[2] != "1"
        finished = False
        try:
            async for event in worker.execute(task):
                finished = finished or event.HasField("finished")
                yield event
        except Unavailable:
            worker.slots = 0  # ask it again before it gets another task
            raise
        finally:
            self._done.completed += finished
            self._done.failed += not finished

    def fleet(self) -> Fleet:
        """They run anyway, so all of them."""
        slots = [worker.slots for worker in self._workers if worker.slots]
        return Fleet(max(1, len(slots)), max(1, min(slots, default=1)))

    def price_micros_per_second(self, gpu: str) -> int | None:
        return None

    async def status(self) -> video_service_pb2.BackendStatus:
        """What we know of them without asking: those that are busy, and those that are away."""
        answering = [worker for worker in self._workers if worker.slots]
        status = video_service_pb2.BackendStatus(backend=self.name)
        status.workers.running = sum(worker.running > 0 for worker in answering)
        status.workers.idle = len(answering) - status.workers.running
        status.workers.unhealthy = len(self._workers) - len(answering)
        status.tasks.CopyFrom(self._done)
        status.tasks.in_progress = sum(worker.running for worker in self._workers)
        status.observe_time.GetCurrentTime()
        return status

    async def workers(self) -> list[video_service_pb2.WorkerInfo]:
        infos = []
        for worker in self._workers:
            answer = await worker.ask()
            if answer is not None:
                infos.append(
                    video_service_pb2.WorkerInfo(
                        address=worker.address,
                        version=answer.version,
                        ffmpeg_version=answer.ffmpeg_version,
                        encoders=answer.encoders,
                        max_parallel_items=answer.max_parallel_items,
                        gpu=answer.gpu,
                        cage=answer.cage,
                    )
                )
        return infos

    def _least_busy(self) -> _Worker:
        answering = [worker for worker in self._workers if worker.slots]
        if not answering:
            raise Unavailable("NO_WORKER", "No worker answers at the moment.")
        load: Callable[[_Worker], float] = lambda worker: worker.running / worker.slots  # noqa: E731
        return min(answering, key=load)


def _to_service_error(error: grpc.aio.AioRpcError) -> ServiceError:
    """What a broken Execute call means for the task."""
    status: status_pb2.Status | None = rpc_status.from_call(error)  # type: ignore[arg-type]
    code = error.code()
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return Unavailable("WORKER_LOST", "The worker was lost in the middle of the work.")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ServiceError(
            code.value[0], "TIME_LIMIT", "The work took longer than its time limit."
        )
    message = status.message if status is not None else "The worker failed."
    return ServiceError(code.value[0], "WORKER_FAILED", message)
