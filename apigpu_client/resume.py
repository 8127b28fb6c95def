"""When a stream of events was cut: what to drop, where to go on, how long to keep trying."""

from __future__ import annotations

import random

import grpc
from apigpu.video.v1.job_pb2 import JobEvent

from apigpu_client.errors import ErrorDetails, StreamLost

# Statuses that a cut connection or a restarting service ends a stream with.
CUT = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,  # a reset HTTP/2 stream
        grpc.StatusCode.UNKNOWN,  # a proxy that died
        grpc.StatusCode.CANCELLED,  # not by us: a proxy that let go
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


class Patience:
    """How long to wait between streams, and when to give up."""

    def __init__(self, max_failures: int = 12, max_pause_s: float = 15) -> None:
        self._max_failures = max_failures
        self._max_pause_s = max_pause_s
        self._failures = 0

    def restore(self) -> None:
        """The service has said something: whatever comes is no failure in a row any more."""
        self._failures = 0

    def pause_s(self, lost: str) -> float:
        """How long to wait before the next stream. Raises StreamLost with the message `lost`
        after too many in a row that brought nothing."""
        self._failures += 1
        if self._failures > self._max_failures:
            raise StreamLost(
                grpc.StatusCode.UNAVAILABLE,
                lost,
                ErrorDetails(reason="STREAM_LOST"),
            )
        full_s = min(0.2 * 2.0 ** (self._failures - 1), self._max_pause_s)
        return full_s * (0.5 + 0.5 * random.random())  # noqa: S311  not a secret


class Position:
    """Where a client is in a job's story, through any number of streams.

    A stream that ends in silence was cut as well: only `finished` ends a story.
    """

    def __init__(self, job: str, after_sequence: int, patience: Patience | None = None) -> None:
        self.job = job
        self.sequence = after_sequence
        self.finished = False
        self._patience = patience or Patience()

    def accept(self, event: JobEvent) -> bool:
        """Whether `event` is news. The terminal one always is."""
        if event.HasField("heartbeat"):
            self._patience.restore()  # nothing new, but the service is there
            return False
        if event.HasField("finished"):
            self.finished = True
        elif event.sequence <= self.sequence:
            return False
        self._patience.restore()  # a stream of repetitions would lead nowhere
        self.sequence = max(self.sequence, event.sequence)
        return True

    def pause_s(self) -> float:
        """How long to wait before the next stream. Raises StreamLost after too many."""
        return self._patience.pause_s(
            f"The events of {self.job} broke off after number {self.sequence}."
            " The job itself goes on: watch it again later."
        )
