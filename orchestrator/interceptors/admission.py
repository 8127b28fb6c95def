"""Refuses new work before any of it is read: where its owner has enough of it, or we have, or
the disk or the memory is about to be full."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cachetools import LRUCache, TTLCache

from apigpu_common.errors import QuotaExceeded
from apigpu_common.interceptors.handlers import Behaviour, Handler, WrappingInterceptor, responses
from orchestrator.access.identity import current
from orchestrator.limit_settings import LimitSettings
from orchestrator.memory import available_bytes
from orchestrator.store.store import Store

MAKES_JOBS = frozenset({"CreateJob", "RunJob", "RetryJob"})
TAKES_BYTES = frozenset({"UploadFile", "CreateUploadLink", "CompleteUpload"})
_RETRY_S = 10.0
# How long a look at the house, or a count of its jobs, is good.
_LOOK_S = 0.5
# And one at what an owner stores: a sum over all its files.
_SUM_S = 5.0
_KNOWN_OWNERS = 10_000


@dataclass(frozen=True)
class _House:
    """What is left for everybody, as it was a moment ago."""

    free_disk_bytes: int
    free_memory_bytes: int
    looked_at: float


def _house(data_dir: Path) -> _House:
    free_disk_bytes = shutil.disk_usage(data_dir).free
    return _House(free_disk_bytes, available_bytes(), time.monotonic())


@dataclass
class _Unfinished:
    """Jobs that had not ended when they were counted, and calls let in to make jobs since."""

    jobs: int = 0
    let_in: int = 0
    looked_at: float = -_LOOK_S


class AdmissionInterceptor(WrappingInterceptor):
    def __init__(self, settings: LimitSettings, store: Store, data_dir: Path) -> None:
        super().__init__(self._wrap_unary, self._wrap_stream)
        self._settings = settings
        self._store = store
        self._data_dir = data_dir
        self._house = _house(data_dir)
        self._looking = False
        self._stored_bytes: TTLCache[str, int] = TTLCache(_KNOWN_OWNERS, _SUM_S)
        # By owner (None: everybody's) and limit: none is counted further than to its limit.
        self._unfinished: LRUCache[tuple[str | None, int], _Unfinished] = LRUCache(_KNOWN_OWNERS)

    async def _admit(self, method: str) -> None:
        name = method.rpartition("/")[2]
        if name not in MAKES_JOBS | TAKES_BYTES:
            return
        await self._look()
        self._check_house()
        await self._check_bytes(name in TAKES_BYTES)
        if name in MAKES_JOBS:
            await self._check_jobs()

    async def _look(self) -> None:
        if self._looking or time.monotonic() - self._house.looked_at < _LOOK_S:
            return
        self._looking = True
        try:
            # In a thread: on a crowded machine the kernel takes 50 ms to add up a group's memory.
            self._house = await asyncio.to_thread(_house, self._data_dir)
        finally:
            self._looking = False

    def _check_house(self) -> None:
        house, settings = self._house, self._settings
        if house.free_disk_bytes < settings.min_free_disk_bytes:
            raise _full("DISK_FULL", "disk", "The service's disk is nearly full; try again later.")
        if house.free_memory_bytes < settings.min_free_memory_bytes:
            raise _full("MEMORY_FULL", "memory", "The service is short of memory; try again later.")

    async def _check_jobs(self) -> None:
        if not await self._has_room(None, self._settings.max_jobs):
            raise _full("QUEUE_FULL", "jobs", "Too many jobs wait here already; try again later.")
        owner = current().owner
        limit = current().limits.jobs or self._settings.max_jobs_per_owner
        if not await self._has_room(owner, limit):
            raise _full(
                "TOO_MANY_JOBS",
                f"owner {owner}",
                f"{limit} of your jobs have not ended yet: wait for some.",
            )

    async def _has_room(self, owner: str | None, limit: int) -> bool:
        """Whether one more job may be made. Counting many jobs takes long, so it is not done for
        each call; but nobody is refused for calls that were let in and may have made no job."""
        found = self._unfinished.setdefault((owner, limit), _Unfinished())
        full = found.jobs + found.let_in >= limit
        if time.monotonic() - found.looked_at > _LOOK_S or (full and found.let_in):
            found.looked_at, found.let_in = time.monotonic(), 0
            found.jobs = await self._store.unfinished_jobs(owner, limit)
        if found.jobs + found.let_in >= limit:
            return False
        found.let_in += 1
        return True

    async def _check_bytes(self, more: bool) -> None:
        """more: whether bytes come with this call. Jobs, which bring them later, are let in by
        what was seen a moment ago."""
        owner = current().owner
        limit = current().limits.stored_bytes or self._settings.max_stored_bytes_per_owner
        stored = None if more else self._stored_bytes.get(owner)
        if stored is None:
            stored = await self._store.stored_bytes(owner)
            if more:  # and soon it will be another number
                self._stored_bytes.pop(owner, None)
            else:
                self._stored_bytes[owner] = stored
        if stored >= limit:
            raise _full(
                "STORAGE_FULL",
                f"owner {owner}",
                f"Your files take {limit} bytes or more: delete jobs, or wait until they expire.",
            )

    def _wrap_unary(self, serve: Behaviour, handler: Handler, method: str) -> Behaviour:
        async def answer(request: Any, context: Any) -> Any:
            await self._admit(method)
            return await serve(request, context)

        return answer

    def _wrap_stream(self, serve: Behaviour, handler: Handler, method: str) -> Behaviour:
        async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
            await self._admit(method)
            async for response in responses(serve(request, context)):
                yield response

        return answer


def _full(reason: str, subject: str, message: str) -> QuotaExceeded:
    return QuotaExceeded(reason, message, subject=subject, retry_after_s=_RETRY_S)
