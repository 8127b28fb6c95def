"""What attempts have taken and cost, and what of a job's budget is left. Pure.

Paid is a worker's start where it was for the attempt, and the time that it was at it. A job whose
attempts break pays for them as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from apigpu.video.v1.job_pb2 import Attempt, Job, JobStats
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def settle(attempt: Attempt) -> None:
    """Fill in what follows from an attempt's end: times that nobody told, and its cost."""
    if attempt.HasField("start_time"):
        if not attempt.HasField("queue_time"):
            _between(attempt.create_time, attempt.start_time, attempt.queue_time)
        if not attempt.HasField("execution_time"):
            _between(attempt.start_time, attempt.end_time, attempt.execution_time)
    if attempt.HasField("price_micros_per_second"):
        attempt.cost_micros = _cost_micros(attempt, _s(attempt.execution_time))


def of(job: Job) -> JobStats:
    """All attempts of a job taken together, and its outputs."""
    attempts = list(job.attempts)
    broken = [attempt for attempt in attempts if attempt.HasField("error")]
    stats = JobStats(attempts=len(attempts))
    _longest(attempts, "queue_time", stats)
    _longest(attempts, "cold_start_time", stats)
    if any(attempt.HasField("execution_time") for attempt in attempts):
        stats.execution_time.FromNanoseconds(_sum_ns(attempts))
        stats.wasted_time.FromNanoseconds(_sum_ns(broken))
    if any(attempt.HasField("cost_micros") for attempt in attempts):
        stats.cost_micros = sum(attempt.cost_micros for attempt in attempts)
        stats.wasted_cost_micros = sum(attempt.cost_micros for attempt in broken)
    stats.worker_ids.extend(dict.fromkeys(a.worker_id for a in attempts if a.worker_id))
    stats.gpus.extend(dict.fromkeys(a.gpu for a in attempts if a.gpu))
    for item in job.items:
        made_here = item.HasField("output") and not item.carried_over
        if made_here and item.output.encoder not in stats.encoders:
            stats.encoders.add().CopyFrom(item.output.encoder)
    return stats


def spent_micros(job: Job, now: datetime) -> int:
    """What the job has cost up to now, open attempts included."""
    return sum(
        attempt.cost_micros
        if attempt.HasField("cost_micros")
        else _cost_micros(attempt, _running_s(attempt, now))
        for attempt in job.attempts
    )


def budget_left_s(job: Job, now: datetime) -> float | None:
    """How long the job's budget lasts if all goes on as it does now: 0 where it is spent, None
    where it lasts for ever."""
    if not job.HasField("max_cost_micros"):
        return None
    left_micros = job.max_cost_micros - spent_micros(job, now)
    if left_micros <= 0:
        return 0.0
    burning = sum(a.price_micros_per_second for a in job.attempts if _runs(a))
    return left_micros / burning if burning else None


def _cost_micros(attempt: Attempt, worked_s: float) -> int:
    paid_s = _s(attempt.cold_start_time) + worked_s
    return round(attempt.price_micros_per_second * paid_s)


def _runs(attempt: Attempt) -> bool:
    """Whether a worker is at it."""
    return attempt.HasField("start_time") and not attempt.HasField("end_time")


def _running_s(attempt: Attempt, now: datetime) -> float:
    if not _runs(attempt):
        return 0.0
    return max(0.0, now.timestamp() - attempt.start_time.ToNanoseconds() / 1e9)


def _longest(attempts: Iterable[Message], name: str, stats: JobStats) -> None:
    found = [getattr(attempt, name) for attempt in attempts if attempt.HasField(name)]
    if found:
        getattr(stats, name).CopyFrom(max(found, key=Duration.ToNanoseconds))


def _sum_ns(attempts: Iterable[Attempt]) -> int:
    return sum(attempt.execution_time.ToNanoseconds() for attempt in attempts)


def _between(start: Timestamp, end: Timestamp, told: Duration) -> None:
    told.FromNanoseconds(max(0, end.ToNanoseconds() - start.ToNanoseconds()))


def _s(duration: Duration) -> float:
    return duration.ToNanoseconds() / 1e9
