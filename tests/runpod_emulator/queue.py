"""The endpoint's jobs: what is waiting, who has it, how it ended, and what becomes too old."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.runpod_emulator.clock import Clock
from tests.runpod_emulator.policy import Policy

ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})


@dataclass
class Job:
    """A job at RunPod. buffered: what was yielded and not yet told on /stream. worker: who has
    it; workers: who was ever given it. times_taken: how often it was given out."""

    id: str
    body: dict[str, Any]
    made_at: float
    status: str = "IN_QUEUE"
    buffered: list[Any] = field(default_factory=list)
    output: Any = None
    error: str | None = None
    worker: str = ""
    workers: list[str] = field(default_factory=list)
    requeued: int = 0
    taken_at: float = 0.0
    ended_at: float = 0.0

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    def limit_s(self, name: str, default_s: float) -> float:
        """A time of the job's own policy, which is in milliseconds."""
        policy = self.body.get("policy")
        value = policy.get(name) if isinstance(policy, dict) else None
        return value / 1000 if isinstance(value, int | float) else default_s

    def told(self) -> dict[str, Any]:
        """As /status and webhooks tell it."""
        told: dict[str, Any] = {"id": self.id, "status": self.status}
        if self.taken_at:
            told["delayTime"] = int((self.taken_at - self.made_at) * 1000)
            told["workerId"] = self.worker
        if self.ended_at and self.taken_at:
            told["executionTime"] = int((self.ended_at - self.taken_at) * 1000)
        if self.output is not None:
            told["output"] = self.output
        if self.error is not None:
            told["error"] = self.error
        return told


class Queue:
    """All jobs by id, in the order in which they came. on_end: told of each job that ended."""

    def __init__(self, policy: Policy, clock: Clock, on_end: Callable[[Job], None]) -> None:
        self.jobs: dict[str, Job] = {}
        self.retried = 0
        # When a worker last ended a job, by its name.
        self.freed_at: dict[str, float] = {}
        # The next so many deliveries are made twice.
        self.deliver_twice = 0
        self._policy = policy
        self._clock = clock
        self._on_end = on_end
        self._again: list[Job] = []
        self._stops: dict[str, list[str]] = {}

    def submit(self, body: dict[str, Any], *, sync: bool = False) -> Job:
        name = f"sync-{uuid.uuid4()}-u1" if sync else f"{uuid.uuid4()}-u1"
        job = self.jobs[name] = Job(name, body, self._clock.now())
        self._clock.wake()
        return job

    def waiting(self, worker: str = "") -> list[Job]:
        """What `worker` could take."""
        queued = [job for job in self.jobs.values() if job.status == "IN_QUEUE"]
        return queued + [job for job in self._again if worker and job.worker != worker]

    def take(self, worker: str) -> Job | None:
        job = next(iter(self.waiting(worker)), None)
        if job is None:
            return None
        if job in self._again:
            self._again.remove(job)
        else:
            job.status, job.worker, job.taken_at = "IN_PROGRESS", worker, self._clock.now()
            if self.deliver_twice:
                self.deliver_twice -= 1
                self._again.append(job)
        job.workers.append(worker)
        self._clock.wake()
        return job

    def owned(self, worker: str) -> list[Job]:
        running = [job for job in self.jobs.values() if job.status == "IN_PROGRESS"]
        return [job for job in running if job.worker == worker]

    def yielded(self, job: Job, chunk: Any) -> None:
        if not job.ended:
            job.buffered.append(chunk)
            self._clock.wake()

    def drain(self, job: Job) -> list[Any]:
        """What was yielded since this was last asked: it is told once."""
        chunks, job.buffered = job.buffered, []
        return chunks

    def end(self, job: Job, status: str, *, output: Any = None, error: str | None = None) -> None:
        if job.ended:
            return
        job.status, job.ended_at = status, self._clock.now()
        job.output, job.error = output, error
        self.freed_at[job.worker] = job.ended_at
        if status in ("CANCELLED", "TIMED_OUT"):
            self._stop(job)
        self._on_end(job)
        self._clock.wake()

    def retry(self, job: Job) -> bool:
        """Whether it may be: the same id and input, its old output removed."""
        if job.status not in ("FAILED", "TIMED_OUT"):
            return False
        self._queue_again(job)
        return True

    def purge(self) -> int:
        removed = [job for job in self.jobs.values() if job.status == "IN_QUEUE"]
        for job in removed:
            self.end(job, "CANCELLED")
        return len(removed)

    def lost(self, worker: str) -> None:
        """Its worker fell silent: what it had is given to another, so often, then it fails."""
        for job in self.owned(worker):
            if job.requeued < self._policy.requeues:
                job.requeued += 1
                self.retried += 1
                self._queue_again(job)
            else:
                self.end(job, "FAILED", error="worker was lost")

    def stops(self, worker: str) -> list[str]:
        """Which jobs `worker` must stop: told once."""
        return self._stops.pop(worker, [])

    def has_stops(self, worker: str) -> bool:
        return worker in self._stops

    def look_at_the_clock(self) -> None:
        """End what has run for too long, and forget what is too old."""
        now, policy = self._clock.now(), self._policy
        for job in list(self.jobs.values()):
            retention_s = policy.retention_s
            if job.id.startswith("sync-"):
                retention_s = policy.sync_retention_s
            if job.ended:
                if now - job.ended_at > retention_s:
                    self._forget(job)
            elif now - job.made_at > job.limit_s("ttl", policy.ttl_s):
                self._stop(job)
                self._forget(job)
            elif job.status == "IN_PROGRESS":
                limit_s = job.limit_s("executionTimeout", policy.execution_timeout_s)
                if now - job.taken_at > limit_s:
                    self.end(job, "TIMED_OUT", error="job timed out")

    def _queue_again(self, job: Job) -> None:
        job.status, job.worker, job.taken_at, job.ended_at = "IN_QUEUE", "", 0.0, 0.0
        job.output = job.error = None
        self._clock.wake()

    def _forget(self, job: Job) -> None:
        del self.jobs[job.id]
        self._clock.wake()

    def _stop(self, job: Job) -> None:
        for worker in job.workers:
            self._stops.setdefault(worker, []).append(job.id)
