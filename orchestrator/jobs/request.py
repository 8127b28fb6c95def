"""What callers may ask of a job, apart from what the service tells of it. Pure."""

from __future__ import annotations

import hashlib

from apigpu.video.v1.job_pb2 import Job
from google.protobuf.duration_pb2 import Duration

DEFAULT_PRIORITY = 50


def asked(spec: Job) -> Job:
    """The part of `spec` that a caller decides; whatever else it says is dropped."""
    job = Job(labels=spec.labels)
    operation = spec.WhichOneof("operation")
    assert operation is not None  # a rule of the contract
    getattr(job, operation).CopyFrom(getattr(spec, operation))
    if spec.HasField("priority"):
        job.priority = spec.priority
    if spec.HasField("max_cost_micros"):
        job.max_cost_micros = spec.max_cost_micros
    if spec.HasField("webhook"):
        job.webhook.CopyFrom(spec.webhook)
    for limit in ("queue_time_limit", "run_time_limit"):
        if spec.HasField(limit):
            getattr(job, limit).CopyFrom(getattr(spec, limit))
    return job


def fingerprint(spec: Job) -> bytes:
    """Equal for requests that ask for the same."""
    return hashlib.sha256(asked(spec).SerializeToString(deterministic=True)).digest()


def with_defaults(spec: Job, queue_limit_s: float, run_limit_s: float) -> Job:
    """What is asked for, with everything said that the caller left to the service."""
    job = asked(spec)
    if not job.HasField("priority"):
        job.priority = DEFAULT_PRIORITY
    for limit, seconds in (
        (job.queue_time_limit, queue_limit_s),
        (job.run_time_limit, run_limit_s),
    ):
        if not limit.ToNanoseconds():
            limit.CopyFrom(_duration(seconds))
    return job


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(round(seconds * 1000))
    return duration
