"""The emulated endpoint, assembled and served on loopback: both sides of RunPod's HTTP protocol."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from tests.runpod_emulator import endpoint, faults
from tests.runpod_emulator.account import Account
from tests.runpod_emulator.clock import Clock
from tests.runpod_emulator.fleet import Fleet, reconciling
from tests.runpod_emulator.policy import Policy
from tests.runpod_emulator.public import Public
from tests.runpod_emulator.queue import Job, Queue
from tests.runpod_emulator.rates import Rates
from tests.runpod_emulator.webhooks import Webhooks
from tests.runpod_emulator.worker import WORKER_KEY, Worker
from tests.runpod_emulator.worker_side import WorkerSide

KEY = "account-key"
ENDPOINT = "ep-test"
_BODY_BYTES = 32 * 2**20


class Cloud:
    """fault: what goes wrong with a public call; worker_fault: with one of a worker's.
    calls: the public operations that were called, in order."""

    def __init__(self, work_dir: Path, policy: Policy) -> None:
        self.policy = policy
        self.clock = Clock()
        self.webhooks = Webhooks(policy)
        self.queue = Queue(policy, self.clock, self.webhooks.tell)
        self.fleet = Fleet(policy, self.clock, self.queue, work_dir)
        self.worker_side = WorkerSide(policy, self.clock, self.queue, self.fleet)
        self.public = Public(policy, self.clock, self.queue, self.fleet)
        self.account = Account(ENDPOINT, policy)
        self.rates = Rates(self.clock)
        self.fault: faults.Hook = faults.none
        self.worker_fault: faults.Hook = faults.none
        self.calls: list[str] = []
        self.url = self.rest_url = ""

    @property
    def jobs(self) -> dict[str, Job]:
        return self.queue.jobs

    @property
    def workers(self) -> dict[str, Worker]:
        return self.fleet.workers

    async def kill_workers(self) -> None:
        """Without a word, with all that they have started."""
        await asyncio.gather(*(worker.kill() for worker in self.workers.values()))

    def end(self, status: str) -> None:
        """Bring whatever has not ended to an end of the platform's own."""
        for job in list(self.jobs.values()):
            self.queue.end(job, status)

    def routes(self) -> list[web.RouteDef]:
        public, theirs = self.public, self.worker_side
        v2 = f"/v2/{ENDPOINT}"
        return [
            *(
                web.route(method, f"{v2}/{path}", self._public(path.partition("/")[0], handler))
                for method, path, handler in (
                    ("POST", "run", public.run),
                    ("POST", "runsync", public.runsync),
                    ("GET", "status/{id}", public.status),
                    ("GET", "status-sync/{id}", public.status_sync),
                    ("GET", "stream/{id}", public.stream),
                    ("POST", "cancel/{id}", public.cancel),
                    ("POST", "retry/{id}", public.retry),
                    ("POST", "purge-queue", public.purge_queue),
                    ("GET", "health", public.health),
                )
            ),
            *(
                web.route(method, f"{v2}/{path}", self._theirs(handler))
                for method, path, handler in (
                    ("GET", "{operation:job-take|job-take-batch}/{worker}", theirs.take),
                    ("GET", "{operation:job-stop}/{worker}", theirs.stop),
                    ("GET", "{operation:ping}/{worker}", theirs.ping),
                    ("POST", "{operation:job-stream}/{worker}/{id}", theirs.stream),
                    ("POST", "{operation:job-done}/{worker}/{id}", theirs.done),
                )
            ),
            web.get(
                f"/v1/endpoints/{ENDPOINT}", self._public("configuration", self._configuration)
            ),
            *(
                web.route(method, f"/v1/{path}", self._public("account", handler))
                for method, path, handler in self.account.handlers()
            ),
        ]

    def _public(self, operation: str, handler: faults.Handler) -> _Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.calls.append(operation)
            if request.headers.get("Authorization") != f"Bearer {KEY}":
                return web.json_response({"error": "unauthorized"}, status=401)
            with self.rates.counted(operation):
                return await faults.through(self.fault(operation), request, handler)

        return answer

    def _theirs(self, handler: faults.Handler) -> _Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Authorization") != WORKER_KEY:
                return web.Response(status=401)
            fault = self.worker_fault(request.match_info["operation"])
            return await faults.through(fault, request, handler)

        return answer

    async def _configuration(self, request: web.Request) -> web.Response:
        return web.json_response(endpoint.configuration(ENDPOINT, self.policy))


_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def running(
    work_dir: Path, max_workers: int = 1, *, port: int = 0, policy: Policy | None = None
) -> AsyncIterator[Cloud]:
    """An endpoint with no worker yet."""
    work_dir.mkdir(parents=True, exist_ok=True)
    cloud = Cloud(work_dir, policy or Policy(workers_max=max_workers))
    application = web.Application(client_max_size=_BODY_BYTES)
    application.add_routes(cloud.routes())
    runner = web.AppRunner(
        application, access_log=None, shutdown_timeout=1, handler_cancellation=True
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    cloud.url, cloud.rest_url = f"{address}/v2", f"{address}/v1"
    cloud.fleet.base_url, cloud.fleet.endpoint = f"{cloud.url}/{ENDPOINT}", ENDPOINT
    keeping_up = asyncio.create_task(reconciling(cloud.fleet, cloud.queue, cloud.clock))
    try:
        yield cloud
    finally:
        keeping_up.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping_up
        await cloud.fleet.close()
        await cloud.webhooks.close()
        await runner.cleanup()
