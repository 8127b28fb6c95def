"""Jobs for tests of the store."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count

from apigpu.video.v1.job_pb2 import Job

from orchestrator import ids
from orchestrator.jobs.machine import JobMachine
from orchestrator.store.records import NewJob, Task
from orchestrator.store.store import Store
from tests.requests import pictures

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE_S = 60.0
_numbers = count(1)


def next_id() -> str:
    """Ids that sort by age even within a millisecond."""
    return f"{next(_numbers):032x}"


def new_job(
    spec: Job | None = None, tasks: int = 1, owner: str = "ann", request_id: str = ""
) -> NewJob:
    job_id = next_id()
    machine = JobMachine.create(spec or pictures("a", "b"), ids.job_name(job_id), NOW)
    if spec is not None and spec.HasField("priority"):
        machine.job.priority = spec.priority
    return NewJob(
        id=job_id,
        job=machine.job,
        events=machine.take_events(),
        tasks=[Task(next_id(), job_id, ["a", "b"]) for _ in range(tasks)],
        request_id=request_id,
        fingerprint=request_id.encode(),
        owner=owner,
    )


async def add_job(
    store: Store, spec: Job | None = None, tasks: int = 1, owner: str = "ann"
) -> JobMachine:
    new = new_job(spec, tasks, owner)
    await store.create_job(new)
    return JobMachine(new.job)


async def add_priority(store: Store, priority: int, owner: str = "ann", tasks: int = 1) -> str:
    """Returns the job's id."""
    spec = pictures("a", "b")
    spec.priority = priority
    return ids.id_of((await add_job(store, spec, tasks, owner)).job.name)
