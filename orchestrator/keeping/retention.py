"""Removes what has been kept for long enough: stories, jobs with their results, uploads.

Works in small steps with pauses, so that it is never in the way of those who wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final

from apigpu_common.errors import ServiceError
from orchestrator.background import Background
from orchestrator.files.storage import FileStorage
from orchestrator.keeping.removal import remove_bytes, remove_job
from orchestrator.keeping.settings import KeepSettings
from orchestrator.store.store import Store

log = logging.getLogger(__name__)

_A_STEP: Final = 50
_EVENTS_A_STEP: Final = 500
_PAUSE_BETWEEN_STEPS_S: Final = 0.02


class Retention(Background):
    """Sweeps again and again. Use as `async with`."""

    def __init__(self, store: Store, storage: FileStorage, keep: KeepSettings) -> None:
        self._store = store
        self._storage = storage
        self._keep = keep
        # The stories up to here are trimmed; after a restart it is looked at once more.
        self._trimmed = (0.0, "")

    async def _run(self) -> None:
        while True:
            try:
                await self.sweep()
            except ServiceError as error:  # the store is away; the next time is soon enough
                log.warning("what is too old cannot be removed: %s", error.message)
            except Exception:
                log.exception("what is too old cannot be removed")
            await asyncio.sleep(self._keep.sweep_interval_s)

    async def sweep(self) -> None:
        """Remove all that is too old now."""
        if self._keep.keep_events_s:
            async for end_time, job_id in self._ended(self._keep.keep_events_s, self._trimmed):
                await self._trim(job_id)
                self._trimmed = (end_time, job_id)
        if self._keep.keep_jobs_s:
            async for _, job_id in self._ended(self._keep.keep_jobs_s, (0.0, "")):
                await self._trim(job_id)
                job = await self._store.get_job(job_id)
                if job is not None:  # another replica may be faster
                    await remove_job(self._store, self._storage, job_id, job)
        if self._keep.keep_uploads_s:
            while await self._store.delete_unused_uploads(self._keep.keep_uploads_s, _A_STEP):
                await remove_bytes(self._store, self._storage)
        await remove_bytes(self._store, self._storage)
        await self._store.give_back_space()

    async def _ended(
        self, older_than_s: float, after: tuple[float, str]
    ) -> AsyncIterator[tuple[float, str]]:
        while jobs := await self._store.ended_jobs(older_than_s, after, _A_STEP):
            for job in jobs:
                yield job
            after = jobs[-1]

    async def _trim(self, job_id: str) -> None:
        removed = _EVENTS_A_STEP
        while removed == _EVENTS_A_STEP:
            removed = await self._store.trim_story(job_id, _EVENTS_A_STEP)
            await asyncio.sleep(_PAUSE_BETWEEN_STEPS_S)
