"""Removes jobs and files for good: what is in the database first, and then the bytes, by
whoever is left if somebody dies over it."""

from __future__ import annotations

from apigpu.video.v1.job_pb2 import Job

from apigpu_common.errors import reason_of
from orchestrator import ids
from orchestrator.files.storage import FileStorage
from orchestrator.store.store import Store

_FILES_A_STEP = 50


async def remove_job(store: Store, storage: FileStorage, job_id: str, job: Job) -> None:
    """The job, and its results unless another job needs them."""
    for key in _strays(job):
        await storage.delete(key)
    await store.delete_job(job_id)
    await remove_bytes(store, storage)


async def remove_bytes(store: Store, storage: FileStorage) -> None:
    """Of all files that are forgotten."""
    while keys := await store.removed_keys(_FILES_A_STEP):
        for key in keys:
            await storage.delete(key)
        await store.bytes_removed(keys)


def _strays(job: Job) -> list[str]:
    """Results that were accepted by somebody who may have died before he could record them."""
    recorded = {ids.id_of(item.output.file) for item in job.items}
    lost = [a for a in job.attempts if reason_of(a.error) == "ORCHESTRATOR_LOST"]
    made = [ids.result_id(attempt.id, item) for attempt in lost for item in attempt.item_ids]
    return [key for key in made if key not in recorded]
