"""When a job has waited or run for too long, and what it then fails with. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from apigpu.video.v1.job_pb2 import Job
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, status_pb2

from apigpu_common.errors import ServiceError


def deadline(job: Job) -> datetime | None:
    """When the job must have been begun (while it is QUEUED) or done (while it is RUNNING)."""
    if job.state == Job.QUEUED:
        return _after(job.create_time, job.queue_time_limit)
    if job.state == Job.RUNNING:
        return _after(job.start_time, job.run_time_limit)
    return None


def passed(job: Job, now: datetime) -> status_pb2.Status | None:
    """The error of a job whose deadline is over; None where it has none, or time left."""
    end = deadline(job)
    if end is None or now < end:
        return None
    if job.state == Job.QUEUED:
        limit_s = job.queue_time_limit.ToTimedelta().total_seconds()
        reason = "QUEUE_TIME_LIMIT"
        message = f"No worker had begun with it {limit_s:g} s after it was accepted."
    else:
        limit_s = job.run_time_limit.ToTimedelta().total_seconds()
        reason = "TIME_LIMIT"
        message = f"It was not done {limit_s:g} s after a worker had begun with it."
    error = ServiceError(
        code_pb2.DEADLINE_EXCEEDED, reason, message, metadata={"limit_s": f"{limit_s:g}"}
    )
    return error.to_status()


def _after(start: Timestamp, limit: Duration) -> datetime | None:
    if not limit.ToNanoseconds():
        return None
    return start.ToDatetime(UTC) + limit.ToTimedelta()
