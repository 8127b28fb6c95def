"""How much is told of a job where many are. Pure."""

from __future__ import annotations

from apigpu.video.v1.job_pb2 import Job

_LARGE = ("items", "attempts")


def basic(job: Job) -> Job:
    """A copy that is small however many items the job has: which operation, but not what."""
    operation = job.WhichOneof("operation") or ""
    small = Job()
    for field, value in job.ListFields():
        if field.name in _LARGE:
            continue
        if field.name == operation:
            getattr(small, operation).SetInParent()
        elif field.message_type is None:
            setattr(small, field.name, value)
        elif field.is_repeated:
            getattr(small, field.name).MergeFrom(value)
        else:
            getattr(small, field.name).CopyFrom(value)
    return small


def full(job: Job) -> Job:
    return job
