"""What the engine may ask of whoever does the work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.job_pb2 import Attempt
from apigpu.worker.v1 import worker_service_pb2

from orchestrator.jobs.sharding import Fleet


class Dispatcher(Protocol):
    """Has tasks done, somewhere.

    name: how GetServerInfo calls it.
    shares_disk: whether its workers can use this machine's paths.
    outlives_us: whether a task goes on while nobody follows it, to be taken up again.
    """

    name: str
    shares_disk: bool
    outlives_us: bool

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def capacity(self) -> int:
        """How many tasks it can do at the same time, now. 0 while no worker answers."""
        ...

    def execute(
        self, task: worker_service_pb2.Task, attempt: Attempt
    ) -> AsyncIterator[worker_service_pb2.TaskEvent | Attempt]:
        """Do the task; yields its events, `finished` last, and what becomes known of the
        attempt, as an Attempt with just that.

        attempt: what is on the record; where it has a remote_id it is followed, not begun.
        Closing the iterator stops the task, unless the backend `outlives_us`.
        Raises ServiceError: retryable where another attempt may succeed.
        """
        ...

    async def cancel(self, attempt: Attempt) -> None:
        """Stop an attempt that nobody follows any more."""
        ...

    def fleet(self) -> Fleet:
        """The workers that a new job can count on, by what is known of them."""
        ...

    def price_micros_per_second(self, gpu: str) -> int | None:
        """What a second of a worker with this GPU costs. None where nobody is paid for it."""
        ...

    async def status(self) -> video_service_pb2.BackendStatus:
        """How busy it is and how it is set up. What is wrong with it is told, not raised."""
        ...

    async def workers(self) -> Sequence[video_service_pb2.WorkerInfo]:
        """The workers that answer now."""
        ...
