"""What can go wrong, as a caller would sort it: google.rpc.Status details, parsed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from apigpu.video.v1.job_pb2 import Job
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status


@dataclass(frozen=True)
class FieldViolation:
    """A field of the request that is to blame, for example "job.caption.video"."""

    field: str
    description: str


@dataclass(frozen=True)
class ErrorDetails:
    """What a google.rpc.Status says beyond its message.

    reason: stable, for programs. retry_delay_s: when to try again, or None.
    """

    reason: str = ""
    violations: Sequence[FieldViolation] = ()
    retry_delay_s: float | None = None


class ApiGpuError(Exception):
    """A call failed. code: its gRPC status."""

    def __init__(self, code: grpc.StatusCode, message: str, details: ErrorDetails) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


class InvalidRequest(ApiGpuError):
    """The request makes no sense; `details.violations` says where."""


class NotFound(ApiGpuError):
    """There is no such job or file."""


class NotAllowed(ApiGpuError):
    """The API key is missing, wrong, or not for this."""


class LimitReached(ApiGpuError):
    """More than the service gives at the moment; `details.retry_delay_s` says when to return."""


class Unavailable(ApiGpuError):
    """The service cannot be reached, or not now."""


class StreamLost(Unavailable):
    """A job's events broke off, and could not be picked up again in time. The job goes on."""


class TransferFailed(ApiGpuError):
    """A file did not arrive as it was sent."""


class JobFailed(ApiGpuError):
    """A job has ended without all of its outputs; `job` tells of each item."""

    def __init__(self, job: Job) -> None:
        code = _CODES.get(job.error.code, grpc.StatusCode.UNKNOWN)
        message = job.error.message or f"{job.name} ended {Job.State.Name(job.state)}"
        super().__init__(code, message, details_of(job.error))
        self.job = job


_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
_BY_CODE: dict[grpc.StatusCode, type[ApiGpuError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.UNAUTHENTICATED: NotAllowed,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowed,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitReached,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: Unavailable,
}


def details_of(status: status_pb2.Status) -> ErrorDetails:
    """The details of a Status, such as the `error` of a job or an item."""
    reason, violations, delay_s = "", list[FieldViolation](), None
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad):
            violations = [FieldViolation(v.field, v.description) for v in bad.field_violations]
        elif detail.Unpack(retry):
            delay_s = retry.retry_delay.ToTimedelta().total_seconds()
    return ErrorDetails(reason, tuple(violations), delay_s)


def from_rpc_error(error: grpc.RpcError) -> ApiGpuError:
    """The typed error for a failed call, of either of gRPC's Python faces."""
    code: grpc.StatusCode = error.code()
    message: str = error.details() or code.name
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
    except ValueError:  # details that contradict the status: keep the status
        status = None
    details = details_of(status) if status is not None else ErrorDetails()
    return _BY_CODE.get(code, ApiGpuError)(code, message, details)
