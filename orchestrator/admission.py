"""How jobs come into being: asked for, or made of what an ended job has not made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import repeat

from apigpu.video.v1.job_pb2 import Job
from google.rpc import code_pb2

from apigpu_common.errors import InvalidInput, PreconditionFailed, ServiceError
from apigpu_common.telemetry import trace_parent
from orchestrator import ids
from orchestrator.dispatch.base import Dispatcher
from orchestrator.jobs import request, sources
from orchestrator.jobs.effort import item_efforts_s
from orchestrator.jobs.machine import JobMachine, is_final, item_ids
from orchestrator.jobs.sharding import shard
from orchestrator.running.ledger import Ledger
from orchestrator.settings import Settings
from orchestrator.store.records import NewJob, Task
from orchestrator.store.store import Store


class Admission:
    """Accepts jobs into the store, each with its tasks."""

    def __init__(
        self, settings: Settings, store: Store, ledger: Ledger, dispatcher: Dispatcher
    ) -> None:
        self._settings = settings
        self._store = store
        self._ledger = ledger
        self._dispatcher = dispatcher

    async def create(self, spec: Job, owner: str, request_id: str) -> Job:
        """Accept a job, or find the one that `request_id` made for this owner before."""
        limits = self._settings.queue_time_limit_s, self._settings.run_time_limit_s
        accepted = request.with_defaults(spec, *limits)
        name = ids.job_name(ids.new_id())
        machine = JobMachine.create(accepted, name, datetime.now(UTC), trace_parent())
        fingerprint = request.fingerprint(spec)
        try:
            await self._check_files(machine.job, owner)
        except InvalidInput:
            # A repeat means the job that there is, whatever became of its files since.
            made = await self._store.job_of_request(owner, request_id)
            if made is None:
                raise
            return _same(*made, fingerprint)
        return await self._admit(machine, owner, request_id, fingerprint)

    async def retry(self, job_id: str, owner: str, request_id: str) -> Job:
        """A new job of what an ended one has not made."""
        ended = await self._ledger.get(job_id)
        if not is_final(ended):
            raise PreconditionFailed(
                "JOB_NOT_FINISHED", "The job has not ended: there is nothing to try again yet."
            )
        if ended.state == Job.SUCCEEDED:
            raise PreconditionFailed("NOTHING_TO_RETRY", "Every item of the job has its output.")
        name = ids.job_name(ids.new_id())
        machine = JobMachine.retry(ended, name, datetime.now(UTC), trace_parent())
        try:
            await self._check_files(machine.job, owner)
        except InvalidInput as error:
            raise error.blaming("name") from None
        return await self._admit(machine, owner, request_id, f"retry of {ended.name}".encode())

    async def _admit(
        self, machine: JobMachine, owner: str, request_id: str, fingerprint: bytes
    ) -> Job:
        job, job_id = machine.job, ids.id_of(machine.job.name)
        parts = self._shards(job, machine.unfinished(item_ids(job)))
        # The oldest is done first, and of one millisecond that is the one with the least id.
        task_ids = sorted(ids.new_id() for _ in parts)
        new = NewJob(
            id=job_id,
            job=job,
            events=machine.take_events(),
            tasks=[Task(i, job_id, items) for i, items in zip(task_ids, parts, strict=True)],
            request_id=request_id,
            fingerprint=fingerprint,
            owner=owner,
            files=sources.files_needed(job),
        )
        stored = _same(*await self._store.create_job(new), fingerprint)
        if stored.name == job.name:
            self._ledger.created(job_id, job, new.events)
        return stored

    def _shards(self, job: Job, unfinished: Sequence[str]) -> list[list[str]]:
        """The items of each task."""
        efforts_s = dict(zip(item_ids(job), item_efforts_s(job) or repeat(0.0), strict=False))
        names = sources.picture_names(job)
        items = sources.side_by_side(unfinished, names)
        places = shard(
            [efforts_s[item] for item in items],
            self._settings.max_items_per_task,
            self._dispatcher.fleet(),
            [names[item] for item in items if item in names],
        )
        return [items[part.start : part.stop] for part in places]

    async def _check_files(self, job: Job, owner: str) -> None:
        named = {source.file: path for path, source in sources.sources_to_read(job) if source.file}
        missing = await self._store.missing_files([ids.id_of(name) for name in named], owner)
        for name, path in named.items():
            if ids.id_of(name) in missing:
                raise InvalidInput(
                    "FILE_NOT_FOUND",
                    f"{name} is not there (any more): upload it first.",
                    field=f"{path}.file",
                )


def _same(stored: Job, stored_fingerprint: bytes, fingerprint: bytes) -> Job:
    """The job of a request_id, where it was made from this very request."""
    if stored_fingerprint != fingerprint:
        raise ServiceError(
            code_pb2.ALREADY_EXISTS,
            "REQUEST_ID_REUSED",
            f"This request_id has made {stored.name} from another request: use a new one.",
            metadata={"job": stored.name},
        )
    return stored
