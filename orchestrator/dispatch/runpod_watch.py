"""When a job at RunPod has taken too long: waiting for a worker, working, and silence, each judged
by itself. Pure but for the clock that it is given."""

from __future__ import annotations

from collections.abc import Callable

from google.rpc import code_pb2

from apigpu_common.errors import ServiceError, Unavailable
from orchestrator.dispatch.runpod_api import RemoteJob

# A worker tells at least every 30 s that it is still at it.
_SILENCE_S = 120.0
# What the worker gets on top of its limit to tell how it ended.
_RUN_MARGIN_S = 120.0


class Overdue(Exception):
    """error: what the attempt ends with; the job is to be cancelled at RunPod."""

    def __init__(self, error: ServiceError) -> None:
        self.error = error


class JobWatch:
    """now: seconds of any clock that goes on. waited_s: how long the job has waited already."""

    def __init__(
        self,
        queue_limit_s: float,
        run_limit_s: float,
        now: Callable[[], float],
        waited_s: float = 0.0,
    ) -> None:
        self._queue_limit_s = queue_limit_s
        self._run_limit_s = run_limit_s + _RUN_MARGIN_S
        self._now = now
        self._entered_at = now() - waited_s
        self._heard_at = self._told_at = now()
        self._queued = True

    def told(self, job: RemoteJob) -> None:
        """RunPod has answered. Raises Overdue where it has taken too long.

        A state that we do not know counts as work: it is judged by what the worker tells.
        """
        now, queued = self._now(), job.status == "IN_QUEUE"
        if queued != self._queued:
            # Into work, or back into the queue: RunPod gives the work of a dead worker to
            # another.
            self._queued, self._entered_at, self._heard_at = queued, now, now
        if job.outputs or now - self._told_at > _SILENCE_S / 2:
            self._heard_at = now  # RunPod itself was away: nobody was silent
        self._told_at = now
        if queued:
            self._waiting(now)
        else:
            self._working(now)

    def _waiting(self, now: float) -> None:
        if now - self._entered_at > self._queue_limit_s:
            message = "No RunPod worker took the work in time."
            raise Overdue(ServiceError(code_pb2.DEADLINE_EXCEEDED, "QUEUE_TIME_LIMIT", message))

    def _working(self, now: float) -> None:
        if now - self._entered_at > self._run_limit_s:
            message = "The work took longer than its time limit."
            raise Overdue(ServiceError(code_pb2.DEADLINE_EXCEEDED, "TIME_LIMIT", message))
        if now - self._heard_at > _SILENCE_S:
            raise Overdue(Unavailable("WORKER_SILENT", "The RunPod worker fell silent."))
