"""What the engine may ask of whoever does the work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from apigpu.video.v1 import video_service_pb2
from apigpu.worker.v1 import worker_service_pb2


class Dispatcher(Protocol):
    """Has tasks done, somewhere.

    name: how GetServerInfo calls it.
    shares_disk: whether its workers can use this machine's paths.
    """

    name: str
    shares_disk: bool

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def capacity(self) -> int:
        """How many tasks it can do at the same time, now. 0 while no worker answers."""
        ...

    def execute(self, task: worker_service_pb2.Task) -> AsyncIterator[worker_service_pb2.TaskEvent]:
        """Do the task; yields its events, `finished` last. Closing the iterator stops it.

        Raises ServiceError: retryable where another attempt may succeed.
        """
        ...

    async def workers(self) -> Sequence[video_service_pb2.WorkerInfo]:
        """The workers that answer now."""
        ...
