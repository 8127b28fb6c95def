"""Dispatch to RunPod Serverless: a task is a job there, followed by its stream of events.

RunPod's word is evidence, not truth: a task has ended when its worker's last event says so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.job_pb2 import Attempt
from apigpu.worker.v1 import worker_service_pb2
from google.protobuf import json_format
from google.rpc import code_pb2

from apigpu_common.errors import NotFound, ServiceError, Unavailable
from orchestrator.dispatch.runpod_api import RemoteJob, RunpodApi
from orchestrator.dispatch.runpod_status import RunpodStatus
from orchestrator.dispatch.runpod_watch import JobWatch, Overdue
from orchestrator.jobs import limits
from orchestrator.jobs.prices import PriceList
from orchestrator.jobs.sharding import Fleet

log = logging.getLogger(__name__)

# Should the platform answer at once although there is no news.
_PAUSE_S = 0.5
# After the worker's last event RunPod has so long to end the job by itself.
_END_S = 8.0
# How an old worker fails at what it cannot read: as a task, or as RunPod's input.
_NO_TASK = ("ParseError", "TASK_REFUSED")
_LOGGED = 500
_ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})


class RunpodDispatcher:
    """Implements `Dispatcher`."""

    name = "runpod"
    shares_disk = False
    outlives_us = True

    def __init__(
        self,
        api: RunpodApi,
        fleet: Fleet,
        prices: PriceList,
        max_tasks: int,
        queue_limit_s: float,
    ) -> None:
        self._api = api
        self._prices = prices
        self._fleet = fleet
        self._max_tasks = max_tasks
        self._queue_limit_s = queue_limit_s
        self._status = RunpodStatus(api, prices)

    async def open(self) -> None:
        await self._api.open()
        # In the background: a RunPod that is away shall not keep the service from starting.
        self._first_look = asyncio.create_task(self._status.get())

    async def close(self) -> None:
        self._first_look.cancel()
        await asyncio.wait([self._first_look])
        await self._api.close()

    async def capacity(self) -> int:
        return self._max_tasks

    def fleet(self) -> Fleet:
        known = self._status.known.configuration
        return replace(
            self._fleet,
            max_workers=known.max_workers or self._fleet.max_workers,
            start_s=self._fleet.start_s + known.idle_timeout.ToTimedelta().total_seconds(),
        )

    def price_micros_per_second(self, gpu: str) -> int | None:
        return self._prices.of(gpu)

    async def status(self) -> video_service_pb2.BackendStatus:
        return await self._status.get()

    async def workers(self) -> Sequence[video_service_pb2.WorkerInfo]:
        """None: RunPod's workers cannot be asked from here."""
        return ()

    async def cancel(self, attempt: Attempt) -> None:
        try:
            await self._api.cancel(attempt.remote_id)
        except NotFound:
            return  # it has ended long ago
        except ServiceError as error:
            # Its time limit ends it; what it makes until then is not used.
            log.warning("%s could not be cancelled: %s", attempt.remote_id, error.message)

    async def execute(
        self, task: worker_service_pb2.Task, attempt: Attempt
    ) -> AsyncIterator[worker_service_pb2.TaskEvent | Attempt]:
        remote_id = attempt.remote_id
        if not remote_id:
            remote_id = await self._begin(task)
            yield Attempt(endpoint_id=self._api.endpoint_id, remote_id=remote_id)
        async for event in self._follow(remote_id, task, attempt):
            yield event

    async def _begin(self, task: worker_service_pb2.Task) -> str:
        request = json_format.MessageToDict(task, preserving_proto_field_name=True)
        execution_s, ttl_s = limits.runpod_policy_s(_limit_s(task), self._queue_limit_s)
        return await self._api.run({"task": request}, execution_s, ttl_s)

    async def _follow(
        self, remote_id: str, task: worker_service_pb2.Task, attempt: Attempt
    ) -> AsyncIterator[worker_service_pb2.TaskEvent | Attempt]:
        # What completes the task is told after RunPod's times: nothing may follow it.
        last: list[worker_service_pb2.TaskEvent] = []
        item_ids = {item.id for item in task.items}
        try:
            async for event in self._live(remote_id, self._watch(task, attempt)):
                item_ids.discard(event.result.item_id)
                if item_ids and not event.HasField("finished"):
                    yield event
                else:
                    last.append(event)
            # News are told once, and may have been lost on the way: here are all.
            job = await self._api.status(remote_id)
        except NotFound:
            raise Unavailable("RUNPOD_JOB_LOST", "RunPod has lost the job.") from None
        except Overdue as overdue:
            await self.cancel(Attempt(remote_id=remote_id))
            raise overdue.error from None
        if job.status not in _ENDED:
            await self.cancel(Attempt(remote_id=remote_id))
        yield _facts(job)
        events = _events(job) or last
        for event in events:
            yield event
        if not any(event.HasField("finished") for event in events):
            raise _ended_badly(job)

    def _watch(self, task: worker_service_pb2.Task, attempt: Attempt) -> JobWatch:
        """attempt: waits since it was made, maybe before this service was started."""
        begun_at = attempt.create_time.seconds
        waited_s = max(0.0, time.time() - begun_at) if begun_at else 0.0
        return JobWatch(self._queue_limit_s, _limit_s(task), time.monotonic, waited_s)

    async def _live(
        self, remote_id: str, watch: JobWatch
    ) -> AsyncIterator[worker_service_pb2.TaskEvent]:
        """The job's events as they come, until RunPod says that it has ended, or has not said so
        for a while after the worker's last event: it may have lost the worker's word."""
        budget, finished_at = self._api.budget, None
        budget.followers += 1
        try:
            while True:
                asked_at = time.monotonic()
                job = await self._api.news(remote_id)
                for event in _events(job):
                    yield event
                    if event.HasField("finished"):
                        finished_at = time.monotonic()
                if job.status in _ENDED:
                    return
                if finished_at and time.monotonic() - finished_at > _END_S:
                    return
                watch.told(job)
                # Without news it should have held the call; should it not, we do not ask on
                # and on.
                pause_s = budget.interval_s if job.outputs else max(budget.interval_s, _PAUSE_S)
                await asyncio.sleep(max(0.0, asked_at + pause_s - time.monotonic()))
        finally:
            budget.followers -= 1


