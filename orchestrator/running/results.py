"""Takes what workers bring: looks whether it arrived whole, and puts it on the job's record."""

from __future__ import annotations

from datetime import UTC, datetime

from apigpu.video.v1 import operations_pb2
from apigpu.video.v1.job_pb2 import Job, Output
from apigpu.worker.v1 import worker_service_pb2 as worker
from google.rpc import status_pb2

from apigpu_common.errors import InternalError, is_retryable
from orchestrator import ids
from orchestrator.files.places import Places
from orchestrator.files.storage import Written
from orchestrator.jobs import naming
from orchestrator.running.attempts import OpenAttempt
from orchestrator.running.ledger import Ledger
from orchestrator.store.records import DEFAULT_OWNER, StoredFile
from orchestrator.store.store import Store


class Results:
    def __init__(self, store: Store, ledger: Ledger, places: Places) -> None:
        self._store = store
        self._ledger = ledger
        self._places = places

    async def take(self, attempt: OpenAttempt, result: worker.ItemResult) -> None:
        """An item is done, or has failed; where another attempt may help, it is left to that."""
        item_id = result.item_id
        if item_id not in attempt.file_ids:
            return
        attempt.pending.pop(item_id, None)
        error = result.error
        if result.HasField("output"):
            output = Output()
            output.CopyFrom(result.output)
            output.filename = await self._filename(attempt.job, item_id)
            key = await self._accept(attempt, item_id, output)
            if key is not None:
                await self._succeed(attempt, item_id, output, key)
                return
            error = InternalError(
                "RESULT_MISSING", "The result did not arrive whole.", retryable=True
            ).to_status()
        if is_retryable(error):
            attempt.broken[item_id] = error
        else:
            await self._fail(attempt, item_id, error)

    async def _accept(self, attempt: OpenAttempt, item_id: str, told: Output) -> str | None:
        """Where the result lies now; None if what arrived is not what the worker measured."""
        job_id = attempt.task.job_id
        values = {
            "owner": await self._store.owner_of_job(job_id) or DEFAULT_OWNER,
            "job": job_id,
            "item": item_id,
            "filename": told.filename,
            "date": attempt.job.create_time.ToDatetime().date().isoformat(),
        }
        measured = Written(told.size_bytes, told.sha256)
        return await self._places.accept(attempt.id, attempt.file_ids[item_id], measured, values)

    async def _succeed(self, attempt: OpenAttempt, item_id: str, told: Output, key: str) -> None:
        file_id = attempt.file_ids.pop(item_id)
        told.file = ids.file_name(file_id)
        file = StoredFile(
            id=file_id,
            filename=told.filename,
            size_bytes=told.size_bytes,
            sha256=told.sha256,
            create_time=datetime.now(UTC),
            job_id=attempt.task.job_id,
            key=key,
        )
        await self._ledger.step(
            attempt.task.job_id,
            lambda machine, at: machine.item_succeeded(attempt.id, item_id, told, at),
            [file],
        )

    async def _fail(self, attempt: OpenAttempt, item_id: str, error: status_pb2.Status) -> None:
        attempt.file_ids.pop(item_id)
        told = attempt.blaming(item_id, error)
        await self._ledger.step(
            attempt.task.job_id,
            lambda machine, at: machine.item_failed(attempt.id, item_id, told, at),
        )

    async def _filename(self, job: Job, item_id: str) -> str:
        """By the source video's, where it was uploaded."""
        operation = job.WhichOneof("operation")
        source = getattr(getattr(job, operation or ""), "video", operations_pb2.MediaSource())
        video = await self._store.get_file(ids.id_of(source.file)) if source.file else None
        return naming.output_filename(job, item_id, video.filename if video else "")
