"""The book of jobs: applies a step to a job, stores it, and tells the watchers, in that order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from copy import copy
from datetime import UTC, datetime
from weakref import WeakValueDictionary

from apigpu.video.v1.job_pb2 import Job, JobEvent

from apigpu_common.errors import NotFound, Unavailable
from orchestrator import ids
from orchestrator.jobs import outbox
from orchestrator.jobs.estimates import History
from orchestrator.jobs.machine import JobMachine, is_final
from orchestrator.metrics import JobMetrics
from orchestrator.store.records import Change, Conflict, Delivery, StoredFile
from orchestrator.store.store import Store
from orchestrator.watch import WatchHub

Step = Callable[[JobMachine, datetime], None]
_MAX_TRIES = 10


class Ledger:
    """Every change of a stored job goes through `step`."""

    def __init__(self, store: Store, hub: WatchHub) -> None:
        self._store = store
        self._hub = hub
        self.metrics = JobMetrics()
        self.history = History()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def patient(self) -> Ledger:
        """The same book for work in progress: its steps wait while the store is away. They hold
        up nobody who does not want to wait."""
        patient = copy(self)
        patient._store = self._store.patient()
        patient._locks = WeakValueDictionary()
        return patient

    async def get(self, job_id: str) -> Job:
        """The job as it stands. Raises NotFound."""
        job = await self._store.get_job(job_id)
        if job is None:
            raise NotFound("JOB_NOT_FOUND", "There is no such job.", field="name")
        return job

    def created(self, job_id: str, job: Job, events: Sequence[JobEvent]) -> None:
        """A job was stored for the first time."""
        self.metrics.observe(job, events)
        self._hub.publish(job_id, events)

    async def step(self, job_id: str, step: Step, files: Sequence[StoredFile] = ()) -> Job:
        """Apply `step`, and again to the newer job if somebody else was faster.

        files: outputs that come into being with this step.
        """
        lock = self._locks.setdefault(job_id, asyncio.Lock())
        async with lock:
            for _ in range(_MAX_TRIES):
                job = await self.get(job_id)
                machine = JobMachine(job, self.history.expected_s(job))
                step(machine, datetime.now(UTC))
                events = machine.take_events()
                if not events:
                    return machine.job
                try:
                    await self._store.save(_change(job_id, machine.job, events, files))
                except Conflict:
                    continue
                self._hub.publish(job_id, events)
                self.metrics.observe(machine.job, events)
                if is_final(machine.job):
                    self.history.learn(machine.job)
                return machine.job
        raise Unavailable("JOB_BUSY", "The job is being changed by too many at once; try again.")


def _change(
    job_id: str, job: Job, events: Sequence[JobEvent], files: Sequence[StoredFile]
) -> Change:
    """With what the job's webhook is to be told, so that both are stored or neither."""
    deliveries = [
        Delivery(f"msg_{ids.new_id()}", sequence, job.webhook.url, kind, body)
        for sequence, kind, body in outbox.to_tell(job, events)
    ]
    return Change(job_id, job, events, files, deliveries)
