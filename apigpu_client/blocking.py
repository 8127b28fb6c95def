"""The service without asyncio, for scripts and notebooks: run a job, follow a job."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

import grpc
from apigpu.video.v1 import video_service_pb2 as rpc
from apigpu.video.v1.job_pb2 import Job, JobEvent
from apigpu.video.v1.video_service_pb2_grpc import VideoServiceStub

from apigpu_client import channel
from apigpu_client.errors import from_rpc_error
from apigpu_client.hearing import heard_blocking, heartbeat_interval
from apigpu_client.resume import CUT, Position


def connect(
    target: str = channel.DEFAULT_TARGET, *, api_key: str = "", tls: channel.Tls | None = None
) -> grpc.Channel:
    """A channel with the contract's service config; close it, or use it in `with`."""
    return channel.open_blocking(target, api_key, tls)


def run_job(connection: grpc.Channel, job: Job, request_id: str = "") -> Iterator[JobEvent]:
    """Have `job` done; yields its events up to `finished`, each once, through any cut.

    Raises ApiGpuError, StreamLost among its children.
    """
    request = rpc.CreateJobRequest(job=job, request_id=request_id or str(uuid.uuid4()))
    try:
        created = VideoServiceStub(connection).CreateJob(request)
    except grpc.RpcError as error:
        raise from_rpc_error(error) from None
    yield from watch_job(connection, created.name)


def watch_job(
    connection: grpc.Channel,
    name: str,
    after_sequence: int = 0,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[JobEvent]:
    """The events of a job after `after_sequence`, up to `finished`.

    pause: how to wait before the next try, in seconds.
    """
    stub = VideoServiceStub(connection)
    position = Position(name, after_sequence)
    while not position.finished:
        request = rpc.WatchJobRequest(
            name=name,
            after_sequence=position.sequence,
            heartbeat_interval=heartbeat_interval(),
        )
        try:
            for event in heard_blocking(stub.WatchJob(request)):
                if position.accept(event):
                    yield event
        except grpc.RpcError as error:
            if error.code() not in CUT:
                raise from_rpc_error(error) from None
        if not position.finished:
            pause(position.pause_s())
