"""Requests that tests make again and again."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable
from typing import Any

import grpc
import pytest
from apigpu.video.v1 import job_pb2, operations_pb2, video_service_pb2
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status


def source(uri: str = "https://media.example/picture.jpg") -> operations_pb2.MediaSource:
    return operations_pb2.MediaSource(uri=uri)


def seconds(value: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromMilliseconds(round(value * 1000))
    return duration


def pictures(
    *ids: str, duration_s: float = 1.0, labels: dict[str, str] | None = None
) -> job_pb2.Job:
    """A batch of pictures by URL."""
    images = [operations_pb2.Image(id=i, image=source(), duration=seconds(duration_s)) for i in ids]
    return job_pb2.Job(
        images_to_videos=operations_pb2.ImagesToVideos(images=images), labels=labels or {}
    )


def run(job: job_pb2.Job, request_id: str = "") -> video_service_pb2.RunJobRequest:
    return video_service_pb2.RunJobRequest(job=job, request_id=request_id)


def create(job: job_pb2.Job, request_id: str = "") -> video_service_pb2.CreateJobRequest:
    return video_service_pb2.CreateJobRequest(job=job, request_id=request_id)


def watch(job: job_pb2.Job, after: int = 0) -> video_service_pb2.WatchJobRequest:
    return video_service_pb2.WatchJobRequest(name=job.name, after_sequence=after)


async def collect(events: AsyncIterable[job_pb2.JobEvent]) -> list[job_pb2.JobEvent]:
    """All events of a stream; checks what holds for every stream of events."""
    collected: list[job_pb2.JobEvent] = []
    async for event in events:
        if event.HasField("heartbeat"):
            continue
        if collected:
            expected = collected[-1].sequence + 1 + event.skipped
            assert event.sequence == expected, "a gap or a repetition"
            assert event.progress.percent >= collected[-1].progress.percent, "progress fell"
        assert 0 <= event.progress.percent <= 100
        collected.append(event)
    assert collected[-1].HasField("finished"), "the stream ended without its terminal event"
    return collected


async def finished(events: AsyncIterable[job_pb2.JobEvent]) -> job_pb2.Job:
    return (await collect(events))[-1].finished


async def chunks(
    filename: str, body: bytes, **header: Any
) -> AsyncIterator[video_service_pb2.UploadFileRequest]:
    """The messages of an upload."""
    yield video_service_pb2.UploadFileRequest(
        header=video_service_pb2.UploadFileHeader(filename=filename, **header)
    )
    for start in range(0, len(body), 65536):
        yield video_service_pb2.UploadFileRequest(chunk=body[start : start + 65536])


class Refusal:
    """What a refused call told: status code, stable reason, blamed fields, message."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code()
        self.message = error.details() or ""
        self.reason = ""
        self.fields: list[str] = []
        self.retry_delay_s = 0.0
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
        for detail in status.details if status else ():
            self._read(detail)

    def _read(self, detail: Any) -> None:
        info, bad, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        if detail.Unpack(info):
            self.reason = info.reason
        elif detail.Unpack(bad):
            self.fields = [violation.field for violation in bad.field_violations]
        elif detail.Unpack(retry):
            self.retry_delay_s = retry.retry_delay.ToTimedelta().total_seconds()


async def refusal_of(call: Awaitable[object]) -> Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return Refusal(refused.value)


async def refusal_of_raw(
    channel: grpc.aio.Channel, method: str, body: bytes = b"", *metadata: tuple[str, str]
) -> Refusal:
    """Call with raw bytes, whatever kind of method it is: a refusal looks the same."""
    call: Any = channel.unary_unary(method)
    return await refusal_of(call(body, metadata=metadata))


def reason_of(status: Any) -> str:
    """The stable reason in a google.rpc.Status."""
    info = error_details_pb2.ErrorInfo()
    return next((info.reason for detail in status.details if detail.Unpack(info)), "")


def blamed_by(status: Any) -> list[str]:
    """The fields that a google.rpc.Status blames."""
    bad = error_details_pb2.BadRequest()
    return [
        violation.field
        for detail in status.details
        if detail.Unpack(bad)
        for violation in bad.field_violations
    ]
