"""The conductor, the only place that moves jobs: admits them, claims their tasks, has them
done, hands over at the end. Knows nothing of RPCs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Literal

from apigpu.video.v1.job_pb2 import Job, JobEvent
from apigpu.video.v1.video_service_pb2 import WatchJobsResponse
from google.rpc import code_pb2

from apigpu_common.errors import NotFound, PreconditionFailed, ServiceError
from orchestrator.admission import Admission
from orchestrator.dispatch.base import Dispatcher
from orchestrator.files.places import Places
from orchestrator.files.storage import FileStorage
from orchestrator.jobs.filters import Compare, Filter
from orchestrator.jobs.machine import JobMachine, is_final, is_over
from orchestrator.jobs.orders import NEWEST_FIRST, Order, Place
from orchestrator.jobs.tasks import RetryPolicy
from orchestrator.keeping.removal import remove_job
from orchestrator.running.ledger import Ledger
from orchestrator.running.run_limits import RunLimits
from orchestrator.running.runner import TaskRunner
from orchestrator.settings import Settings
from orchestrator.store.records import Page, Task
from orchestrator.store.store import Store
from orchestrator.watch import WatchHub

log = logging.getLogger(__name__)

# How often to look for tasks that became free by time alone.
_POLL_S = 0.5
_RENEWALS_PER_LEASE = 3
# Between a failure of our own (store away) and the next try.
_PAUSE_AFTER_ERROR_S = 1.0
# For giving a task back at a stop; with the store away, its lease runs out instead.
_HAND_OVER_S = 5.0
# How often jobs are looked for that have passed a time limit, and how many at a time.
_TIME_LIMITS_S = 0.5
_OVERDUE_AT_ONCE = 100
# Ended jobs that are read at the start, to estimate by.
_HISTORY = 100


@dataclass
class _Running:
    """A task that this process works on. stop: why it is being cancelled, if it is."""

    task: Task
    work: asyncio.Task[None]
    stop: Literal["", "cancel", "hand over", "lease lost"] = ""


class Engine:
    """Accepts jobs, and has them done between `start` and `stop`."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        storage: FileStorage,
        dispatcher: Dispatcher,
        hub: WatchHub,
        places: Places,
        holder: str,
    ) -> None:
        self._settings = settings
        self._store = store
        self._storage = storage
        self._dispatcher = dispatcher
        self._hub = hub
        self._ledger = Ledger(store, hub)
        self._admission = Admission(settings, store, self._ledger, dispatcher)
        self._runner = TaskRunner(
            store.patient(),
            self._ledger.patient(),
            dispatcher,
            places,
            RetryPolicy(settings.max_attempts),
            RunLimits(store.patient(), storage, settings.task_time_limit_s),
        )
        self._holder = holder
        self._running: dict[str, _Running] = {}
        self._outage_over_at = 0.0
        self._wake = asyncio.Event()
        store.when_tasks_are_free(lambda _: self._wake.set())
        # What is not heard of is noticed when the lease is renewed.
        store.when_jobs_are_over(self._stop_tasks)
        self._stopping = False
        self._loops: list[asyncio.Task[None]] = []

    # What callers may ask

    async def create(self, spec: Job, owner: str, request_id: str) -> Job:
        """Accept a job, or find the one that `request_id` made before."""
        job = await self._admission.create(spec, owner, request_id)
        self._wake.set()
        return job

    async def retry(self, job_id: str, owner: str, request_id: str) -> Job:
        """A new job of what an ended one has not made."""
        job = await self._admission.retry(job_id, owner, request_id)
        self._wake.set()
        return job

    async def wants(self, job_id: str, attempt_id: str) -> bool:
        """Whether an attempt is still of use: on the record, and not over."""
        try:
            job = await self._ledger.get(job_id)
        except NotFound:
            return False
        return JobMachine(job).is_open(attempt_id) and not is_over(job)

    async def get(self, job_id: str) -> Job:
        return await self._ledger.get(job_id)

    async def list(
        self, filter: Filter, order: Order, after: Place | None, limit: int, owner: str
    ) -> Page:
        return await self._store.list_jobs(filter, order, after, limit, owner)

    def watch(
        self, job_id: str, after_sequence: int, heartbeat_s: float
    ) -> AsyncIterator[JobEvent]:
        return self._hub.watch(job_id, after_sequence, heartbeat_s)

    def watch_all(
        self, filter: Filter, owner: str, initial: int, heartbeat_s: float
    ) -> AsyncIterator[WatchJobsResponse]:
        return self._hub.boards.follow(filter, owner, initial, heartbeat_s)

    async def cancel(self, job_id: str) -> Job:
        """Stop a job. One that has ended is returned as it is."""
        job = await self._ledger.step(job_id, JobMachine.request_cancel)
        if job.state != Job.CANCELLING:
            return job
        self._stop_tasks(job_id)
        return await self._settle_cancel(job_id)

    async def delete(self, job_id: str) -> None:
        """Remove a job that has ended, and its outputs."""
        job = await self._ledger.get(job_id)
        if not is_final(job):
            raise PreconditionFailed(
                "JOB_NOT_FINISHED", "The job has not ended: cancel it first, then delete it."
            )
        await remove_job(self._store, self._storage, job_id, job)
        self._hub.boards.touch(job_id)

    # What runs in the background

    def start(self) -> None:
        """Claim and do tasks until `stop`."""
        self._loops = [
            asyncio.create_task(self._claim_tasks()),
            asyncio.create_task(self._renew_leases()),
            asyncio.create_task(self._keep_time_limits()),
            asyncio.create_task(self._learn_from_history()),
        ]

    async def stop(self, grace_s: float) -> None:
        """Claim nothing more; let running tasks end within `grace_s`, hand over the rest."""
        self._stopping = True
        self._wake.set()
        claims, *others = self._loops
        await claims
        if self._running and grace_s > 0:
            await asyncio.wait([r.work for r in self._running.values()], timeout=grace_s)
        handed_over = list(self._running.values())
        for running in handed_over:
            running.stop = running.stop or "hand over"
            running.work.cancel()
        if handed_over:
            log.info("handing over %d running tasks", len(handed_over))
            await asyncio.wait([r.work for r in handed_over])
        for loop in others:
            loop.cancel()

    async def _claim_tasks(self) -> None:
        while not self._stopping:
            self._wake.clear()
            if not await self._claim():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _POLL_S)

    async def _claim(self) -> bool:
        """Begin one more task, if there is one and a worker for it."""
        try:
            if len(self._running) >= await self._dispatcher.capacity() or self._stopping:
                return False
            task = await self._store.claim_task(
                self._holder,
                self._settings.lease_s,
                self._settings.max_tasks_per_owner,
                take_over=time.monotonic() > self._outage_over_at,
            )
        except Exception:  # whatever it is, tasks must be claimed again afterwards
            log.exception("cannot claim tasks")
            # Nobody could renew a lease: let all who live do so before any is taken over.
            self._outage_over_at = time.monotonic() + self._settings.lease_s
            await asyncio.sleep(_PAUSE_AFTER_ERROR_S)
            return False
        if task is None:
            return False
        if task.id in self._running:
            return True  # our own lease had run out, and here is a new one
        self._running[task.id] = _Running(task, asyncio.create_task(self._do(task)))
        return True

    async def _do(self, task: Task) -> None:
        try:
            job = await self._ledger.get(task.job_id)
            if is_over(job):
                await self._end_cancelled(task)
            else:
                await self._runner.run(task, self._holder)
        except asyncio.CancelledError:
            await self._stopped(self._running[task.id])
        except Exception:
            # The store is away, or we are wrong. The lease will run out, and the task
            # will be claimed again, by us or by another.
            log.exception("task %s could not be settled", task.id)
        finally:
            del self._running[task.id]
            self._wake.set()

    async def _stopped(self, running: _Running) -> None:
        """The work on a task was cancelled by us: leave the task in the right state."""
        try:
            if running.stop == "cancel":
                await self._end_cancelled(running.task)
            elif running.stop == "hand over":
                async with asyncio.timeout(_HAND_OVER_S):
                    await self._runner.hand_over(running.task, self._holder)
        except Exception:
            log.exception("task %s could not be given back", running.task.id)

    async def _end_cancelled(self, task: Task) -> None:
        await self._runner.cancel(task)
        await self._store.finish_task(self._holder, task.id)
        await self._settle_cancel(task.job_id)

    async def _settle_cancel(self, job_id: str) -> Job:
        """CANCELLED once nobody works on the job any more."""
        if await self._store.finish_unclaimed_tasks(job_id):
            return await self._ledger.get(job_id)
        error = ServiceError(code_pb2.CANCELLED, "CANCELLED", "The job was cancelled.").to_status()
        return await self._ledger.step(job_id, lambda machine, at: machine.cancelled(error, at))

    def _stop_tasks(self, job_id: str) -> None:
        for running in self._running.values():
            if running.task.job_id == job_id and not running.stop:
                running.stop = "cancel"
                running.work.cancel()

    async def _renew_leases(self) -> None:
        pause_s = self._settings.lease_s / _RENEWALS_PER_LEASE
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self._keep(dict(self._running))
                pause_s = self._settings.lease_s / _RENEWALS_PER_LEASE
            except Exception:  # the next renewal may still come in time
                log.exception("cannot renew leases")
                pause_s = _PAUSE_AFTER_ERROR_S

    async def _keep(self, mine: Mapping[str, _Running]) -> None:
        """Keep what we work on; let go of what was taken over or cancelled elsewhere."""
        kept = await self._store.renew_leases(self._holder, list(mine), self._settings.lease_s)
        for running in mine.values():
            if running.task.id not in kept and not running.stop and not running.work.done():
                log.warning("task %s was taken over", running.task.id)
                running.stop = "lease lost"
                running.work.cancel()
        for job_id in {running.task.job_id for running in mine.values()}:
            job = await self._ledger.get(job_id)
            if is_over(job):
                self._stop_tasks(job_id)

    async def _keep_time_limits(self) -> None:
        while True:
            await asyncio.sleep(_TIME_LIMITS_S)
            try:
                overdue = await self._store.overdue_jobs(_OVERDUE_AT_ONCE)
            except Exception:  # the next round may find the store again
                log.exception("cannot look for overdue jobs")
                continue
            for job_id in overdue:
                try:
                    await self._expire(job_id)
                except Exception:  # the others have limits, too
                    log.exception("cannot end overdue job %s", job_id)

    async def _expire(self, job_id: str) -> None:
        """End a job that has waited or run for too long, and what works on it."""
        before = await self._ledger.get(job_id)
        job = await self._ledger.step(job_id, JobMachine.expire)
        if is_final(job):
            self._stop_tasks(job_id)
            await self._store.finish_unclaimed_tasks(job_id)
            # Last: a backend that cannot be reached must not keep the job from its end.
            await self._runner.stop_remote(before.attempts)

    async def _learn_from_history(self) -> None:
        """So that the first jobs after a start have an estimate."""
        done = Compare("state", "=", Job.SUCCEEDED)
        try:
            page = await self._store.list_jobs(done, NEWEST_FIRST, None, _HISTORY, None)
        except Exception:  # estimates are a courtesy
            log.exception("cannot read the history of jobs")
            return
        for job in reversed(page.jobs):
            self._ledger.history.learn(job)
