"""The emulated endpoint: its queue, its jobs, its workers, and the faults that a test asks for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from gpu_worker.media import launch

KEY = "account-key"
WORKER_KEY = "worker-key"
ENDPOINT = "ep-test"
_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"}
_HOLD_S = 1.0  # of the workers' polls
# Should the tests be killed, their workers are too: the SDK would ask a cloud that is gone for
# jobs, as fast as it can, for ever. No limits.
_DIE_WITH_US = (sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), "0", "0", "0")


@dataclass
class Job:
    """A job at RunPod. buffered: what was yielded and not yet told on /stream."""

    id: str
    body: dict[str, Any]
    status: str = "IN_QUEUE"
    buffered: list[Any] = field(default_factory=list)
    output: Any = None
    error: str | None = None
    worker: str = ""
    made_at: float = field(default_factory=time.monotonic)
    taken_at: float = 0.0
    ended_at: float = 0.0


class Cloud:
    """max_workers: how far it scales from 0. fault: may answer a public call instead of us;
    it gets the operation ("run", "stream", ...) and returns a response, or None."""

    def __init__(self, work_dir: Path, max_workers: int = 1) -> None:
        self.work_dir = work_dir
        self.max_workers = max_workers
        self.fault: Callable[[str], web.Response | None] = lambda operation: None
        self.jobs: dict[str, Job] = {}
        self.calls: list[str] = []
        self.url = ""
        self.workers: dict[str, asyncio.subprocess.Process] = {}
        self.changed = asyncio.Event()

    # The public side

    async def public(self, request: web.Request) -> web.Response:
        operation = request.match_info["operation"]
        self.calls.append(operation)
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response({"error": "unauthorized"}, status=401)
        if (answer := self.fault(operation)) is not None:
            return answer
        if operation == "run":
            return await self._run(request)
        job = self.jobs.get(request.match_info.get("id", ""))
        if job is None:
            return web.json_response({"error": "job not found"}, status=404)
        if operation == "cancel":
            self._end(job, "CANCELLED")
            return web.json_response({"id": job.id, "status": job.status})
        if operation == "stream":
            return await self._stream(job, int(request.query.get("wait", 10000)) / 1000)
        return web.json_response(self._told(job))

    async def _run(self, request: web.Request) -> web.Response:
        body = await request.json()
        if not isinstance(body.get("input"), dict):
            return web.json_response({"error": "input is required"}, status=400)
        job = Job(f"{uuid.uuid4()}-u1", body)
        self.jobs[job.id] = job
        self._wake()
        if len(self.workers) < self.max_workers:
            await self._start_worker()
        return web.json_response({"id": job.id, "status": "IN_QUEUE"})

    async def _stream(self, job: Job, hold_s: float) -> web.Response:
        await self._until(lambda: bool(job.buffered) or job.status in _ENDED, hold_s)
        chunks, job.buffered = job.buffered, []
        stream = [{"output": chunk} for chunk in chunks]
        return web.json_response({"id": job.id, "status": job.status, "stream": stream})

    def _told(self, job: Job) -> dict[str, Any]:
        told: dict[str, Any] = {"id": job.id, "status": job.status}
        if job.taken_at:
            told["delayTime"] = int((job.taken_at - job.made_at) * 1000)
            told["workerId"] = job.worker
        if job.ended_at and job.taken_at:
            told["executionTime"] = int((job.ended_at - job.taken_at) * 1000)
        if job.output is not None:
            told["output"] = job.output
        if job.error is not None:
            told["error"] = job.error
        return told

    # The workers' side

    async def worker(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != WORKER_KEY:
            return web.Response(status=401)
        operation = request.match_info["operation"]
        worker = request.match_info["worker"]
        if operation in ("job-take", "job-take-batch"):
            return await self._take(worker, batch=operation == "job-take-batch")
        if operation == "job-stop":
            return await self._stops(worker)
        if operation == "ping":
            return web.Response()
        job = self.jobs[request.match_info["id"]]
        body = json.loads(await request.read())
        if operation == "job-stream" and job.status not in _ENDED:
            job.buffered.append(body["output"])
            self._wake()
        elif operation == "job-done":
            job.error = body.get("error")
            job.output = body.get("output")
            self._end(job, "FAILED" if "error" in body else "COMPLETED")
        return web.Response()

    async def _take(self, worker: str, *, batch: bool) -> web.Response:
        def waiting() -> Job | None:
            return next((job for job in self.jobs.values() if job.status == "IN_QUEUE"), None)

        await self._until(lambda: waiting() is not None, _HOLD_S)
        job = waiting()
        if job is None:
            return web.Response(status=204)
        job.status, job.worker, job.taken_at = "IN_PROGRESS", worker, time.monotonic()
        self._wake()
        taken = {"id": job.id, **job.body}
        return web.json_response([taken] if batch else taken)

    async def _stops(self, worker: str) -> web.Response:
        def stopped() -> list[str]:
            ended = ("CANCELLED", "TIMED_OUT")
            mine = [job for job in self.jobs.values() if job.worker == worker]
            return [job.id for job in mine if job.status in ended]

        await self._until(lambda: bool(stopped()), _HOLD_S)
        ids = stopped()
        for job_id in ids:
            self.jobs[job_id].worker = ""  # told once
        return web.json_response({"jobsToStop": ids}) if ids else web.Response(status=204)

    # What a test may do to it

    async def kill_workers(self) -> None:
        """Without a word, with all that they have started."""
        for process in self.workers.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        self.workers.clear()

    def end(self, status: str) -> None:
        """Bring whatever has not ended to an end of the platform's own."""
        for job in self.jobs.values():
            self._end(job, status)

    async def _start_worker(self) -> None:
        name = f"pod{len(self.workers)}{uuid.uuid4().hex[:6]}"
        base = f"{self.url}/{ENDPOINT}"
        query = "?gpu=NVIDIA+L4"
        self.workers[name] = await asyncio.create_subprocess_exec(
            *_DIE_WITH_US,
            *(sys.executable, "-m", "gpu_worker.runpod_handler"),
            start_new_session=True,
            env={
                **os.environ,
                "HOME": str(self.work_dir),
                "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID{query}",
                "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID{query}",
                "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID{query}",
                "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID{query}",
                "RUNPOD_PING_INTERVAL": "1000",
                "RUNPOD_AI_API_KEY": WORKER_KEY,
                "RUNPOD_POD_ID": name,
                "RUNPOD_ENDPOINT_ID": ENDPOINT,
                "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
                "RUNPOD_SKIP_GPU_CHECK": "true",
                "RUNPOD_LOG_LEVEL": "WARN",
                "APIGPU_WORKER_WORK_DIR": str(self.work_dir / name),
            },
        )

    def _end(self, job: Job, status: str) -> None:
        if job.status not in _ENDED:
            job.status, job.ended_at = status, time.monotonic()
            self._wake()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    async def _until(self, holds: Callable[[], bool], hold_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(hold_s):
                while not holds():
                    await self.changed.wait()


@asynccontextmanager
async def running(work_dir: Path, max_workers: int = 1) -> AsyncIterator[Cloud]:
    """An endpoint with no worker yet."""
    cloud = Cloud(work_dir, max_workers)
    work_dir.mkdir(parents=True, exist_ok=True)
    application = web.Application(client_max_size=25 * 2**20)
    router = application.router
    theirs = "job-take|job-take-batch|job-stop|ping|job-stream|job-done"
    for path in (
        f"/{{operation:{theirs}}}/{{worker}}",
        f"/{{operation:{theirs}}}/{{worker}}/{{id}}",
    ):
        router.add_route("*", f"/v2/{ENDPOINT}{path}", cloud.worker)
    router.add_post(f"/v2/{ENDPOINT}/{{operation:run}}", cloud.public)
    router.add_post(f"/v2/{ENDPOINT}/{{operation:cancel}}/{{id}}", cloud.public)
    router.add_get(f"/v2/{ENDPOINT}/{{operation:status|stream}}/{{id}}", cloud.public)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    cloud.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v2"
    try:
        yield cloud
    finally:
        await cloud.kill_workers()
        await runner.cleanup()
