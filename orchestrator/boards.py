"""Follow all jobs that match a filter: for dashboards.

States, not stories: whatever changes between two messages is told once, as it stands. What
has changed is read once for all boards; a board that is read slowly keeps only the newest
state of each job, up to a bound.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from apigpu.video.v1.job_pb2 import Job
from apigpu.video.v1.video_service_pb2 import WatchJobsResponse
from google.rpc import code_pb2

from apigpu_common.errors import ServiceError, Unavailable
from orchestrator.jobs.filters import Filter, matches
from orchestrator.jobs.orders import NEWEST_FIRST
from orchestrator.jobs.views import basic
from orchestrator.store.records import StoredJob
from orchestrator.store.store import Store

log = logging.getLogger(__name__)

# Changes are gathered for so long: a message has all of them.
_GATHER_S: Final = 0.2
_JOBS_PER_MESSAGE: Final = 100
_MAX_BOARDS: Final = 200
# Jobs whose change a board has not been told yet; beyond that it must begin anew.
_MAX_PENDING: Final = 5000
# Jobs that a board remembers to have told, so as to say when they are gone.
_MAX_TOLD: Final = 10_000


class _Board:
    """One caller's view: which jobs, and what is new of them."""

    def __init__(self, filter: Filter, owner: str | None) -> None:
        self._filter = filter
        self._owner = owner
        self._told: OrderedDict[str, None] = OrderedDict()
        self._pending: dict[str, Job | None] = {}
        self._changed = asyncio.Event()
        self.overrun = False

    def offer(self, job_id: str, found: StoredJob | None) -> None:
        """A job has changed; None: it is deleted."""
        mine = found is not None and self._owner in (None, found.owner)
        job = found.job if found is not None and mine and matches(self._filter, found.job) else None
        if job is None and job_id not in self._told and job_id not in self._pending:
            return
        if len(self._pending) >= _MAX_PENDING:
            self.overrun = True
        else:
            self._pending[job_id] = basic(job) if job is not None else None
        self.wake()

    def begin(self, jobs: Sequence[Job]) -> Iterator[WatchJobsResponse]:
        """The messages that tell what there is."""
        for start in range(0, max(len(jobs), 1), _JOBS_PER_MESSAGE):
            part = jobs[start : start + _JOBS_PER_MESSAGE]
            for job in part:
                self._remember(job.name.partition("/")[2])
            complete = start + _JOBS_PER_MESSAGE >= len(jobs)
            yield WatchJobsResponse(jobs=map(basic, part), initial_complete=complete)

    def wake(self) -> None:
        self._changed.set()

    async def wait(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    def take(self) -> WatchJobsResponse:
        """What is new, or a part of it."""
        response = WatchJobsResponse()
        for job_id in list(self._pending)[:_JOBS_PER_MESSAGE]:
            job = self._pending.pop(job_id)
            if job is not None:
                self._remember(job_id)
                response.jobs.append(job)
            elif job_id in self._told:
                del self._told[job_id]
                response.removed.append(f"jobs/{job_id}")
        if not self._pending:
            self._changed.clear()
        return response

    def _remember(self, job_id: str) -> None:
        self._told[job_id] = None
        self._told.move_to_end(job_id)
        if len(self._told) > _MAX_TOLD:
            self._told.popitem(last=False)


class Boards:
    """All boards, and the one reader that feeds them, from `start` to `stop`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._boards: list[_Board] = []
        self._touched: dict[str, None] = {}
        self._news = asyncio.Event()
        self._closing = False
        self._reading: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._reading = asyncio.create_task(self._read())

    def stop(self) -> None:
        """The server is shutting down."""
        self._closing = True
        if self._reading is not None:
            self._reading.cancel()
        for board in self._boards:
            board.wake()

    def touch(self, job_id: str) -> None:
        """The job has changed, or is deleted."""
        if self._boards:
            self._touched[job_id] = None
            self._news.set()

    def missed(self) -> None:
        """Changes may not have been told: every board begins anew."""
        for board in self._boards:
            board.overrun = True
            board.wake()

    async def _read(self) -> None:
        """What has changed, once for all boards."""
        while True:
            await self._news.wait()
            await asyncio.sleep(_GATHER_S)
            touched, self._touched = self._touched, {}
            self._news.clear()
            try:
                await self._distribute(list(touched))
            except Exception:  # the store is away: those jobs are looked at again
                log.exception("cannot read changed jobs")
                for job_id in touched:
                    self.touch(job_id)
                await asyncio.sleep(1.0)

    async def _distribute(self, job_ids: list[str]) -> None:
        for start in range(0, len(job_ids), _JOBS_PER_MESSAGE):
            part = job_ids[start : start + _JOBS_PER_MESSAGE]
            found = await self._store.get_jobs(part)
            for board in self._boards:
                for job_id in part:
                    board.offer(job_id, found.get(job_id))

    async def follow(
        self, filter: Filter, owner: str | None, initial: int, heartbeat_s: float
    ) -> AsyncIterator[WatchJobsResponse]:
        """What there is, newest first, then what changes; an empty message as a heartbeat."""
        with self._board(filter, owner) as board:
            # Read only now: what changes from here on is told as well.
            page = await self._store.list_jobs(filter, NEWEST_FIRST, None, initial, owner)
            for response in board.begin(page.jobs):
                yield response
            while True:
                await board.wait(heartbeat_s)
                self._check(board)
                yield board.take()

    def _check(self, board: _Board) -> None:
        if self._closing:
            raise Unavailable("SHUTTING_DOWN", "The server is shutting down; watch again.")
        if board.overrun:
            raise Unavailable(
                "CHANGES_MISSED",
                "This stream could not tell every change: watch again, it begins with the"
                " present state.",
            )

    @contextmanager
    def _board(self, filter: Filter, owner: str | None) -> Iterator[_Board]:
        if len(self._boards) >= _MAX_BOARDS:
            raise ServiceError(
                code_pb2.RESOURCE_EXHAUSTED,
                "TOO_MANY_WATCHERS",
                f"{_MAX_BOARDS} callers are following all jobs already; try again later.",
                retry_after_s=30.0,
            )
        board = _Board(filter, owner)
        self._boards.append(board)
        try:
            yield board
        finally:
            self._boards.remove(board)
