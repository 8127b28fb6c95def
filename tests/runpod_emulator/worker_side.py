"""What a worker's SDK asks of the platform: work, what to stop, and to take the output."""

from __future__ import annotations

import json
import math
import time

from aiohttp import web

from tests.runpod_emulator.clock import Clock
from tests.runpod_emulator.fleet import Fleet
from tests.runpod_emulator.policy import Policy
from tests.runpod_emulator.queue import Job, Queue
from tests.runpod_emulator.worker import Worker


class WorkerSide:
    """Each method answers one operation.

    late_progress: whether an IN_PROGRESS that comes after the end of a job is believed (RunPod did,
    runpod-python #250). serve_stopping: whether a worker that was told to go still gets jobs.
    stopped_at: when a worker learned that it must stop a job, in real time.
    """

    def __init__(self, policy: Policy, clock: Clock, queue: Queue, fleet: Fleet) -> None:
        self.late_progress = False
        self.serve_stopping = False
        self.stopped_at: dict[str, float] = {}
        self._policy = policy
        self._clock = clock
        self._queue = queue
        self._fleet = fleet

    async def take(self, request: web.Request) -> web.Response:
        """Held while there is nothing to do."""
        worker = self._worker(request)
        if worker.state == "initializing":
            worker.is_ready(self._clock.now())
            self._clock.wake()
        batch = request.match_info["operation"] == "job-take-batch"
        most = int(request.query.get("batch_size", 1)) if batch else 1
        worker.polls += 1
        try:
            await self._clock.until(
                lambda: self._must_go(worker) or bool(self._queue.waiting(worker.name)),
                self._policy.hold_s,
            )
            jobs = [] if self._must_go(worker) else self._share(worker, most)
        finally:
            worker.polls -= 1
        if worker.state == "paused":
            return _dead(request)
        if not jobs:
            return web.Response(status=204)
        taken = [{"id": job.id, **job.body} for job in jobs]
        return web.json_response(taken if batch else taken[0])

    async def stop(self, request: web.Request) -> web.Response:
        """Held while there is nothing to stop."""
        worker = self._worker(request)
        await self._clock.until(
            lambda: worker.state != "ready" or self._queue.has_stops(worker.name),
            self._policy.hold_s,
        )
        if worker.state == "paused":
            return _dead(request)
        ids = self._queue.stops(worker.name)
        if not ids:
            return web.Response(status=204)
        self.stopped_at.update({job_id: time.monotonic() for job_id in ids})
        return web.json_response({"jobsToStop": ids})

    async def ping(self, request: web.Request) -> web.Response:
        worker = self._worker(request)
        worker.heard_at = time.monotonic()
        worker.pings += 1
        self._clock.wake()
        if request.query.get("status") == "unhealthy":
            worker.unhealthy = f"{request.query.get('check')}: {request.query.get('reason')}"
        return web.Response()

    async def stream(self, request: web.Request) -> web.Response:
        raw = await request.read()
        if len(raw) > self._policy.max_chunk_bytes:
            return web.Response(status=400, text="too large")
        if (job := self._job(request)) is not None:
            self._queue.yielded(job, json.loads(raw).get("output"))
        return web.Response()

    async def done(self, request: web.Request) -> web.Response:
        raw = await request.read()
        job = self._job(request)
        if job is None:
            return web.Response()
        if len(raw) > self._policy.max_output_bytes:
            self._queue.end(job, "COMPLETED")  # without output, as is seen in production
            return web.Response(status=400, text="too large")
        body = json.loads(raw)
        if body.get("status") == "IN_PROGRESS":
            if not job.ended or self.late_progress:
                job.status, job.output = "IN_PROGRESS", body.get("output")
        elif "error" in body:
            error = body["error"]
            self._queue.end(job, "FAILED", output=body.get("output"), error=str(error))
        else:
            self._queue.end(job, "COMPLETED", output=body.get("output"))
        if body.get("stopPod"):
            self._fleet.retire(self._worker(request))
        return web.Response()

    def _must_go(self, worker: Worker) -> bool:
        return worker.state != "ready" and not (worker.state == "stopping" and self.serve_stopping)

    def _share(self, worker: Worker, most: int) -> list[Job]:
        """A fair part of what waits: others are asking, too."""
        waiting = len(self._queue.waiting(worker.name))
        asking = sum(each.polls > 0 for each in self._fleet.workers.values())
        share = min(most, math.ceil(waiting / max(1, asking)))
        taken = [self._queue.take(worker.name) for _ in range(share)]
        return [job for job in taken if job is not None]

    def _worker(self, request: web.Request) -> Worker:
        worker = self._fleet.workers.get(request.match_info["worker"])
        if worker is None:
            raise web.HTTPNotFound(text="no such worker")
        return worker

    def _job(self, request: web.Request) -> Job | None:
        """None where it is forgotten."""
        return self._queue.jobs.get(request.match_info["id"])


def _dead(request: web.Request) -> web.Response:
    """A resumed worker finds that its connections are gone."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
