"""The job state machine: every change of a job happens here, and each change is an event.

    QUEUED -> RUNNING -> SUCCEEDED | PARTIALLY_SUCCEEDED | FAILED
       |         |
       +---------+-----> CANCELLING -> CANCELLED

Items: QUEUED -> RUNNING -> SUCCEEDED | FAILED | CANCELLED, and RUNNING -> QUEUED when an
attempt broke and another follows. Final states are final: what comes later changes nothing.
Pure: the caller gives the time and stores what comes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from apigpu.video.v1 import job_pb2
from apigpu.video.v1.job_pb2 import Attempt, Item, Job, JobEvent, Progress
from google.protobuf import timestamp_pb2
from google.rpc import status_pb2

from orchestrator.jobs import progress as rollup

FINAL_JOB_STATES = frozenset({Job.SUCCEEDED, Job.PARTIALLY_SUCCEEDED, Job.FAILED, Job.CANCELLED})
FINAL_ITEM_STATES = frozenset({Item.SUCCEEDED, Item.FAILED, Item.CANCELLED})


def is_final(job: Job) -> bool:
    return job.state in FINAL_JOB_STATES


def item_ids(spec: Job) -> list[str]:
    """The items that a request asks for, in its order."""
    if spec.WhichOneof("operation") == "images_to_videos":
        return [image.id for image in spec.images_to_videos.images]
    return ["video"]


class JobMachine:
    """One job and the events that its changes have made since `take_events` was last called.

    The job is changed in place; `job.last_sequence` counts the events.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._events: list[JobEvent] = []
        self._items = {item.id: item for item in job.items}

    @classmethod
    def create(cls, spec: Job, name: str, now: datetime) -> JobMachine:
        """Accept `spec` (its operation and labels) as a new job called `name`."""
        job = Job(name=name, labels=spec.labels, state=Job.QUEUED, create_time=_timestamp(now))
        operation = spec.WhichOneof("operation")
        assert operation is not None  # a rule of the contract
        getattr(job, operation).CopyFrom(getattr(spec, operation))
        job.progress.stage = job_pb2.STAGE_QUEUED
        for index, item_id in enumerate(item_ids(spec)):
            job.items.add(
                id=item_id,
                index=index,
                state=Item.QUEUED,
                progress=Progress(stage=job_pb2.STAGE_QUEUED),
            )
        machine = cls(job)
        event = machine._event(now)
        event.created.CopyFrom(job)
        return machine

    def take_events(self) -> list[JobEvent]:
        """The events made since the last call, oldest first."""
        events, self._events = self._events, []
        return events

    def unfinished(self, ids: Iterable[str]) -> list[str]:
        """Those of `ids` that have no final state yet."""
        return [
            i for i in ids if i in self._items and self._items[i].state not in FINAL_ITEM_STATES
        ]

    def attempts(self, task_id: str) -> list[Attempt]:
        """The attempts at one task, oldest first."""
        return [a for a in self.job.attempts if a.id.rpartition("-")[0] == task_id]

    def open_attempts(self, task_id: str) -> list[Attempt]:
        """Those of them that have not ended."""
        return [a for a in self.attempts(task_id) if not a.HasField("end_time")]

    def attempt_begun(
        self, attempt_id: str, item_ids: Sequence[str], backend: str, now: datetime
    ) -> None:
        """Somebody is about to have the items done."""
        if is_final(self.job):
            return
        attempt = self.job.attempts.add(id=attempt_id, item_ids=item_ids, backend=backend)
        attempt.create_time.CopyFrom(_timestamp(now))
        self._event(now).attempt.CopyFrom(attempt)

    def attempt_told(self, attempt_id: str, facts: Attempt, now: datetime) -> None:
        """More has become known of an attempt: the fields of `facts` that are set."""
        attempt = self._open_attempt(attempt_id)
        if attempt is not None:
            attempt.MergeFrom(facts)
            self._event(now).attempt.CopyFrom(attempt)

    def attempt_ended(
        self,
        attempt_id: str,
        error: status_pb2.Status | None,
        now: datetime,
        *,
        handed_over: bool = False,
    ) -> None:
        """Nobody is at it any more. error: why it broke, if it did."""
        attempt = self._open_attempt(attempt_id)
        if attempt is None:
            return
        attempt.end_time.CopyFrom(_timestamp(now))
        attempt.handed_over = handed_over
        if error is not None:
            attempt.error.CopyFrom(error)
        self._event(now).attempt.CopyFrom(attempt)

    def start(self, attempt_id: str, worker_id: str, now: datetime) -> None:
        """A worker has begun with a part of the job."""
        attempt = self._open_attempt(attempt_id)
        if attempt is not None and attempt.worker_id != worker_id:
            attempt.worker_id = worker_id
            self._event(now).attempt.CopyFrom(attempt)
        if self.job.state == Job.QUEUED:
            self.job.start_time.CopyFrom(_timestamp(now))
            self.job.progress.stage = job_pb2.STAGE_STARTING
            self._enter(Job.RUNNING, now)

    def items_progressed(self, progress: Mapping[str, Progress], now: datetime) -> None:
        """A worker tells how far items are, by id. What would go back is not told on."""
        for item_id, told in progress.items():
            item = self._open_item(item_id)
            if item is None:
                continue
            percent = rollup.advance(item.progress.percent, told.percent)
            item.state = Item.RUNNING
            item.progress.CopyFrom(told)
            item.progress.percent = percent
            self._item_changed(item, now)

    def item_succeeded(self, item_id: str, output: job_pb2.Output, now: datetime) -> None:
        item = self._open_item(item_id)
        if item is None:
            return
        item.output.CopyFrom(output)
        item.ClearField("error")
        item.progress.CopyFrom(
            Progress(
                stage=job_pb2.STAGE_FINISHED,
                percent=100,
                frames_done=output.frame_count,
                frames_total=output.frame_count,
            )
        )
        self._item_ended(item, Item.SUCCEEDED, now)

    def item_failed(self, item_id: str, error: status_pb2.Status, now: datetime) -> None:
        item = self._open_item(item_id)
        if item is None:
            return
        item.error.CopyFrom(error)
        self._item_ended(item, Item.FAILED, now)

    def items_requeued(self, ids: Iterable[str], now: datetime) -> None:
        """The attempt at these items broke; another one follows."""
        for item_id in ids:
            item = self._open_item(item_id)
            if item is None or item.state == Item.QUEUED:
                continue
            item.state = Item.QUEUED
            item.progress.CopyFrom(
                Progress(stage=job_pb2.STAGE_QUEUED, percent=item.progress.percent)
            )
            self._item_changed(item, now)

    def request_cancel(self, now: datetime) -> None:
        """Someone wants the job stopped."""
        if self.job.state in (Job.QUEUED, Job.RUNNING):
            self._enter(Job.CANCELLING, now)

    def cancelled(self, error: status_pb2.Status, now: datetime) -> None:
        """Nothing works on the job any more."""
        if self.job.state != Job.CANCELLING:
            return
        for item in self.job.items:
            if item.state not in FINAL_ITEM_STATES:
                item.state = Item.CANCELLED
                _stop_clock(item.progress)
                self._item_changed(item, now)
        self.job.error.CopyFrom(error)
        self._finish(Job.CANCELLED, now, attempt_error=error)

    def _open_attempt(self, attempt_id: str) -> Attempt | None:
        open_ones = (a for a in self.job.attempts if not a.HasField("end_time"))
        return next((a for a in open_ones if a.id == attempt_id), None)

    def _open_item(self, item_id: str) -> Item | None:
        item = self._items.get(item_id)
        if item is None or item.state in FINAL_ITEM_STATES or is_final(self.job):
            return None
        return item

    def _item_ended(self, item: Item, state: Item.State.ValueType, now: datetime) -> None:
        item.state = state
        _stop_clock(item.progress)
        self._item_changed(item, now)
        if self.job.state != Job.CANCELLING and not self.unfinished(self._items):
            self._finish_by_items(now)

    def _finish_by_items(self, now: datetime) -> None:
        succeeded = sum(item.state == Item.SUCCEEDED for item in self.job.items)
        if succeeded == len(self.job.items):
            self._finish(Job.SUCCEEDED, now)
        elif succeeded:
            self._finish(Job.PARTIALLY_SUCCEEDED, now)
        else:
            first = next(item for item in self.job.items if item.state == Item.FAILED)
            self.job.error.CopyFrom(first.error)
            self._finish(Job.FAILED, now)

    def _finish(
        self,
        state: Job.State.ValueType,
        now: datetime,
        attempt_error: status_pb2.Status | None = None,
    ) -> None:
        # Nothing is told after the end: what is still open ends with the job.
        for attempt in self.job.attempts:
            self.attempt_ended(attempt.id, attempt_error, now)
        self.job.state = state
        self.job.end_time.CopyFrom(_timestamp(now))
        self.job.progress.CopyFrom(rollup.roll_up(self.job, elapsed_s=0.0))
        _stop_clock(self.job.progress)
        event = self._event(now)
        event.finished.CopyFrom(self.job)

    def _item_changed(self, item: Item, now: datetime) -> None:
        elapsed_s = now.timestamp() - _seconds(self.job.start_time)
        self.job.progress.CopyFrom(rollup.roll_up(self.job, elapsed_s))
        self._event(now).item.CopyFrom(item)

    def _enter(self, state: Job.State.ValueType, now: datetime) -> None:
        previous, self.job.state = self.job.state, state
        self._event(now).state_changed.previous_state = previous

    def _event(self, now: datetime) -> JobEvent:
        self.job.last_sequence += 1
        event = JobEvent(
            job=self.job.name,
            sequence=self.job.last_sequence,
            event_time=_timestamp(now),
            state=self.job.state,
            progress=self.job.progress,
        )
        self._events.append(event)
        return event


def _stop_clock(progress: Progress) -> None:
    """Nothing moves any more: no speed, no time left."""
    progress.stage = job_pb2.STAGE_FINISHED
    progress.ClearField("time_left")
    progress.fps = progress.speed = 0.0


def _seconds(timestamp: timestamp_pb2.Timestamp) -> float:
    return timestamp.seconds + timestamp.nanos / 1e9


def _timestamp(when: datetime) -> timestamp_pb2.Timestamp:
    timestamp = timestamp_pb2.Timestamp()
    timestamp.FromDatetime(when)
    return timestamp
