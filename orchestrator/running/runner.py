"""Has one claimed task done: dispatches it, follows its events, settles what is left."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager

from apigpu.video.v1.job_pb2 import Attempt, Job
from apigpu.worker.v1 import worker_service_pb2 as worker
from google.rpc import status_pb2
from opentelemetry import trace

from apigpu_common.errors import InternalError, ServiceError, Unavailable, is_retryable
from apigpu_common.logs import about
from apigpu_common.telemetry import context_of, trace_parent
from orchestrator import ids
from orchestrator.dispatch.base import Dispatcher
from orchestrator.files.places import Places
from orchestrator.jobs import sources
from orchestrator.jobs.machine import JobMachine
from orchestrator.jobs.tasks import RetryPolicy, next_attempt
from orchestrator.running import budget
from orchestrator.running.attempts import OpenAttempt
from orchestrator.running.budget import BudgetExceeded
from orchestrator.running.ledger import Ledger
from orchestrator.running.results import Results
from orchestrator.running.run_limits import RunLimits
from orchestrator.store.records import Task
from orchestrator.store.store import Store

log = logging.getLogger(__name__)

_TRACER = trace.get_tracer("apigpu")

# Progress that only moves numbers is stored and told this often.
_PROGRESS_INTERVAL_S = 0.2


class TaskRunner:
    """Runs claimed tasks, each to its end or to a place where another attempt goes on."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        dispatcher: Dispatcher,
        places: Places,
        retry: RetryPolicy,
        run_limits: RunLimits,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._places = places
        self._results = Results(store, ledger, places)
        self._retry = retry
        self._run_limits = run_limits

    async def run(self, task: Task, holder: str) -> None:
        """Do the task. On return it is finished or queued again; a cancel leaves it claimed."""
        with about(job=ids.job_name(task.job_id), task=task.id):
            await self._run(task, holder)

    async def _run(self, task: Task, holder: str) -> None:
        job = await self._ledger.get(task.job_id)
        job = await self._end_lost(job, task)
        machine = JobMachine(job)
        item_ids = machine.unfinished(task.item_ids)
        following = next_attempt(task.id, machine.attempts(task.id))
        record = following.record
        attempt = OpenAttempt(
            record.id,
            following.number,
            record,
            task,
            job,
            {item_id: ids.result_id(record.id, item_id) for item_id in item_ids},
        )
        if not item_ids:
            await self._store.finish_task(holder, task.id)
            return
        try:
            self._check(attempt)
        except ServiceError as error:
            await self._settle(attempt, holder, error.to_status())
            return
        if not record.remote_id:
            await self._begin(attempt)
        await self._settle(attempt, holder, await self._attempt(attempt))

    def _check(self, attempt: OpenAttempt) -> None:
        """Raise ServiceError where there is to be no further attempt."""
        if attempt.number > self._retry.max_attempts:
            # Whoever had it died each time without a word.
            raise InternalError(
                "ATTEMPTS_EXHAUSTED", "The work broke off in every attempt that was made."
            )
        if not attempt.record.remote_id:
            budget.check(attempt.job)

    async def _end_lost(self, job: Job, task: Task) -> Job:
        """Whoever had the task before us died at it: that goes on the record."""
        error = Unavailable("ORCHESTRATOR_LOST", "The service died during the work.").to_status()
        for lost in JobMachine(job).open_attempts(task.id):
            if not self._goes_on(lost):
                job = await self._end(task.job_id, lost.id, error)
        return job

    def _goes_on(self, attempt: Attempt) -> bool:
        """Whether it can be followed although whoever began it is gone."""
        of_backend = attempt.backend == self._dispatcher.name
        return of_backend and self._dispatcher.outlives_us and bool(attempt.remote_id)

    async def cancel(self, task: Task) -> None:
        """Stop what goes on without us."""
        job = await self._ledger.get(task.job_id)
        await self.stop_remote(JobMachine(job).open_attempts(task.id))

    async def stop_remote(self, attempts: Iterable[Attempt]) -> None:
        """Stop those of the attempts that go on without anybody who follows them."""
        for attempt in attempts:
            if not attempt.HasField("end_time") and self._goes_on(attempt):
                await self._dispatcher.cancel(attempt)

    async def _begin(self, attempt: OpenAttempt) -> None:
        """On the record before it is dispatched: what dies later is known to have been."""
        await self._ledger.step(
            attempt.task.job_id,
            lambda machine, at: machine.attempt_begun(
                attempt.id, list(attempt.file_ids), self._dispatcher.name, at
            ),
        )

    async def _end(
        self,
        job_id: str,
        attempt_id: str,
        error: status_pb2.Status | None,
        *,
        handed_over: bool = False,
    ) -> Job:
        return await self._ledger.step(
            job_id,
            lambda machine, at: machine.attempt_ended(
                attempt_id, error, at, handed_over=handed_over
            ),
        )

    async def _attempt(self, attempt: OpenAttempt) -> status_pb2.Status:
        """Dispatch and follow; returns why items without a result have none."""
        try:
            with self._span(attempt):
                request = await self._request(attempt)
                async with budget.kept(self._ledger, attempt.job):
                    async for event in self._dispatcher.execute(request, attempt.record):
                        if isinstance(event, Attempt):
                            await self._learn(attempt, event)
                        else:
                            await self._apply(attempt, event)
        except BudgetExceeded as error:
            await self.cancel(attempt.task)
            return error.to_status()
        except ServiceError as error:
            log.warning("attempt %s broke: %s", attempt.id, error.message)
            return error.to_status()
        except Exception:
            log.exception("attempt %s broke", attempt.id)
            return InternalError(
                "INTERNAL", "Something went wrong on our side.", retryable=True
            ).to_status()
        return InternalError("RESULT_MISSING", "The worker did not give a result.").to_status()

    def _span(self, attempt: OpenAttempt) -> AbstractContextManager[object]:
        """The attempt in its job's trace."""
        job = attempt.job
        attributes: dict[str, str | int] = {
            "apigpu.job": job.name,
            "apigpu.attempt": attempt.id,
            "apigpu.backend": self._dispatcher.name,
            "apigpu.items": len(attempt.file_ids),
        }
        parent = context_of(job.trace_parent)
        return _TRACER.start_as_current_span("attempt", parent, attributes=attributes)

    async def _request(self, attempt: OpenAttempt) -> worker.Task:
        job, task = attempt.job, attempt.task
        request = worker.Task(id=task.id, attempt_id=attempt.id, job=job.name)
        request.trace_parent = trace_parent()
        run_limit_s = await self._run_limits.of(job, attempt.file_ids)
        request.time_limit.FromMilliseconds(int(1000 * run_limit_s))
        operation = job.WhichOneof("operation")
        assert operation is not None
        getattr(request, operation).CopyFrom(getattr(job, operation))
        if operation == "images_to_videos":
            kept = [image for image in job.images_to_videos.images if image.id in attempt.file_ids]
            del request.images_to_videos.images[:]
            request.images_to_videos.images.extend(kept)
        request.shared_inputs.extend(sources.shared(job, attempt.file_ids))
        permit = self._places.permit(task.job_id, attempt.id)
        if self._dispatcher.outlives_us and permit is not None:
            request.permit.CopyFrom(permit)
        for item_id, file_id in attempt.file_ids.items():
            target = await self._places.target(task.job_id, attempt.id, file_id)
            long_target = self._places.long_target(task.job_id, attempt.id, file_id)
            request.items.add(id=item_id, target=target, long_target=long_target)
        for _, source in sources.media_sources(job):
            if source.file:
                file = await self._store.get_file(ids.id_of(source.file))
                key = file.key if file else ids.id_of(source.file)
                location = await self._places.source(key)
                request.files[source.file].CopyFrom(location)
        return request

    async def _learn(self, attempt: OpenAttempt, facts: Attempt) -> None:
        await self._ledger.step(
            attempt.task.job_id,
            lambda machine, at: machine.attempt_told(attempt.id, facts, at),
        )

    async def _apply(self, attempt: OpenAttempt, event: worker.TaskEvent) -> None:
        last_sequence = attempt.last_sequences.get(event.run_id, 0)
        if event.attempt_id != attempt.id or event.sequence <= last_sequence:
            return  # of another attempt, or seen before
        attempt.last_sequences[event.run_id] = event.sequence
        kind = event.WhichOneof("event")
        if kind == "started":
            worker_id, facts = event.started.worker_id, self._facts(event.started)
            await self._ledger.step(
                attempt.task.job_id,
                lambda machine, at: machine.start(attempt.id, worker_id, at, facts),
            )
        elif kind == "progress":
            await self._progress(attempt, event.progress)
        elif kind == "result":
            await self._results.take(attempt, event.result)
        elif kind == "finished":
            for result in event.finished.results:
                await self._results.take(attempt, result)

    def _facts(self, started: worker.TaskStarted) -> Attempt:
        """What a worker tells of itself, and its price."""
        facts = Attempt(gpu=started.gpu, worker_version=started.version)
        if started.HasField("start_up_time"):
            facts.cold_start_time.CopyFrom(started.start_up_time)
        price = self._dispatcher.price_micros_per_second(started.gpu)
        if price is not None:
            facts.price_micros_per_second = price
        return facts

    async def _progress(self, attempt: OpenAttempt, told: worker.ItemProgress) -> None:
        known = attempt.pending.get(told.item_id)
        attempt.pending[told.item_id] = told.progress
        now = time.monotonic()
        new_stage = known is None or known.stage != told.progress.stage
        if new_stage or now - attempt.flushed_at >= _PROGRESS_INTERVAL_S:
            attempt.flushed_at = now
            pending, attempt.pending = attempt.pending, {}
            await self._ledger.step(
                attempt.task.job_id,
                lambda machine, at: machine.items_progressed(attempt.id, pending, at),
            )

    async def _settle(self, attempt: OpenAttempt, holder: str, failure: status_pb2.Status) -> None:
        """Queue what is left for another attempt, or fail it where there is none."""
        task = attempt.task
        left = {item_id: attempt.broken.get(item_id, failure) for item_id in attempt.file_ids}
        delay_s = self._retry.backoff_s(attempt.number)
        again = [i for i, e in left.items() if is_retryable(e) and delay_s is not None]
        failed = {i: attempt.blaming(i, e) for i, e in left.items() if i not in again}
        error = next(iter(left.values()), None)
        await self._ledger.step(
            task.job_id,
            lambda machine, at: machine.attempt_broke(attempt.id, error, failed, again, at),
        )
        if again and delay_s is not None:
            await self._store.requeue_task(holder, task.id, delay_s)
        else:
            await self._store.finish_task(holder, task.id)

    async def _requeue(self, job_id: str, item_ids: list[str]) -> Job:
        return await self._ledger.step(
            job_id, lambda machine, at: machine.items_requeued(item_ids, at)
        )

    async def hand_over(self, task: Task, holder: str) -> None:
        """Give a task that was cancelled in the middle to whoever claims it next."""
        job = await self._ledger.get(task.job_id)
        job = await self._requeue(task.job_id, JobMachine(job).unfinished(task.item_ids))
        for attempt in JobMachine(job).open_attempts(task.id):
            if not self._goes_on(attempt):
                await self._end(task.job_id, attempt.id, None, handed_over=True)
        await self._store.requeue_task(holder, task.id, 0.0)
