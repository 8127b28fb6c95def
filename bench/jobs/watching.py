"""Many watchers: told an event, or waiting for one; and how long an event is on its way."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from apigpu.video.v1 import job_pb2, video_service_pb2
from apigpu.worker.v1 import worker_service_pb2 as worker

from bench.common import Bar
from bench.jobs.servers import Server, bare, ours
from tests import requests
from tests.scripted_worker import ScriptedWorker, Sender

WATCHERS, IDLE_WATCHERS = 1000, 10_000
_ROUNDS = 15
_GROUP = 250
_STREAMS_A_CHANNEL = 1000  # the service allows 1024
_TIMEOUT_S = 60
# The service stores an attempt's progress at most every 0.2 s: sooner would measure that.
_PAUSE_S = 0.25
_EVENTS_PER_S, _EVENTS = 200, 2000
_WATCH = "/apigpu.video.v1.VideoService/WatchJob"
# Else channels to one address share a connection.
_OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


class Crowd:
    """Watchers of one job. They count what they are told, and do not look at it."""

    def __init__(self) -> None:
        self.told = 0
        self._changed = asyncio.Event()
        self._watchers: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def watching(
        self, server: Server, job: str, count: int, stored: int
    ) -> AsyncIterator[None]:
        """Until each has been told the `stored` events. They come in groups: thousands of calls
        that begin in one moment measure the client."""
        request = video_service_pb2.WatchJobRequest(name=job)
        async with AsyncExitStack() as stack:
            for begin in range(0, count, _GROUP):
                if begin % _STREAMS_A_CHANNEL == 0:
                    channel = grpc.aio.insecure_channel(server.address, options=_OWN_CONNECTION)
                    await stack.enter_async_context(channel)
                    watch: Any = channel.unary_stream(
                        _WATCH, video_service_pb2.WatchJobRequest.SerializeToString
                    )
                self._watchers += [
                    asyncio.create_task(self._watch(watch(request))) for _ in range(_GROUP)
                ]
                await self.reach(len(self._watchers) * stored)
            try:
                yield
            finally:
                for watcher in self._watchers:
                    watcher.cancel()
                await asyncio.wait(self._watchers)

    async def _watch(self, call: Any) -> None:
        async for _ in call:
            self.told += 1
            self._changed.set()

    async def reach(self, told: int) -> None:
        async with asyncio.timeout(_TIMEOUT_S):
            while self.told < told:
                self._changed.clear()
                await self._changed.wait()


class Stage:
    """A worker whose tasks do what we say, when we say it."""

    def __init__(self, slots: int) -> None:
        self.worker = ScriptedWorker(self._play)
        self.worker.slots = slots
        self._senders: dict[str, Sender] = {}
        self._told = 0

    async def _play(self, task: worker.Task, sender: Sender) -> None:
        self._senders[task.job] = sender
        sender.start()
        self.progress(task.job)
        await asyncio.Event().wait()

    def progress(self, job: str) -> int:
        """One event of the worker's, with a number of its own in frames_done."""
        self._told += 1
        sender = self._senders[job]
        progress = job_pb2.Progress(
            stage=job_pb2.STAGE_ENCODING, percent=self._told / 1000, frames_done=self._told
        )
        sender.send(progress=worker.ItemProgress(item_id="a", progress=progress))
        return self._told

    async def running_job(self, server: Server) -> job_pb2.Job:
        """A new one, whose first progress has been told."""
        job = await server.stub.CreateJob(requests.create(requests.pictures("a")))
        async with asyncio.timeout(_TIMEOUT_S):
            async for event in server.stub.WatchJob(requests.watch(job)):
                if event.progress.frames_done:
                    break
        return await server.stub.GetJob(video_service_pb2.GetJobRequest(name=job.name))


async def _fan_out_s(
    server: Server, job: str, stored: int, tell: Callable[[], Awaitable[object]]
) -> float:
    """From an event to the last of its watchers; the middle of several. stored: events that
    each is told first."""
    crowd, took_s = Crowd(), []
    async with crowd.watching(server, job, WATCHERS, stored):
        for number in range(_ROUNDS):
            await asyncio.sleep(_PAUSE_S)
            began = time.perf_counter()
            await tell()
            await crowd.reach(WATCHERS * (stored + number + 1))
            took_s.append(time.perf_counter() - began)
        assert crowd.told == WATCHERS * (stored + _ROUNDS), "more was told than was asked for"
    return statistics.median(took_s)


