"""The job state machine: every change of a job happens here, and each change is an event.

What may follow what stands in `states`; whatever is not allowed there changes nothing.
Pure: the caller gives the time and stores what comes back. What comes later is never older:
a clock that was set back, or is behind another replica's, stands still until it has caught up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from apigpu.video.v1 import job_pb2
from apigpu.video.v1.job_pb2 import Attempt, Item, Job, JobEvent, Progress
from google.protobuf import timestamp_pb2
from google.rpc import status_pb2

from orchestrator.jobs import deadlines, states, stats
from orchestrator.jobs import progress as rollup
from orchestrator.jobs.request import asked
from orchestrator.jobs.states import ItemCause, JobCause


def is_final(job: Job) -> bool:
    return states.JOB.is_final(job.state)


def is_over(job: Job) -> bool:
    """Whether nobody shall work on it any more."""
    return job.state == Job.CANCELLING or is_final(job)


def item_ids(spec: Job) -> list[str]:
    """The items that a request asks for, in its order."""
    if spec.WhichOneof("operation") == "images_to_videos":
        return [image.id for image in spec.images_to_videos.images]
    return ["video"]


class JobMachine:
    """One job and the events that its changes have made since `take_events` was last called.

    The job is changed in place; `job.last_sequence` counts the events.
    """

    def __init__(self, job: Job, expected_s: float | None = None) -> None:
        """expected_s: how long the whole job takes, by history."""
        self.job = job
        self._expected_s = expected_s
        self._events: list[JobEvent] = []
        self._items = {item.id: item for item in job.items}

    @classmethod
    def create(cls, spec: Job, name: str, now: datetime, trace_parent: str = "") -> JobMachine:
        """Accept what `spec` asks for as a new job called `name`."""
        return cls._begin(asked(spec), name, now, {}, trace_parent)

    @classmethod
    def retry(cls, ended: Job, name: str, now: datetime, trace_parent: str = "") -> JobMachine:
        """A new job that makes what `ended` has not made, and carries over what it has."""
        job = asked(ended)
        job.retry_of = ended.name
        outputs = {item.id: item.output for item in ended.items if item.state == Item.SUCCEEDED}
        return cls._begin(job, name, now, outputs, trace_parent)

    @classmethod
    def _begin(
        cls,
        job: Job,
        name: str,
        now: datetime,
        made: Mapping[str, job_pb2.Output],
        trace_parent: str,
    ) -> JobMachine:
        job.name, job.state = name, states.JOB.initial
        job.create_time.CopyFrom(_timestamp(now))
        job.update_time.CopyFrom(job.create_time)
        job.trace_parent = trace_parent
        job.progress.stage = job_pb2.STAGE_QUEUED
        for index, item_id in enumerate(item_ids(job)):
            item = job.items.add(id=item_id, index=index, state=states.ITEM.initial)
            item.progress.stage = job_pb2.STAGE_QUEUED
            if item_id in made:
                item.state, item.carried_over = Item.SUCCEEDED, True
                _has_output(item, made[item_id])
        job.progress.CopyFrom(rollup.roll_up(job, elapsed_s=0.0))
        job.item_counts.CopyFrom(rollup.count(job))
        machine = cls(job)
        machine._event(now).created.CopyFrom(job)
        return machine

    def take_events(self) -> list[JobEvent]:
        """The events made since the last call, oldest first."""
        events, self._events = self._events, []
        return events

    def unfinished(self, ids: Iterable[str]) -> list[str]:
        """Those of `ids` that have no final state yet."""
        return [
            i for i in ids if i in self._items and not states.ITEM.is_final(self._items[i].state)
        ]

    def attempts(self, task_id: str) -> list[Attempt]:
        """The attempts at one task, oldest first."""
        return [a for a in self.job.attempts if a.id.rpartition("-")[0] == task_id]

    def is_open(self, attempt_id: str) -> bool:
        """Whether an attempt is on the record and has not ended."""
        return self._open_attempt(attempt_id) is not None

    def open_attempts(self, task_id: str) -> list[Attempt]:
        """Those of them that have not ended."""
        return [a for a in self.attempts(task_id) if self.is_open(a.id)]

    def attempt_begun(
        self, attempt_id: str, item_ids: Sequence[str], backend: str, now: datetime
    ) -> None:
        """Somebody is about to have the items done."""
        if is_final(self.job) or self._attempt(attempt_id) is not None:
            return
        attempt = self.job.attempts.add(id=attempt_id, item_ids=item_ids, backend=backend)
        attempt.create_time.CopyFrom(self._time(now))
        self._attempt_changed(attempt, now)

    def attempt_told(self, attempt_id: str, facts: Attempt, now: datetime) -> None:
        """More has become known of an attempt: the fields of `facts` that are set."""
        attempt = self._open_attempt(attempt_id)
        if attempt is not None:
            attempt.MergeFrom(facts)
            self._attempt_changed(attempt, now)

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
        attempt.end_time.CopyFrom(self._time(now))
        attempt.handed_over = handed_over
        if error is not None:
            attempt.error.CopyFrom(error)
        stats.settle(attempt)
        self._attempt_changed(attempt, now)

    def attempt_broke(
        self,
        attempt_id: str,
        error: status_pb2.Status | None,
        failed: Mapping[str, status_pb2.Status],
        again: Iterable[str],
        now: datetime,
    ) -> None:
        """An attempt is over, and not all of its items have a result.

        error: why it broke, if it did. failed: items that no attempt follows for, with
        their errors; again: items that another one follows for.
        """
        known = self._attempt(attempt_id)
        if known is not None and known.HasField("end_time"):
            return  # somebody else has ended it: what is left is theirs
        self.attempt_ended(attempt_id, error, now)
        self.items_requeued(again, now)
        for item_id, why in failed.items():
            self._give_up(item_id, why, now)

    def start(
        self, attempt_id: str, worker_id: str, now: datetime, facts: Attempt | None = None
    ) -> None:
        """A worker has begun with a part of the job. facts: what else is known of it."""
        attempt = self._open_attempt(attempt_id)
        if attempt is not None and attempt.worker_id != worker_id:
            attempt.MergeFrom(facts or Attempt())
            attempt.worker_id = worker_id
            if not attempt.HasField("start_time"):
                attempt.start_time.CopyFrom(self._time(now))
            self._attempt_changed(attempt, now)
        if states.JOB.follow(self.job.state, JobCause.BEGUN) is not None:
            self.job.start_time.CopyFrom(self._time(now))
            self._move(JobCause.BEGUN, now)

    # What an attempt tells counts while the attempt is open: others may be at its items since.

    def items_progressed(
        self, attempt_id: str, progress: Mapping[str, Progress], now: datetime
    ) -> None:
        """A worker tells how far items are, by id. What would go back is not told on."""
        if self._open_attempt(attempt_id) is None:
            return
        for item_id, told in progress.items():
            item = self._move_item(item_id, ItemCause.PROGRESSED)
            if item is not None:
                percent = rollup.advance(item.progress.percent, told.percent)
                item.progress.CopyFrom(told)
                item.progress.percent = percent
                self._item_changed(item, now)

    def item_succeeded(
        self, attempt_id: str, item_id: str, output: job_pb2.Output, now: datetime
    ) -> None:
        if self._open_attempt(attempt_id) is None:
            return
        item = self._move_item(item_id, ItemCause.DELIVERED)
        if item is not None:
            item.ClearField("error")
            _has_output(item, output)
            self._item_ended(item, now)

    def item_failed(
        self, attempt_id: str, item_id: str, error: status_pb2.Status, now: datetime
    ) -> None:
        if self._open_attempt(attempt_id) is not None:
            self._give_up(item_id, error, now)

    def items_requeued(self, ids: Iterable[str], now: datetime) -> None:
        """The attempt at these items broke; another one follows."""
        for item_id in ids:
            item = self._move_item(item_id, ItemCause.REQUEUED)
            if item is not None:
                item.progress.CopyFrom(
                    Progress(stage=job_pb2.STAGE_QUEUED, percent=item.progress.percent)
                )
                self._item_changed(item, now)

    def request_cancel(self, now: datetime) -> None:
        """Someone wants the job stopped."""
        self._move(JobCause.CANCEL_ASKED, now)

    def cancelled(self, error: status_pb2.Status, now: datetime) -> None:
        """Nothing works on the job any more."""
        if states.JOB.follow(self.job.state, JobCause.STOPPED) is None:
            return
        for item_id in self.unfinished(self._items):
            item = self._move_item(item_id, ItemCause.JOB_STOPPED)
            if item is not None:
                _stop_clock(item.progress)
                self._item_changed(item, now)
        self.job.error.CopyFrom(error)
        self._finish(JobCause.STOPPED, now, error)

    def expire(self, now: datetime) -> None:
        """A time limit may have passed: what is not done by then has failed."""
        error = deadlines.passed(self.job, now)
        if error is None:
            return
        # Nobody shall go on with it: the attempts break before the items end the job.
        for attempt in self.job.attempts:
            self.attempt_ended(attempt.id, error, now)
        for item_id in self.unfinished(self._items):
            self._give_up(item_id, error, now)

    def _attempt_changed(self, attempt: Attempt, now: datetime) -> None:
        self.job.stats.CopyFrom(stats.of(self.job))
        self._event(now).attempt.CopyFrom(attempt)

    def _attempt(self, attempt_id: str) -> Attempt | None:
        return next((a for a in self.job.attempts if a.id == attempt_id), None)

    def _open_attempt(self, attempt_id: str) -> Attempt | None:
        attempt = self._attempt(attempt_id)
        if attempt is None or states.ATTEMPT.is_final(states.attempt_state(attempt)):
            return None
        return attempt

    def _give_up(self, item_id: str, error: status_pb2.Status, now: datetime) -> None:
        item = self._move_item(item_id, ItemCause.GIVEN_UP)
        if item is not None:
            item.error.CopyFrom(error)
            self._item_ended(item, now)

    def _move_item(self, item_id: str, cause: ItemCause) -> Item | None:
        """The item in its new state, or None where `cause` changes nothing."""
        item = self._items.get(item_id)
        if item is None or is_final(self.job):
            return None
        after = states.ITEM.follow(item.state, cause)
        if after is None:
            return None
        item.state = after
        return item

    def _item_ended(self, item: Item, now: datetime) -> None:
        _stop_clock(item.progress)
        self._item_changed(item, now)
        if self.unfinished(self._items):
            return
        succeeded = self.job.item_counts.succeeded
        if succeeded == len(self.job.items):
            self._finish(JobCause.ALL_SUCCEEDED, now)
        elif succeeded:
            self._finish(JobCause.SOME_SUCCEEDED, now)
        else:
            self._finish(JobCause.NONE_SUCCEEDED, now)

    def _finish(
        self, cause: JobCause, now: datetime, attempt_error: status_pb2.Status | None = None
    ) -> None:
        after = states.JOB.follow(self.job.state, cause)
        if after is None:  # being cancelled: that ends it when nobody works on it any more
            return
        # Nothing is told after the end: what is still open ends with the job.
        for attempt in self.job.attempts:
            self.attempt_ended(attempt.id, attempt_error, now)
        if cause is JobCause.NONE_SUCCEEDED:
            first = next(item for item in self.job.items if item.state == Item.FAILED)
            self.job.error.CopyFrom(first.error)
        self.job.stats.CopyFrom(stats.of(self.job))
        self.job.state = after
        self.job.end_time.CopyFrom(self._time(now))
        self.job.progress.CopyFrom(rollup.roll_up(self.job, elapsed_s=0.0))
        _stop_clock(self.job.progress)
        self._event(now).finished.CopyFrom(self.job)

    def _item_changed(self, item: Item, now: datetime) -> None:
        elapsed_s = _seconds(self._time(now)) - _seconds(self.job.start_time)
        self.job.item_counts.CopyFrom(rollup.count(self.job))
        self.job.progress.CopyFrom(rollup.roll_up(self.job, elapsed_s, self._expected_s))
        self._event(now).item.CopyFrom(item)

    def _move(self, cause: JobCause, now: datetime) -> None:
        after = states.JOB.follow(self.job.state, cause)
        if after is not None:
            previous, self.job.state = self.job.state, after
            if cause is JobCause.BEGUN:
                self.job.progress.CopyFrom(rollup.roll_up(self.job, 0.0, self._expected_s))
                self.job.progress.stage = job_pb2.STAGE_STARTING
            self._event(now).state_changed.previous_state = previous

    def _time(self, now: datetime) -> timestamp_pb2.Timestamp:
        told = _timestamp(now)
        latest = self.job.update_time
        return latest if told.ToNanoseconds() < latest.ToNanoseconds() else told

    def _event(self, now: datetime) -> JobEvent:
        self.job.last_sequence += 1
        self.job.update_time.CopyFrom(self._time(now))
        event = JobEvent(
            job=self.job.name,
            sequence=self.job.last_sequence,
            event_time=self.job.update_time,
            state=self.job.state,
            progress=self.job.progress,
        )
        self._events.append(event)
        return event


def _has_output(item: Item, output: job_pb2.Output) -> None:
    item.output.CopyFrom(output)
    frames = output.frame_count
    item.progress.CopyFrom(
        Progress(stage=job_pb2.STAGE_FINISHED, percent=100, frames_done=frames, frames_total=frames)
    )


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
