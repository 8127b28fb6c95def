"""Every state of a job, an item, an attempt and a task, and what may follow it.

These tables are the code: whatever they do not allow changes nothing, however late, doubled
or out of order it comes. docs/states.md shows them (`python tools/states_page.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum
from functools import cached_property
from typing import Generic, TypeVar

from apigpu.video.v1.job_pb2 import Attempt, Item, Job

S = TypeVar("S", bound=int)
C = TypeVar("C", bound=Enum)


class JobCause(Enum):
    """What moves a job; the values are what the documentation says."""

    BEGUN = "a worker begins with it"
    CANCEL_ASKED = "CancelJob"
    STOPPED = "nobody works on it any more"
    ALL_SUCCEEDED = "every item has ended, with an output"
    SOME_SUCCEEDED = "every item has ended, some with an output"
    NONE_SUCCEEDED = "every item has ended, none with an output"


class ItemCause(Enum):
    PROGRESSED = "a worker tells how far it is"
    REQUEUED = "the attempt broke or was handed over, another follows"
    DELIVERED = "its output is there, and was verified"
    GIVEN_UP = "an error that no further attempt can help, or a time limit of the job"
    JOB_STOPPED = "the job was cancelled, and nobody works on it any more"


class AttemptState(IntEnum):
    """Told by the fields of Attempt, see `attempt_state`."""

    BEGUN = 1
    RUNNING = 2
    DONE = 3
    BROKEN = 4
    HANDED_OVER = 5


class AttemptCause(Enum):
    STARTED = "a worker begins with it"
    ENDED = "every item has got its result, good or bad; or the job has ended"
    BROKE = "the worker, the connection or the service died; or the job was cancelled"
    GIVEN_BACK = "the service stops, and the backend cannot go on alone"


class TaskState(IntEnum):
    """Of the store's tasks; a task that has ended is removed from there."""

    QUEUED = 0
    CLAIMED = 1
    WAITING = 2
    ENDED = 3


class TaskCause(Enum):
    CLAIMED = "the turn is its owner's, and a worker is free"
    PAUSE_OVER = "the pause before the next attempt is over"
    LEASE_EXPIRED = "its holder was silent for longer than the lease: another takes it"
    BROKE = "its attempt broke, and another is allowed"
    HANDED_OVER = "its holder stops"
    FINISHED = "every item has ended"
    JOB_ENDED = "the job was cancelled or has passed a time limit"


@dataclass(frozen=True)
class Rule(Generic[S, C]):
    cause: C
    before: tuple[S, ...]
    after: S


@dataclass(frozen=True)
class Machine(Generic[S, C]):
    """States, the causes that move them, and nothing else."""

    title: str
    initial: S
    rules: tuple[Rule[S, C], ...]
    name: Callable[[S], str]

    def follow(self, state: S, cause: C) -> S | None:
        """The state after `cause`, or None where it changes nothing."""
        return self._after.get((state, cause))

    def is_final(self, state: S) -> bool:
        return state in self._final

    def states(self) -> list[S]:
        """All of them, in the order of their numbers."""
        return sorted({self.initial, *(s for edge in self.edges() for s in edge[:2])})

    def edges(self) -> Iterator[tuple[S, S, C]]:
        """Every single transition."""
        for rule in self.rules:
            for before in rule.before:
                yield before, rule.after, rule.cause

    @cached_property
    def _after(self) -> dict[tuple[S, C], S]:
        return {(before, cause): after for before, after, cause in self.edges()}

    @cached_property
    def _final(self) -> frozenset[S]:
        return frozenset(self.states()) - {before for before, _, _ in self.edges()}


_OPEN_JOB = (Job.QUEUED, Job.RUNNING)
_OPEN_ITEM = (Item.QUEUED, Item.RUNNING)
_OPEN_ATTEMPT = (AttemptState.BEGUN, AttemptState.RUNNING)

JOB: Machine[Job.State.ValueType, JobCause] = Machine(
    "Job",
    Job.QUEUED,
    (
        Rule(JobCause.BEGUN, (Job.QUEUED,), Job.RUNNING),
        Rule(JobCause.ALL_SUCCEEDED, _OPEN_JOB, Job.SUCCEEDED),
        Rule(JobCause.SOME_SUCCEEDED, _OPEN_JOB, Job.PARTIALLY_SUCCEEDED),
        Rule(JobCause.NONE_SUCCEEDED, _OPEN_JOB, Job.FAILED),
        Rule(JobCause.CANCEL_ASKED, _OPEN_JOB, Job.CANCELLING),
        Rule(JobCause.STOPPED, (Job.CANCELLING,), Job.CANCELLED),
    ),
    Job.State.Name,
)
ITEM: Machine[Item.State.ValueType, ItemCause] = Machine(
    "Item",
    Item.QUEUED,
    (
        Rule(ItemCause.PROGRESSED, _OPEN_ITEM, Item.RUNNING),
        Rule(ItemCause.REQUEUED, (Item.RUNNING,), Item.QUEUED),
        Rule(ItemCause.DELIVERED, _OPEN_ITEM, Item.SUCCEEDED),
        Rule(ItemCause.GIVEN_UP, _OPEN_ITEM, Item.FAILED),
        Rule(ItemCause.JOB_STOPPED, _OPEN_ITEM, Item.CANCELLED),
    ),
    Item.State.Name,
)
ATTEMPT: Machine[AttemptState, AttemptCause] = Machine(
    "Attempt",
    AttemptState.BEGUN,
    (
        Rule(AttemptCause.STARTED, _OPEN_ATTEMPT, AttemptState.RUNNING),
        Rule(AttemptCause.ENDED, _OPEN_ATTEMPT, AttemptState.DONE),
        Rule(AttemptCause.BROKE, _OPEN_ATTEMPT, AttemptState.BROKEN),
        Rule(AttemptCause.GIVEN_BACK, _OPEN_ATTEMPT, AttemptState.HANDED_OVER),
    ),
    lambda state: state.name,
)
TASK: Machine[TaskState, TaskCause] = Machine(
    "Task",
    TaskState.QUEUED,
    (
        Rule(TaskCause.CLAIMED, (TaskState.QUEUED,), TaskState.CLAIMED),
        Rule(TaskCause.LEASE_EXPIRED, (TaskState.CLAIMED,), TaskState.CLAIMED),
        Rule(TaskCause.BROKE, (TaskState.CLAIMED,), TaskState.WAITING),
        Rule(TaskCause.PAUSE_OVER, (TaskState.WAITING,), TaskState.CLAIMED),
        Rule(TaskCause.HANDED_OVER, (TaskState.CLAIMED,), TaskState.QUEUED),
        Rule(TaskCause.FINISHED, (TaskState.CLAIMED,), TaskState.ENDED),
        Rule(TaskCause.JOB_ENDED, (TaskState.QUEUED, TaskState.WAITING), TaskState.ENDED),
    ),
    lambda state: state.name,
)


def attempt_state(attempt: Attempt) -> AttemptState:
    """The state that the fields of an attempt tell."""
    if not attempt.HasField("end_time"):
        return AttemptState.RUNNING if attempt.worker_id else AttemptState.BEGUN
    if attempt.handed_over:
        return AttemptState.HANDED_OVER
    return AttemptState.BROKEN if attempt.HasField("error") else AttemptState.DONE
