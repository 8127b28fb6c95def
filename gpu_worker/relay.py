"""Does RunPod's jobs with our WorkerService: a task in, its events out, small and in order."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc
from apigpu.worker.v1 import worker_service_pb2
from apigpu.worker.v1.worker_service_pb2 import ItemResult, Task, TaskEvent, TaskStarted
from apigpu.worker.v1.worker_service_pb2_grpc import WorkerServiceStub
from google.protobuf import json_format
from google.rpc import code_pb2

from apigpu_common.errors import ServiceError, Unavailable
from gpu_worker.outbox import Outbox
from gpu_worker.pace import Pace

# The worker enforces the limit itself; this only catches one that hangs.
_LIMIT_MARGIN_S = 30.0
_MESSAGE_BYTES = 8 * 1024 * 1024
_PERMIT_TRIES = 3
_PERMIT_TIMEOUT_S = 1.5
_OVER = 410

log = logging.getLogger(__name__)


class Relay:
    """Has tasks done by the worker at `address`. started: what is told of this worker; its
    start-up time with the first task alone."""

    def __init__(self, address: str, started: TaskStarted) -> None:
        self._address = address
        self._started = started
        self._calls: set[Any] = set()
        self._stopping = False

    async def handle(self, job: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """RunPod's handler: yields TaskEvents in their JSON form, the last one complete in itself.

        Raises where the input is not a task: RunPod then tells the job as failed.
        """
        task = json_format.ParseDict(
            job["input"]["task"], worker_service_pb2.Task(), ignore_unknown_fields=True
        )
        pace = Pace()
        outbox = Outbox(task.attempt_id, self._introduction(), pace.pause_s)
        relaying = asyncio.create_task(self._relay(task, outbox))
        # The SDK's own task ends at once when it is cancelled, this generator only when it is
        # collected: FFmpeg must not go on until then.
        current = asyncio.current_task()
        assert current is not None
        current.add_done_callback(lambda _: relaying.cancel())
        async for event in outbox.events():
            told = json_format.MessageToDict(event, preserving_proto_field_name=True)
            pace.told(len(json.dumps(told)))
            yield told

    def stop(self) -> None:
        """Stop all work now, and begin none; the jobs end and say so."""
        self._stopping = True
        for call in list(self._calls):
            call.cancel()

    def _introduction(self) -> TaskStarted:
        started = TaskStarted()
        started.CopyFrom(self._started)
        self._started.ClearField("start_up_time")
        return started

    async def _relay(self, task: Task, outbox: Outbox) -> None:
        """Pass the worker's events on, and tell of every item how it ended."""
        results: dict[str, ItemResult] = {}
        error = (await self._do(task, outbox, results)).to_status()
        for item in task.items:
            results.setdefault(item.id, ItemResult(item_id=item.id, error=error))
        outbox.finish([results[item.id] for item in task.items])

    async def _do(self, task: Task, outbox: Outbox, results: dict[str, ItemResult]) -> ServiceError:
        """Returns why items that have no result then have none."""
        lost = Unavailable("WORKER_LOST", "The worker was stopped in the middle of the work.")
        try:
            if await _is_over(task):
                return ServiceError(code_pb2.ABORTED, "ATTEMPT_OVER", "Another attempt was made.")
            if not self._stopping:
                async for event in self._execute(task):
                    _pass_on(event, outbox, results)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                # Of another version than the service: no other attempt would go better.
                message = f"The worker does not understand the task: {error.details()}"
                return ServiceError(code_pb2.FAILED_PRECONDITION, "TASK_REFUSED", message)
        except Exception:  # told as lost: an outbox without an end would seem alive for ever
            log.exception("the events of %s cannot be passed on", task.attempt_id)
        return lost

    async def _execute(self, task: Task) -> AsyncIterator[TaskEvent]:
        """The worker's events. They end early where `stop` was called."""
        async with grpc.aio.insecure_channel(
            self._address, options=[("grpc.max_receive_message_length", _MESSAGE_BYTES)]
        ) as channel:
            call = WorkerServiceStub(channel).Execute(
                worker_service_pb2.ExecuteRequest(task=task),
                timeout=task.time_limit.ToTimedelta().total_seconds() + _LIMIT_MARGIN_S,
                wait_for_ready=True,
            )
            self._calls.add(call)
            try:
                async for event in call:
                    yield event
            except asyncio.CancelledError:
                if not call.cancelled():  # not by `stop`: our own task is
                    raise
            finally:
                call.cancel()
                self._calls.discard(call)


async def _is_over(task: Task) -> bool:
    """Whether nobody wants the attempt any more. Where nobody answers, it is done."""
    if not task.permit.url:
        return False
    timeout = aiohttp.ClientTimeout(total=_PERMIT_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for _ in range(_PERMIT_TRIES):
            try:
                async with session.get(task.permit.url, allow_redirects=False) as answer:
                    if answer.ok or answer.status == _OVER:
                        return answer.status == _OVER
            except (aiohttp.ClientError, TimeoutError):
                continue
    log.warning("whether %s is wanted could not be asked", task.attempt_id)
    return False


def _pass_on(event: TaskEvent, outbox: Outbox, results: dict[str, ItemResult]) -> None:
    if event.HasField("progress"):
        outbox.progress(event.progress.item_id, event.progress.progress)
    elif event.HasField("result"):
        results[event.result.item_id] = event.result
        outbox.result(event.result)
    elif event.HasField("finished"):
        results.update({result.item_id: result for result in event.finished.results})
