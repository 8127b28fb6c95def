"""The blocking face: a synchronous stub's stream is cut exactly where the test says.

grpc_testing plays the server side of each call step by step, which no real network would.
"""

from __future__ import annotations

import queue
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc_testing
import pytest
from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.job_pb2 import Job, JobEvent

from apigpu_client.blocking import watch_job
from apigpu_client.errors import NotFound

SERVICE = video_service_pb2.DESCRIPTOR.services_by_name["VideoService"]
WATCH = SERVICE.methods_by_name["WatchJob"]
TIMEOUT_S = 20


def event(sequence: int, *, last: bool = False) -> JobEvent:
    told = JobEvent(job="jobs/1", sequence=sequence)
    if last:
        told.finished.state = Job.SUCCEEDED
    return told


class Following:
    """`watch_job` in a thread of its own; what it yields can be waited for."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._channel: Any = grpc_testing.channel([SERVICE], grpc_testing.strict_real_time())
        self.told: queue.Queue[JobEvent] = queue.Queue()
        self.done = pool.submit(self._follow)

    def _follow(self) -> None:
        for each in watch_job(self._channel, "jobs/1", pause=lambda _: None):
            self.told.put(each)

    def serve(self, events: list[JobEvent], news: list[int], code: grpc.StatusCode) -> int:
        """Play the server of the next WatchJob call: send `events`, wait until those that
        are `news` have come through, end with `code`. Returns what was asked for."""
        _, request, rpc = self._channel.take_unary_stream(WATCH)
        rpc.send_initial_metadata(())
        for each in events:
            rpc.send_response(each)
        assert [self.told.get(timeout=TIMEOUT_S).sequence for _ in news] == news
        rpc.terminate((), code, "")
        return int(request.after_sequence)


def test_a_cut_stream_goes_on_behind_the_last_event() -> None:
    with ThreadPoolExecutor(1) as pool:
        following = Following(pool)
        asked = [
            following.serve([event(1), event(2)], [1, 2], grpc.StatusCode.UNAVAILABLE),
            following.serve([event(2), event(3)], [3], grpc.StatusCode.OK),
            following.serve([event(4), event(5, last=True)], [4, 5], grpc.StatusCode.OK),
        ]
        following.done.result(TIMEOUT_S)
    assert asked == [0, 2, 3]
    assert following.told.empty()


def test_an_error_that_no_retry_can_cure_is_raised() -> None:
    with ThreadPoolExecutor(1) as pool:
        following = Following(pool)
        following.serve([], [], grpc.StatusCode.NOT_FOUND)
        with pytest.raises(NotFound):
            following.done.result(TIMEOUT_S)
