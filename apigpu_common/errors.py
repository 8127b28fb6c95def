"""Errors by design: every failure that a caller may see has a status code, a stable reason,
who is to blame, and whether another try can help. Becomes google.rpc.Status on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

DOMAIN = "apigpu.dev"


class ServiceError(Exception):
    """A failure that is told to the caller as it stands here.

    code: a google.rpc.Code value.
    reason: UPPER_SNAKE_CASE, stable, for programs.
    message: a sentence for people: what is wrong and what to do.
    field: path of the request field to blame, like "job.add_audio.video".
    retryable: whether the same work may succeed in another attempt.
    retry_after_s: when a caller may try again (RetryInfo).
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        field: str = "",
        retryable: bool = False,
        retry_after_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.field = field
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.metadata = dict(metadata or {})

    def blaming(self, field: str) -> Self:
        """The same error, with the request field that led to it."""
        # Not by copy.copy: it would call the constructor with the message alone.
        blamed = type(self).__new__(type(self), *self.args)
        blamed.__dict__.update(self.__dict__)
        blamed.field = field
        return blamed

    def to_status(self) -> status_pb2.Status:
        """This error as google.rpc.Status, each kind of detail once (AIP-193)."""
        metadata = {**self.metadata, "retryable": str(self.retryable).lower()}
        status = status_pb2.Status(code=self.code, message=self.message)
        status.details.add().Pack(
            error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=metadata)
        )
        if self.field:
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=self.field, description=self.message, reason=self.reason
            )
            status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        if self.retry_after_s is not None:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(int(self.retry_after_s * 1000))
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        return status


class InvalidInput(ServiceError):
    """The caller's request or media is to blame; the same input will fail again."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        field: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code_pb2.INVALID_ARGUMENT, reason, message, field=field, metadata=metadata)


class NotFound(ServiceError):
    """What was named is not there (or not the caller's)."""

    def __init__(self, reason: str, message: str, *, field: str = "") -> None:
        super().__init__(code_pb2.NOT_FOUND, reason, message, field=field)


class PreconditionFailed(ServiceError):
    """The request is well-formed, but not possible in the present state."""

    def __init__(self, reason: str, message: str, *, field: str = "") -> None:
        super().__init__(code_pb2.FAILED_PRECONDITION, reason, message, field=field)


class Unavailable(ServiceError):
    """Something that the work needs is away for the moment; another try can help."""

    def __init__(self, reason: str, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(
            code_pb2.UNAVAILABLE, reason, message, retryable=True, retry_after_s=retry_after_s
        )


class InternalError(ServiceError):
    """Ours to blame. The message is safe to show; the cause stands in the log."""

    def __init__(self, reason: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(code_pb2.INTERNAL, reason, message, retryable=retryable)


class QuotaExceeded(ServiceError):
    """More was asked for than a caller, or the service, may take at the moment.

    subject: what is counted, like "key 3f2a" or "disk".
    """

    def __init__(self, reason: str, message: str, *, subject: str, retry_after_s: float) -> None:
        super().__init__(
            code_pb2.RESOURCE_EXHAUSTED,
            reason,
            message,
            retryable=True,
            retry_after_s=retry_after_s,
            metadata={"subject": subject},
        )

    def to_status(self) -> status_pb2.Status:
        status = super().to_status()
        violation = error_details_pb2.QuotaFailure.Violation(
            subject=self.metadata["subject"], description=self.message
        )
        status.details.add().Pack(error_details_pb2.QuotaFailure(violations=[violation]))
        return status


def is_retryable(status: status_pb2.Status) -> bool:
    """Whether another attempt may cure the failure that `status` tells of."""
    return bool(_info(status).metadata.get("retryable") == "true")


def reason_of(status: status_pb2.Status) -> str:
    """The stable reason in a status; empty where there is none."""
    return str(_info(status).reason)


def _info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    """Empty where the status has none."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            break
    return info
