"""The endpoint's workers: from 0 to its limit as work comes in, and down again."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

from tests.runpod_emulator.clock import Clock
from tests.runpod_emulator.policy import Policy
from tests.runpod_emulator.queue import Queue
from tests.runpod_emulator.worker import HANDLER, PING_INTERVAL_S, Worker, environment


class Fleet:
    """workers: by name, those that are gone left out. crashed: how many ended before they took
    work. unhealthy: what they had said is wrong with them."""

    def __init__(self, policy: Policy, clock: Clock, queue: Queue, work_dir: Path) -> None:
        self.workers: dict[str, Worker] = {}
        self.crashed = 0
        self.unhealthy: list[str] = []
        # The program that a worker runs, and further variables of its environment.
        self.command: Sequence[str] = HANDLER
        self.environment: dict[str, str] = {}
        self.base_url = ""
        self.endpoint = ""
        self._policy = policy
        self._clock = clock
        self._queue = queue
        self._work_dir = work_dir
        self._not_before = 0.0

    def state(self, worker: Worker) -> str:
        """As /health counts it: a ready worker is idle or running."""
        if worker.state != "ready":
            return worker.state
        return "running" if self._queue.owned(worker.name) else "idle"

    def count(self, state: str) -> int:
        return sum(self.state(worker) == state for worker in self.workers.values())

    def wanted(self) -> int:
        """How many workers are missing, although work waits for them."""
        now, policy = self._clock.now(), self._policy
        patient = [
            job for job in self._queue.waiting() if now - job.made_at >= policy.queue_delay_s
        ]
        awake = self.count("initializing") + self.count("idle") + self.count("running")
        coming = self.count("initializing") + self.count("idle")
        missing = max(len(patient) - coming, policy.workers_min - awake)
        stuck = any(now - job.made_at >= policy.stuck_s for job in patient)
        if stuck and not self.count("initializing"):
            missing = max(missing, 1)  # whoever seems idle does not take it
        return max(0, min(missing, policy.workers_max - awake))

    def retire(self, worker: Worker) -> None:
        """Ask it to go. It gets no more work; after the grace it is killed."""
        self.leave(worker)
        worker.terminate()

    def leave(self, worker: Worker) -> None:
        """It is about to go."""
        worker.state, worker.since = "stopping", self._clock.now()
        self._clock.wake()

    async def reconcile(self) -> None:
        """One step towards what the work asks for."""
        self._let_go_of_the_ended()
        await self._scale_up()
        await self._scale_down()
        await self._let_go_of_the_silent()

    async def close(self) -> None:
        for worker in list(self.workers.values()):
            await worker.kill()
        self.workers.clear()

    async def _scale_up(self) -> None:
        if self._policy.throttled:
            return
        for worker in list(self.workers.values()):
            if worker.state == "paused" and self.wanted():
                worker.since = self._clock.now()
                worker.resume()
        if self._clock.now() >= self._not_before:
            for _ in range(self.wanted()):
                name = f"pod{uuid.uuid4().hex[:10]}"
                self.workers[name] = Worker(name, "initializing", self._clock.now())
        for worker in self.workers.values():
            brought = self._clock.now() - worker.since >= self._policy.cold_start_s
            if worker.process is None and brought:
                variables = environment(worker.name, self.base_url, self.endpoint, self._work_dir)
                await worker.start(self.command, self._work_dir, {**variables, **self.environment})

    async def _scale_down(self) -> None:
        now, policy = self._clock.now(), self._policy
        for worker in list(self.workers.values()):
            state = self.state(worker)
            since = max(worker.since, self._queue.freed_at.get(worker.name, 0.0))
            awake = self.count("idle") + self.count("running")
            idle = state == "idle" and not self._queue.waiting()
            if idle and now - since > policy.idle_timeout_s and awake > policy.workers_min:
                if policy.flash_boot:
                    worker.since = now
                    worker.pause()
                    self._clock.wake()  # its polls end
                else:
                    self.retire(worker)
            elif state == "stopping" and now - worker.since > policy.grace_s:
                await worker.kill()

    def _let_go_of_the_ended(self) -> None:
        for worker in list(self.workers.values()):
            if worker.process is None or worker.process.returncode is None:
                continue
            if worker.state == "initializing":
                self.crashed += 1
                if worker.unhealthy:
                    self.unhealthy.append(worker.unhealthy)
                self._not_before = self._clock.now() + self._policy.restart_pause_s
            if not self._queue.owned(worker.name):  # else it is missed when its pings are
                del self.workers[worker.name]
                self._clock.wake()

    async def _let_go_of_the_silent(self) -> None:
        limit_s = self._policy.missed_pings * PING_INTERVAL_S
        for worker in list(self.workers.values()):
            if self._queue.owned(worker.name) and worker.silent_s() > limit_s:
                await worker.kill()
                self._queue.lost(worker.name)


async def reconciling(fleet: Fleet, queue: Queue, clock: Clock) -> None:
    """Keep up with the work and with the time, until cancelled."""
    while True:
        queue.look_at_the_clock()
        await fleet.reconcile()
        await clock.until(lambda: False, 0.05)
