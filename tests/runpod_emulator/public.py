"""What the account's owner may ask of the endpoint: api.runpod.ai/v2/{endpoint}/..."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from tests.runpod_emulator.clock import Clock
from tests.runpod_emulator.fleet import Fleet
from tests.runpod_emulator.policy import Policy
from tests.runpod_emulator.queue import Job, Queue

_MOST_WAIT_S = 300.0


class Public:
    """Each method answers one operation."""

    def __init__(self, policy: Policy, clock: Clock, queue: Queue, fleet: Fleet) -> None:
        self._policy = policy
        self._clock = clock
        self._queue = queue
        self._fleet = fleet

    async def run(self, request: web.Request) -> web.Response:
        job = self._queue.submit(await _body(request, self._policy.max_run_bytes))
        return web.json_response({"id": job.id, "status": job.status})

    async def runsync(self, request: web.Request) -> web.Response:
        body = await _body(request, self._policy.max_runsync_bytes)
        job = self._queue.submit(body, sync=True)
        await self._clock.until(lambda: job.ended, _wait_s(request, 90.0))
        return web.json_response(job.told())

    async def status(self, request: web.Request) -> web.Response:
        return web.json_response(self._job(request).told())

    async def status_sync(self, request: web.Request) -> web.Response:
        job = self._job(request)
        await self._clock.until(lambda: job.ended, _wait_s(request, 90.0))
        return web.json_response(job.told())

    async def stream(self, request: web.Request) -> web.Response:
        """Held while there is no news; each part of the output is told once."""
        job = self._job(request)

        def is_news() -> bool:
            return bool(job.buffered) or job.ended or job.id not in self._queue.jobs

        await self._clock.until(is_news, _wait_s(request, 10.0))
        self._job(request)
        stream = [{"output": chunk} for chunk in self._queue.drain(job)]
        return web.json_response({"id": job.id, "status": job.status, "stream": stream})

    async def cancel(self, request: web.Request) -> web.Response:
        job = self._job(request)
        self._queue.end(job, "CANCELLED")
        return web.json_response({"id": job.id, "status": job.status})

    async def retry(self, request: web.Request) -> web.Response:
        job = self._job(request)
        if not self._queue.retry(job):
            return _error(400, "only failed and timed out jobs are retried")
        return web.json_response({"id": job.id, "status": job.status})

    async def purge_queue(self, request: web.Request) -> web.Response:
        return web.json_response({"removed": self._queue.purge(), "status": "completed"})

    async def health(self, request: web.Request) -> web.Response:
        jobs = [job.status for job in self._queue.jobs.values()]
        fleet = self._fleet
        return web.json_response(
            {
                "jobs": {
                    "completed": jobs.count("COMPLETED"),
                    "failed": jobs.count("FAILED") + jobs.count("TIMED_OUT"),
                    "inProgress": jobs.count("IN_PROGRESS"),
                    "inQueue": jobs.count("IN_QUEUE"),
                    "retried": self._queue.retried,
                },
                "workers": {
                    "idle": fleet.count("idle"),
                    "initializing": fleet.count("initializing"),
                    "ready": fleet.count("idle") + fleet.count("running"),
                    "running": fleet.count("running"),
                    "throttled": fleet.wanted() if self._policy.throttled else 0,
                    "unhealthy": sum(bool(each.unhealthy) for each in fleet.workers.values()),
                },
            }
        )

    def _job(self, request: web.Request) -> Job:
        job = self._queue.jobs.get(request.match_info["id"])
        if job is None:
            raise web.HTTPNotFound(text='{"error": "job not found"}')
        return job


async def _body(request: web.Request, most_bytes: int) -> dict[str, Any]:
    raw = await request.read()
    if len(raw) > most_bytes:
        raise web.HTTPRequestEntityTooLarge(most_bytes, len(raw))
    try:
        body = json.loads(raw)
    except ValueError:
        raise web.HTTPBadRequest(text='{"error": "not JSON"}') from None
    if not isinstance(body, dict) or not isinstance(body.get("input"), dict):
        raise web.HTTPBadRequest(text='{"error": "input is required"}')
    return body


def _wait_s(request: web.Request, default_s: float) -> float:
    wait_s = int(request.query.get("wait", default_s * 1000)) / 1000
    return min(max(wait_s, 1.0), _MOST_WAIT_S)


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)
