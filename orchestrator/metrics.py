"""What is measured of jobs: read off their events, in the one place that sees all of them.
Names and units by OpenTelemetry's conventions; free where nobody reads them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from apigpu.video.v1 import job_pb2
from apigpu.video.v1.job_pb2 import Attempt, Item, Job, JobEvent
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry import metrics, trace

from apigpu_common.errors import reason_of
from apigpu_common.telemetry import context_of

_TRACER = trace.get_tracer("apigpu")
_METER = metrics.get_meter("apigpu")
_NS: Final = 1_000_000_000
_FINAL_ITEMS: Final = frozenset({Item.SUCCEEDED, Item.FAILED, Item.CANCELLED})
_LONG_S: Final = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400]
_SHORT_S: Final = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]


def _seconds(name: str, what: str, buckets: Sequence[float] = _LONG_S) -> metrics.Histogram:
    return _METER.create_histogram(
        name, unit="s", description=what, explicit_bucket_boundaries_advisory=buckets
    )


_JOBS_CREATED = _METER.create_counter("apigpu.jobs.created", description="Jobs accepted.")
_JOBS_FINISHED = _METER.create_counter(
    "apigpu.jobs.finished", description="Jobs ended, by operation and state."
)
_QUEUE = _seconds("apigpu.job.queue.duration", "From acceptance to a worker's beginning.")
_RUN = _seconds("apigpu.job.run.duration", "From a worker's beginning to the end.")
_COST = _METER.create_counter(
    "apigpu.job.cost", unit="{micro-dollar}", description="Cost of ended jobs, where known."
)
_ITEMS = _METER.create_counter(
    "apigpu.items.finished", description="Items ended, by operation, state, encoder and reason."
)
_FALLBACKS = _METER.create_counter(
    "apigpu.encoder.fallbacks", description="Items encoded with another encoder than the first."
)
_PHASE = _seconds("apigpu.item.phase.duration", "Time of an item in a stage of the work.")
_FPS = _METER.create_histogram(
    "apigpu.item.encode.rate",
    unit="{frame}/s",
    description="Frames per second of an encode, when last told.",
    explicit_bucket_boundaries_advisory=[5, 10, 25, 50, 100, 200, 400, 800, 1600],
)
_ATTEMPTS = _METER.create_counter(
    "apigpu.attempts.ended", description="Attempts ended, by backend and why they broke."
)
RUNPOD = _seconds("apigpu.runpod.request.duration", "Calls of RunPod's API.", _SHORT_S)
WATCHERS = _METER.create_up_down_counter("apigpu.watchers", description="Streams of events, now.")
_LAG = _seconds("apigpu.event.lag", "From an event to its watcher.", _SHORT_S)


class JobMetrics:
    """Remembers, of items at work, which stage they are in and since when."""

    def __init__(self) -> None:
        self._stages: dict[tuple[str, str], tuple[job_pb2.Stage.ValueType, float, float]] = {}

    def observe(self, job: Job, events: Sequence[JobEvent]) -> None:
        """`events` have been stored; `job` is as it stands after them."""
        operation = {"apigpu.operation": job.WhichOneof("operation") or ""}
        for event in events:
            kind = event.WhichOneof("event")
            if kind == "created":
                _JOBS_CREATED.add(1, operation)
            elif kind == "item":
                self._item(event, operation)
            elif kind == "attempt" and event.attempt.HasField("end_time"):
                _attempt_ended(event.attempt)
            elif kind == "finished":
                _job_ended(job, operation)

    def _item(self, event: JobEvent, operation: Mapping[str, str]) -> None:
        item, key = event.item, (event.job, event.item.id)
        now = _at(event.event_time)
        stage, since, fps = self._stages.pop(key, (item.progress.stage, now, 0.0))
        if stage != item.progress.stage:
            name = job_pb2.Stage.Name(stage).removeprefix("STAGE_").lower()
            _PHASE.record(max(0.0, now - since), {**operation, "apigpu.stage": name})
            if stage == job_pb2.STAGE_ENCODING and fps:
                _FPS.record(fps, operation)
            since = now
        if item.state in _FINAL_ITEMS:
            _item_ended(item, operation)
        else:
            self._stages[key] = (item.progress.stage, since, item.progress.fps or fps)


def told(event: JobEvent) -> None:
    """`event` is on its way to a watcher who has seen all before it."""
    _LAG.record(max(0.0, time.time() - _at(event.event_time)))


def _item_ended(item: Item, operation: Mapping[str, str]) -> None:
    use = item.output.encoder
    attributes = {**operation, "apigpu.state": Item.State.Name(item.state)}
    if use.used:
        attributes["apigpu.encoder"] = use.used
    if item.HasField("error"):
        attributes["error.type"] = reason_of(item.error) or "UNKNOWN"
    _ITEMS.add(1, attributes)
    if use.requested and use.requested != use.used:
        encoders = {"apigpu.encoder": use.used, "apigpu.encoder.requested": use.requested}
        _FALLBACKS.add(1, encoders)


def _attempt_ended(attempt: Attempt) -> None:
    attributes = {"apigpu.backend": attempt.backend}
    if attempt.HasField("error"):
        attributes["error.type"] = reason_of(attempt.error) or "UNKNOWN"
    _ATTEMPTS.add(1, attributes)


def _job_ended(job: Job, operation: Mapping[str, str]) -> None:
    state = {**operation, "apigpu.state": Job.State.Name(job.state)}
    _JOBS_FINISHED.add(1, state)
    began = job.start_time if job.HasField("start_time") else job.end_time
    _QUEUE.record(max(0.0, _at(began) - _at(job.create_time)), operation)
    _RUN.record(max(0.0, _at(job.end_time) - _at(began)), operation)
    if job.stats.cost_micros:
        _COST.add(job.stats.cost_micros, operation)
    # The whole job in its trace, told when it is over: it may have outlived several processes.
    span = _TRACER.start_span(
        f"job {operation['apigpu.operation']}",
        context_of(job.trace_parent),
        attributes={**state, "apigpu.job": job.name},
        start_time=job.create_time.ToNanoseconds(),
    )
    span.end(job.end_time.ToNanoseconds())


def _at(time: Timestamp) -> float:
    return time.seconds + time.nanos / _NS