async def fan_out() -> tuple[list[Bar], dict[str, Any]]:
    stage = Stage(2)
    with tempfile.TemporaryDirectory() as folder:
        async with ours(stage.worker, Path(folder)) as server, bare() as baseline:
            job = await stage.running_job(server)

            async def progress() -> None:
                stage.progress(job.name)

            async def cancel() -> None:
                await baseline.stub.CancelJob(video_service_pb2.CancelJobRequest(name=job.name))

            pairs = []
            for _ in range(3):  # they take turns
                at = await server.stub.GetJob(video_service_pb2.GetJobRequest(name=job.name))
                theirs_s = await _fan_out_s(baseline, job.name, 1, cancel)
                ours_s = await _fan_out_s(server, job.name, at.last_sequence, progress)
                pairs.append((ours_s, theirs_s))
    ours_s, theirs_s = (statistics.median(each) for each in zip(*pairs, strict=True))
    name = f"one event to {WATCHERS} watchers: rate, of a bare server's"
    return [Bar(name, theirs_s / ours_s, 0.5, at_least=True)], {
        "ours, deliveries/s": WATCHERS / ours_s,
        "bare, deliveries/s": WATCHERS / theirs_s,
    }


async def _stream_bytes(server: Server, job: str, stored: int) -> float:
    crowd, before = Crowd(), server.memory_bytes
    async with crowd.watching(server, job, IDLE_WATCHERS, stored):
        await asyncio.sleep(1)
        return (server.memory_bytes - before) / IDLE_WATCHERS


async def idle() -> tuple[list[Bar], dict[str, Any]]:
    """Many streams on few connections: each side needs a dozen descriptors, not 10,000."""
    stage = Stage(2)
    with tempfile.TemporaryDirectory() as folder:
        async with bare() as baseline:
            theirs = await _stream_bytes(baseline, "jobs/bare", 1)
        async with ours(stage.worker, Path(folder)) as server:
            job = await stage.running_job(server)
            mine = await _stream_bytes(server, job.name, job.last_sequence)
    name = f"{IDLE_WATCHERS} idle watchers: KiB each beyond a bare stream"
    return [Bar(name, (mine - theirs) / 1024, 50)], {
        "ours, KiB": mine / 1024,
        "bare, KiB": theirs / 1024,
    }


async def latency() -> tuple[list[Bar], dict[str, Any]]:
    """Of as many jobs as it takes, each of which tells an event every 0.25 s."""
    jobs = int(_EVENTS_PER_S * _PAUSE_S)
    stage, sent, took_s = Stage(jobs), dict[int, float](), dict[int, float]()

    async def watch(server: Server, job: job_pb2.Job) -> None:
        async for event in server.stub.WatchJob(requests.watch(job, job.last_sequence)):
            number = event.progress.frames_done
            if number in sent:
                took_s.setdefault(number, time.perf_counter() - sent[number])

    with tempfile.TemporaryDirectory() as folder:
        async with ours(stage.worker, Path(folder)) as server:
            running = await asyncio.gather(*(stage.running_job(server) for _ in range(jobs)))
            watchers = [asyncio.create_task(watch(server, job)) for job in running]
            await asyncio.sleep(1)
            began = time.perf_counter()
            for number in range(_EVENTS):
                at = began + number / _EVENTS_PER_S
                await asyncio.sleep(max(0, at - time.perf_counter()))
                now = time.perf_counter()
                sent[stage.progress(running[number % jobs].name)] = now
            sending_s = time.perf_counter() - began
            await asyncio.sleep(1)
            for watcher in watchers:
                watcher.cancel()
            await asyncio.wait(watchers)
    ms = np.array(sorted(took_s.values())) * 1000
    # One that is folded into the next by the service has not come by itself: it must be rare.
    return [
        Bar(
            f"worker to client at {_EVENTS_PER_S} events/s: p99, ms",
            float(np.percentile(ms, 99)),
            50,
        ),
        Bar("the same: part of the events that came each by itself", len(ms) / _EVENTS, 0.95, True),
    ], {
        "events/s sent": _EVENTS / sending_s,
        "p50, ms": float(np.percentile(ms, 50)),
        "ms": [round(float(each), 2) for each in ms],
    }
