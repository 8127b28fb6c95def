"""What telemetry costs: the same calls and jobs with it and without, in turns."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
from apigpu.video.v1 import job_pb2, operations_pb2
from apigpu.video.v1.job_pb2 import Job

from bench.common import PHOTO, Bar
from bench.jobs.servers import Server, create_rate, ours
from tests import otlp, requests, services
from tests.scripted_worker import ScriptedWorker, do_all

_ROUNDS, _CREATES, _SCRIPTED_JOBS, _REAL_JOBS = 7, 300, 40, 1
_QUIET = {"APIGPU_LOG_LEVEL": "WARNING", "APIGPU_WORKER_LOG_LEVEL": "WARNING"}


async def telemetry() -> tuple[list[Bar], dict[str, Any]]:
    """Traces and metrics of orchestrator and worker go to a receiver in this process."""
    facts: dict[str, Any] = {}
    async with otlp.collector() as receiver:
        on = receiver.environment()
        async with _pair(_real, on) as pair:
            facts["a real job"] = await _cpu_ms(pair, _real_job, _REAL_JOBS)
        async with _pair(_scripted, on) as pair:
            facts["a job without its encoding"] = await _cpu_ms(pair, _job, _SCRIPTED_JOBS)
        async with _pair(_scripted, on) as pair:
            facts["CreateJob"] = await _cpu_ms(pair, _create, 1)
        facts["spans received"] = len(receiver.spans)
    real = facts["a real job"]
    name = "telemetry on: CPU of a real job of 1 s of video, of that with it off"
    return [Bar(name, real["on, ms"] / real["off, ms"], 1.03)], facts


async def _cpu_ms(
    pair: tuple[Server, Server], work: Callable[[Server], Awaitable[int]], times: int
) -> dict[str, float]:
    """Of one piece of work, the least of the rounds: neighbours on the machine can only add to it.
    The first round warms up."""
    found: list[list[float]] = [[], []]
    for _ in range(_ROUNDS + 1):
        for server, values in zip(pair, found, strict=True):
            before = _tree_cpu_s(server.process)
            done = sum([await work(server) for _ in range(times)])
            values.append((_tree_cpu_s(server.process) - before) / done * 1000)
    off, on = (min(values[1:]) for values in found)
    return {"off, ms": off, "on, ms": on}


def _tree_cpu_s(process: psutil.Process) -> float:
    """Of the orchestrator, its worker, and the programs that the worker has run."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


@asynccontextmanager
async def _pair(
    start: Callable[..., Any], environment: dict[str, str]
) -> AsyncIterator[tuple[Server, Server]]:
    """A service without telemetry and one with it, at the same time."""
    with tempfile.TemporaryDirectory() as off_dir, tempfile.TemporaryDirectory() as on_dir:
        async with start(Path(off_dir)) as off, start(Path(on_dir), **environment) as on:
            yield off, on


@asynccontextmanager
async def _scripted(data_dir: Path, **environment: str) -> AsyncIterator[Server]:
    async with ours(ScriptedWorker(do_all), data_dir, **environment) as server:
        yield server


@asynccontextmanager
async def _real(data_dir: Path, **environment: str) -> AsyncIterator[Server]:
    """With a worker of its own, as `make serve` starts it."""
    async with (
        services.process(data_dir, **_QUIET, **environment) as process,
        services.connect(process.address) as stub,
    ):
        yield Server(process.address, stub, psutil.Process(process.pid))


async def _real_job(server: Server) -> int:
    """A photograph of which a second of video is made."""
    photo = await server.stub.UploadFile(requests.chunks(PHOTO.name, PHOTO.read_bytes()))
    image = operations_pb2.Image(
        id="a",
        image=operations_pb2.MediaSource(file=photo.name),
        duration=requests.seconds(1),
    )
    spec = job_pb2.Job(images_to_videos=operations_pb2.ImagesToVideos(images=[image]))
    return await _finish(server, spec)


async def _job(server: Server) -> int:
    return await _finish(server, requests.pictures("a"))


async def _finish(server: Server, spec: Job) -> int:
    done = await requests.finished(server.stub.RunJob(requests.run(spec)))
    assert done.state == Job.SUCCEEDED, done.error.message
    return 1


async def _create(server: Server) -> int:
    await create_rate(server, _CREATES)
    return _CREATES
