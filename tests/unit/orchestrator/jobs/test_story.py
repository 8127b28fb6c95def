"""Whatever comes, in whatever order, from whomever: a job's story stays true.

Random orchestrators claim, die, come back from the dead, hand over and cancel; random
workers tell things late, twice and out of order. What must hold is checked after each step.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from apigpu.video.v1.job_pb2 import Attempt, Item, Job, JobEvent, Output, Progress
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from orchestrator.jobs.machine import JobMachine, is_final
from orchestrator.jobs.request import with_defaults
from orchestrator.jobs.states import ITEM, JOB, attempt_state
from orchestrator.jobs.tasks import RetryPolicy, next_attempt
from tests.requests import pictures

TIMES = ("create_time", "start_time", "end_time")
ERROR = status_pb2.Status(code=14, message="broke")
TASKS = {"t": ["a", "b"], "u": ["c"]}
POLICY = RetryPolicy(max_attempts=3)
ITEMS = st.sampled_from(["a", "b", "c", "unknown"])
PERCENTS = st.one_of(st.floats(0, 100), st.floats(allow_nan=True))
# What ends a job is drawn less often, so that stories are long.
SELDOM = st.integers(0, 7).map(lambda drawn: drawn == 7)


class Story(RuleBasedStateMachine):
    attempts = Bundle("attempts")  # every one that was ever begun, dead ones among them
    things_told = Bundle("things_told")  # what workers have told, to be told again

    @initialize()
    def accept(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.ended: list[tuple[Job, bytes]] = []
        self.begin(
            JobMachine.create(
                with_defaults(pictures("a", "b", "c"), 3600, 3600), "jobs/1", self.now
            )
        )

    def begin(self, machine: JobMachine) -> None:
        self.events: list[JobEvent] = machine.take_events()
        self.stored = machine.job.SerializeToString()
        self.check(Job(), machine.job, self.events)

    @property
    def job(self) -> Job:
        return Job.FromString(self.stored)

    def step(self, step) -> None:  # type: ignore[no-untyped-def]
        """As the ledger does it: read, change, store; and see what has become of it."""
        before = self.job
        machine = JobMachine(self.job)
        step(machine)
        events = machine.take_events()
        if is_final(before):
            assert not events
        if not events:
            assert machine.job == before
        self.stored = machine.job.SerializeToString()
        self.events += events
        self.check(before, machine.job, events)

    def check(self, before: Job, job: Job, events: list[JobEvent]) -> None:
        assert job.progress.percent >= before.progress.percent
        known = {item.id: item for item in before.items}
        for item in job.items:
            was = known.get(item.id, Item())
            assert item.progress.percent >= was.progress.percent
            assert item.HasField("output") == (item.state == Item.SUCCEEDED)
            assert item.HasField("error") == (item.state == Item.FAILED)
            if was.HasField("output"):
                assert item.output == was.output
            if ITEM.is_final(was.state):
                assert item == was

    # What orchestrators do

    @rule(target=attempts, part=st.sampled_from(sorted(TASKS)))
    def claim(self, part: str):  # type: ignore[no-untyped-def]
        """By one that is new, or restarted: whoever had the task before is gone, or seems so."""
        task = f"{self.job.name}{part}"
        lost = JobMachine(self.job).open_attempts(task)
        for attempt in lost:
            self.step(lambda m, a=attempt: m.attempt_ended(a.id, ERROR, self.now))
        machine = JobMachine(self.job)
        following = next_attempt(task, machine.attempts(task))
        left = machine.unfinished(TASKS[part])
        if following.number > POLICY.max_attempts:
            failed = dict.fromkeys(left, ERROR)
            self.step(lambda m: m.attempt_broke(following.record.id, ERROR, failed, [], self.now))
        elif left:
            self.step(lambda m: m.attempt_begun(following.record.id, left, "workers", self.now))
            return following.record.id
        return multiple()

    @rule(attempt=attempts)
    def settle(self, attempt: str) -> None:
        """The connection broke, as the one who followed it sees it; perhaps much too late."""
        task, _, number = attempt.rpartition("-")
        if not task.startswith(f"{self.job.name}"):
            return
        was_open = self.is_open(attempt)
        before = self.stored
        left = JobMachine(self.job).unfinished(TASKS[task[-1]])
        again = left if POLICY.backoff_s(int(number)) is not None else []
        failed = dict.fromkeys([i for i in left if i not in again], ERROR)
        self.step(lambda m: m.attempt_broke(attempt, ERROR, failed, again, self.now))
        assert was_open or self.stored == before, "a dead attempt has changed something"

    @rule(attempt=attempts)
    def hand_over(self, attempt: str) -> None:
        task = attempt.rpartition("-")[0]
        open_ones = [a.id for a in JobMachine(self.job).open_attempts(task)]
        if attempt in open_ones:
            self.step(lambda m: m.items_requeued(m.unfinished(TASKS[task[-1]]), self.now))
            self.step(lambda m: m.attempt_ended(attempt, None, self.now, handed_over=True))

    @rule(seldom=SELDOM)
    def cancel(self, seldom: bool) -> None:
        if seldom:
            self.step(lambda m: m.request_cancel(self.now))

    @rule()
    def nobody_works_on_it(self) -> None:
        self.step(lambda m: m.cancelled(ERROR, self.now))

    @rule(seldom=SELDOM, hours=st.sampled_from([0.3, 1.1]))
    def time_passes(self, seldom: bool, hours: float) -> None:
        hours = hours if seldom else 0.001
        self.now += timedelta(hours=hours)
        self.step(lambda m: m.expire(self.now))

    @rule(hours=st.sampled_from([-5.0, -0.01, 5.0]))
    def somebody_sets_the_clock(self, hours: float) -> None:
        self.now += timedelta(hours=hours)

    @precondition(lambda self: is_final(self.job) and self.job.state != Job.SUCCEEDED)
    @rule(old=consumes(attempts))
    def retry(self, old: str) -> None:
        ended = self.job
        self.ended.append((ended, self.stored))
        self.begin(JobMachine.retry(ended, f"jobs/{len(self.ended) + 1}", self.now))
        job = self.job
        assert job.retry_of == ended.name
        assert job.state == Job.QUEUED
        for item, was in zip(job.items, ended.items, strict=True):
            assert item.output == was.output
            assert item.carried_over == (was.state == Item.SUCCEEDED)

    # What workers tell; `attempts` has those of jobs that ended long ago, too

    @rule(target=things_told, attempt=attempts, item=ITEMS, percent=PERCENTS)
    def progress(self, attempt: str, item: str, percent: float) -> tuple[object, ...]:
        return self.tell("progress", attempt, item, percent)

    @rule(target=things_told, attempt=attempts, item=ITEMS)
    def deliver(self, attempt: str, item: str) -> tuple[object, ...]:
        return self.tell("deliver", attempt, item)

    @rule(target=things_told, attempt=attempts, item=ITEMS)
    def fail(self, attempt: str, item: str) -> tuple[object, ...]:
        return self.tell("fail", attempt, item)

    @rule(target=things_told, attempt=attempts)
    def start(self, attempt: str) -> tuple[object, ...]:
        return self.tell("start", attempt)

    @rule(thing=things_told)
    def tell_again(self, thing: tuple[object, ...]) -> None:
        self.tell(*thing)

    def tell(self, *thing: object) -> tuple[object, ...]:
        def step(machine: JobMachine) -> None:
            match thing:
                case ("progress", str(attempt), str(item), float(percent)):
                    machine.items_progressed(attempt, {item: Progress(percent=percent)}, self.now)
                case ("deliver", str(attempt), str(item)):
                    output = Output(file=f"files/{attempt}-{item}", frame_count=24)
                    machine.item_succeeded(attempt, item, output, self.now)
                case ("fail", str(attempt), str(item)):
                    machine.item_failed(attempt, item, ERROR, self.now)
                case ("start", str(attempt)):
                    machine.start(attempt, "worker", self.now)

        was_open = self.is_open(str(thing[1]))
        before = self.stored
        self.step(step)
        if not was_open and thing[0] != "start":
            assert self.stored == before, "a dead attempt has changed something"
        return thing

    def is_open(self, attempt: str) -> bool:
        return any(a.id == attempt and not a.HasField("end_time") for a in self.job.attempts)

    # What always holds

    @invariant()
    def the_story_is_whole(self) -> None:
        assert [event.sequence for event in self.events] == list(range(1, len(self.events) + 1))
        assert self.job.last_sequence == len(self.events)
        percents = [event.progress.percent for event in self.events]
        assert percents == sorted(percents)
        assert all(0 <= percent <= 100 for percent in percents)
        assert self.events[0].HasField("created")
        ends = [event for event in self.events if event.HasField("finished")]
        assert len(ends) == is_final(self.job)
        assert all(end is self.events[-1] and end.finished == self.job for end in ends)

    @invariant()
    def what_comes_later_is_not_older(self) -> None:
        times = [event.event_time.ToNanoseconds() for event in self.events]
        assert times == sorted(times)
        assert self.job.update_time == self.events[-1].event_time
        for told in (self.job, *self.job.attempts):
            known = [getattr(told, name) for name in TIMES if told.HasField(name)]
            assert known == sorted(known, key=Timestamp.ToNanoseconds)

    @invariant()
    def every_change_of_state_was_allowed(self) -> None:
        allowed = {(before, after) for before, after, _ in JOB.edges()}
        states = [event.state for event in self.events]
        moves = {(a, b) for a, b in pairwise(states) if a != b}
        assert moves <= allowed

    @invariant()
    def attempts_are_bounded(self) -> None:
        for part in TASKS:
            made = JobMachine(self.job).attempts(f"{self.job.name}{part}")
            assert sum(not a.handed_over for a in made) <= POLICY.max_attempts
            assert sum(not a.HasField("end_time") for a in made) <= 1

    @invariant()
    def what_has_ended_is_at_rest(self) -> None:
        job = self.job
        counts = job.item_counts
        assert counts.total == len(job.items)
        assert counts.succeeded == sum(item.HasField("output") for item in job.items)
        if is_final(job):
            assert all(ITEM.is_final(item.state) for item in job.items)
            assert all(a.HasField("end_time") for a in job.attempts)
            assert not job.progress.HasField("time_left")
            assert job.HasField("error") == (job.state in (Job.FAILED, Job.CANCELLED))
            assert counts.queued == counts.running == 0
        for ended, stored in self.ended:
            assert ended.SerializeToString() == stored


Story.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestStory = Story.TestCase


def test_an_attempts_state_is_told_by_its_fields() -> None:
    attempt = Attempt()
    assert attempt_state(attempt).name == "BEGUN"
    attempt.worker_id = "w"
    assert attempt_state(attempt).name == "RUNNING"
    attempt.end_time.seconds = 1
    assert attempt_state(attempt).name == "DONE"
    attempt.error.code = 14
    assert attempt_state(attempt).name == "BROKEN"
    attempt.handed_over = True
    assert attempt_state(attempt).name == "HANDED_OVER"
