"""What the rest of the orchestrator may ask of a store. Every write is durable when it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from apigpu.video.v1.job_pb2 import Job, JobEvent

from orchestrator.jobs.filters import Condition


class Conflict(Exception):
    """Someone else has changed the job since it was read: read it again and decide anew."""


@dataclass(frozen=True)
class Task:
    """A part of a job that one worker does in one go."""

    id: str
    job_id: str
    item_ids: Sequence[str]


@dataclass(frozen=True)
class StoredFile:
    """A file that the service keeps; its bytes lie in the file storage under `id`.

    job_id: the job that made it, and takes it along when deleted. Empty for uploads.
    """

    id: str
    filename: str
    size_bytes: int
    sha256: str
    create_time: datetime
    job_id: str = ""


@dataclass(frozen=True)
class NewJob:
    """A job to store with its first event and its tasks.

    request_id: the caller's idempotency key, or empty.
    fingerprint: what must be equal for a repeated request_id to mean the same job.
    """

    id: str
    job: Job
    events: Sequence[JobEvent]
    tasks: Sequence[Task]
    request_id: str
    fingerprint: bytes


@dataclass(frozen=True)
class Change:
    """A step in a job's life, stored in one transaction or not at all.

    job: as it is after the step. events: what the step made, dense up to
    `job.last_sequence`; the store refuses with Conflict unless the stored job's newest
    event is the one before the first of them. files: outputs that came with it.
    """

    job_id: str
    job: Job
    events: Sequence[JobEvent]
    files: Sequence[StoredFile] = field(default_factory=tuple)


@dataclass(frozen=True)
class Page:
    """A page of jobs, newest first. `next_id`: where the next one begins, or empty."""

    jobs: list[Job]
    next_id: str


class Store(Protocol):
    """One interface for every engine. Times come from the store's own clock."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    # Jobs and their events

    async def create_job(self, new: NewJob) -> tuple[Job, bytes]:
        """Store `new`, or find the job that has its request_id. Returns the job that is
        stored now and its fingerprint."""
        ...

    async def get_job(self, job_id: str) -> Job | None: ...

    async def list_jobs(
        self, conditions: Sequence[Condition], before_id: str, limit: int
    ) -> Page: ...

    async def save(self, change: Change) -> None: ...

    async def events_after(self, job_id: str, sequence: int, limit: int) -> list[JobEvent]: ...

    async def delete_job(self, job_id: str) -> list[StoredFile]:
        """Remove a job with its events and tasks. Returns its files, removed as well."""
        ...

    # Tasks: claimed under a lease that expires, so that a dead owner loses them

    async def claim_task(self, owner: str, lease_s: float) -> Task | None:
        """Take the task that has waited longest, or whose owner's lease ran out."""
        ...

    async def renew_leases(self, owner: str, task_ids: Sequence[str], lease_s: float) -> set[str]:
        """Keep tasks. Returns those that are still the owner's."""
        ...

    async def requeue_task(self, owner: str, task_id: str, delay_s: float) -> None:
        """Give a task back to be claimed again, by anyone, after `delay_s`."""
        ...

    async def finish_task(self, owner: str, task_id: str) -> None:
        """Nothing of the task is left to do."""
        ...

    async def finish_unclaimed_tasks(self, job_id: str) -> int:
        """End the job's tasks that nobody has. Returns how many are still claimed."""
        ...

    # Files

    async def add_file(self, file: StoredFile) -> None: ...

    async def get_file(self, file_id: str) -> StoredFile | None: ...

    async def missing_files(self, file_ids: Sequence[str]) -> set[str]:
        """Those of `file_ids` that the store does not know."""
        ...
