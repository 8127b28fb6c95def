"""The fields of a job that filters and orders speak of, as plain values. Pure."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from apigpu.video.v1.job_pb2 import Job
from google.protobuf.timestamp_pb2 import Timestamp

# Times are seconds since 1970. None: not set.
Value = str | int | float | None


class Kind(Enum):
    """What values a field has, and so what may be asked of it."""

    STATE = "state"
    OPERATION = "operation"
    JOB = "job"
    NUMBER = "number"
    TIME = "time"


FIELDS = {
    "state": Kind.STATE,
    "operation": Kind.OPERATION,
    "retry_of": Kind.JOB,
    "priority": Kind.NUMBER,
    "create_time": Kind.TIME,
    "start_time": Kind.TIME,
    "end_time": Kind.TIME,
}
STATES = tuple(Job.State.keys()[1:])
OPERATIONS = tuple(field.name for field in Job.DESCRIPTOR.oneofs_by_name["operation"].fields)


def value(job: Job, field: str) -> Value:
    """What the job has in one of FIELDS. The store keeps the same in columns."""
    kind = FIELDS[field]
    if kind is Kind.OPERATION:
        return job.WhichOneof("operation")
    if kind is Kind.TIME:
        return seconds(getattr(job, field)) if job.HasField(field) else None  # type: ignore[arg-type]
    found: str | int = getattr(job, field)
    return found


def seconds(timestamp: Timestamp) -> float:
    """Since 1970."""
    return timestamp.ToNanoseconds() / 1e9


def seconds_of_text(text: str) -> float:
    """An RFC 3339 time, such as "2026-01-31T12:00:00Z". Raises ValueError."""
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError("a time needs its zone, like the Z in 2026-01-31T12:00:00Z")
    timestamp = Timestamp()
    timestamp.FromDatetime(when)
    return seconds(timestamp)