def _limit_s(task: worker_service_pb2.Task) -> float:
    return task.time_limit.ToTimedelta().total_seconds()


def _events(job: RemoteJob) -> list[worker_service_pb2.TaskEvent]:
    """The worker's events; what is none is left out, as an event that was lost."""
    events = []
    for output in job.outputs:
        try:
            events.append(
                json_format.ParseDict(
                    output, worker_service_pb2.TaskEvent(), ignore_unknown_fields=True
                )
            )
        except json_format.ParseError:
            log.warning("%s yields what is not an event", job.id)
    return events


def _facts(job: RemoteJob) -> Attempt:
    facts = Attempt(worker_id=job.worker_id)
    if job.queue_ms is not None:
        facts.queue_time.FromMilliseconds(job.queue_ms)
    if job.execution_ms is not None:
        facts.execution_time.FromMilliseconds(job.execution_ms)
    return facts


def _ended_badly(job: RemoteJob) -> ServiceError:
    """Why a job that has ended brought no result."""
    if job.error:
        log.warning("%s ended with %s: %s", job.id, job.status, job.error[:_LOGGED])
    if job.status == "COMPLETED":
        return Unavailable("RESULT_LOST", "The worker's result was lost on its way to RunPod.")
    if job.status == "TIMED_OUT":
        message = "The work took longer than its time limit on RunPod."
        return ServiceError(code_pb2.DEADLINE_EXCEEDED, "TIME_LIMIT", message)
    if job.status == "CANCELLED":
        message = "The work was cancelled on RunPod, not through this service."
        return ServiceError(code_pb2.ABORTED, "CANCELLED_ON_RUNPOD", message)
    if any(word in job.error for word in _NO_TASK):
        message = (
            "The RunPod worker does not understand the task: it must be of the same version as"
            " this service. Have the endpoint use the image of this version."
        )
        return ServiceError(code_pb2.FAILED_PRECONDITION, "TASK_REFUSED", message)
    return Unavailable("WORKER_LOST", "The RunPod worker was lost in the middle of the work.")
