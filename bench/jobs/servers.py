"""The servers that are measured, each a process of its own, and what they are asked."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests import requests, services
from tests.scripted_worker import ScriptedWorker, serve

if TYPE_CHECKING:
    from apigpu.video.v1.video_service_pb2_grpc import VideoServiceAsyncStub

CALLERS = 64


@dataclass(frozen=True)
class Server:
    address: str
    stub: VideoServiceAsyncStub
    process: psutil.Process

    @property
    def memory_bytes(self) -> int:
        return int(self.process.memory_info().rss)

    @property
    def cpu_s(self) -> float:
        used = self.process.cpu_times()
        return float(used.user + used.system)


@dataclass(frozen=True)
class Rate:
    """Calls a second, and what each costs the server's CPU."""

    per_s: float
    cpu_us: float


@asynccontextmanager
async def ours(worker: ScriptedWorker, data_dir: Path, **environment: str) -> AsyncIterator[Server]:
    """The orchestrator as it is shipped, with a worker in this process."""
    settings = {"APIGPU_GRACE_S": "0", "APIGPU_LOG_LEVEL": "WARNING", **environment}
    async with (
        serve(worker) as address,
        services.process(data_dir, APIGPU_WORKERS=address, **settings) as process,
        services.connect(process.address) as stub,
    ):
        yield Server(process.address, stub, psutil.Process(process.pid))


@asynccontextmanager
async def bare() -> AsyncIterator[Server]:
    with tempfile.TemporaryDirectory() as unused:
        async with (
            services.process(Path(unused), "bench.jobs.bare") as process,
            services.connect(process.address) as stub,
        ):
            yield Server(process.address, stub, psutil.Process(process.pid))


async def rate(server: Server, call: Callable[[], Awaitable[object]], calls: int) -> Rate:
    """Of `calls` calls, made by CALLERS at the same time, each its next when one is answered."""
    left = iter(range(calls))

    async def caller() -> None:
        for _ in left:
            await call()

    began, cpu_before = time.perf_counter(), server.cpu_s
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    took_s, cpu_s = time.perf_counter() - began, server.cpu_s - cpu_before
    return Rate(calls / took_s, cpu_s / calls * 1e6)


async def create_rate(server: Server, calls: int) -> Rate:
    request = requests.create(requests.pictures("a", labels={"bench": "jobs"}))
    return await rate(server, lambda: server.stub.CreateJob(request), calls)
