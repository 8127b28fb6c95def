"""The baseline: a bare grpc.aio server with the calls that are measured, and nothing behind them.

Its jobs are not stored and nobody works on them. CancelJob tells all watchers one event.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.job_pb2 import Job, JobEvent
from apigpu.video.v1.video_service_pb2_grpc import (
    VideoServiceServicer,
    add_VideoServiceServicer_to_server,
)


class Bare(VideoServiceServicer):
    def __init__(self) -> None:
        self._event = JobEvent(job="jobs/bare", sequence=1, state=Job.RUNNING)
        self._told = asyncio.Event()

    async def CreateJob(self, request: video_service_pb2.CreateJobRequest, context: Any) -> Job:
        request.job.name = "jobs/bare"
        return request.job

    async def CancelJob(self, request: video_service_pb2.CancelJobRequest, context: Any) -> Job:
        self._event = JobEvent(
            job="jobs/bare", sequence=self._event.sequence + 1, state=Job.RUNNING
        )
        told, self._told = self._told, asyncio.Event()
        told.set()
        return Job()

    async def WatchJob(
        self, request: video_service_pb2.WatchJobRequest, context: Any
    ) -> AsyncIterator[JobEvent]:
        while True:
            told = self._told
            yield self._event
            await told.wait()


async def main() -> None:
    server = grpc.aio.server()
    add_VideoServiceServicer_to_server(Bare(), server)  # type: ignore[abstract]  # the rest is refused
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"ready 127.0.0.1:{port} -", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
