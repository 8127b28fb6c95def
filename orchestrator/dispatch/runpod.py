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
from orchestrator.jobs import limits
from orchestrator.jobs.sharding import Fleet

log = logging.getLogger(__name__)

# A worker tells every 15 s that it is still at it.
_SILENCE_S = 120.0
# Should the platform answer at once although there is no news.
_PAUSE_S = 0.5
_ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})


class RunpodDispatcher:
    """Implements `Dispatcher`."""

    name = "runpod"
    shares_disk = False
    outlives_us = True

    def __init__(self, api: RunpodApi, fleet: Fleet, max_tasks: int, queue_limit_s: float) -> None:
        self._api = api
        self._fleet = fleet
        self._max_tasks = max_tasks
        self._queue_limit_s = queue_limit_s
        self._status = RunpodStatus(api)

    async def open(self) -> None:
        await self._api.open()

    async def close(self) -> None:
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
        async for event in self._follow(remote_id, {item.id for item in task.items}):
            yield event

    async def _begin(self, task: worker_service_pb2.Task) -> str:
        request = json_format.MessageToDict(task, preserving_proto_field_name=True)
        limit_s = task.time_limit.ToTimedelta().total_seconds()
        execution_s, ttl_s = limits.runpod_policy_s(limit_s, self._queue_limit_s)
        return await self._api.run({"task": request}, execution_s, ttl_s)

    async def _follow(
        self, remote_id: str, item_ids: set[str]
    ) -> AsyncIterator[worker_service_pb2.TaskEvent | Attempt]:
        # What completes the task is told after RunPod's times: nothing may follow it.
        last: list[worker_service_pb2.TaskEvent] = []
        try:
            async for event in self._live(remote_id):
                item_ids.discard(event.result.item_id)
                if item_ids and not event.HasField("finished"):
                    yield event
                else:
                    last.append(event)
            # News are told once, and may have been lost on the way: here are all.
            job = await self._api.status(remote_id)
        except NotFound:
            raise Unavailable("RUNPOD_JOB_LOST", "RunPod has lost the job.") from None
        except _Overdue as overdue:
            await self.cancel(Attempt(remote_id=remote_id))
            raise overdue.error from None
        yield _times(job)
        events = _events(job) or last
        for event in events:
            yield event
        finished = any(event.HasField("finished") for event in events)
        if not finished:
            raise _ended_badly(job.status)

    async def _live(self, remote_id: str) -> AsyncIterator[worker_service_pb2.TaskEvent]:
        """The job's events as they come, until RunPod says that it has ended."""
        job = RemoteJob(remote_id, "IN_QUEUE")
        watch = _Watch(self._queue_limit_s)
        while job.status not in _ENDED:
            asked_at = time.monotonic()
            job = await self._api.news(remote_id)
            for event in _events(job):
                yield event
            if not job.outputs and time.monotonic() - asked_at < _PAUSE_S:
                await asyncio.sleep(_PAUSE_S)
            watch.check(job)


class _Overdue(Exception):
    def __init__(self, error: ServiceError) -> None:
        self.error = error


class _Watch:
    """Judges waiting and silence, apart."""

    def __init__(self, queue_limit_s: float) -> None:
        self._queue_limit_s = queue_limit_s
        self._began_at = self._heard_at = time.monotonic()

    def check(self, job: RemoteJob) -> None:
        """Raise _Overdue where it has taken too long."""
        now = time.monotonic()
        if job.status == "IN_QUEUE":
            self._heard_at = now
            if now - self._began_at > self._queue_limit_s:
                message = "No RunPod worker took the work in time."
                raise _Overdue(
                    ServiceError(code_pb2.DEADLINE_EXCEEDED, "QUEUE_TIME_LIMIT", message)
                )
        elif job.outputs:
            self._heard_at = now
        elif now - self._heard_at > _SILENCE_S:
            raise _Overdue(Unavailable("WORKER_SILENT", "The RunPod worker fell silent."))


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


def _times(job: RemoteJob) -> Attempt:
    facts = Attempt()
    if job.queue_ms is not None:
        facts.queue_time.FromMilliseconds(job.queue_ms)
    if job.execution_ms is not None:
        facts.execution_time.FromMilliseconds(job.execution_ms)
    return facts


def _ended_badly(status: str) -> ServiceError:
    if status == "COMPLETED":
        return Unavailable("RESULT_LOST", "The worker's result was lost on its way to RunPod.")
    if status == "TIMED_OUT":
        message = "The work took longer than its time limit on RunPod."
        return ServiceError(code_pb2.DEADLINE_EXCEEDED, "TIME_LIMIT", message)
    if status == "CANCELLED":
        message = "The work was cancelled on RunPod, not through this service."
        return ServiceError(code_pb2.ABORTED, "CANCELLED_ON_RUNPOD", message)
    return Unavailable("WORKER_LOST", "The RunPod worker was lost in the middle of the work.")
