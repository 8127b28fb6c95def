"""A database for work that must not break off because the database is away for a while."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from apigpu_common.errors import ServiceError
from orchestrator.store.database import AWAY, BUSY, Database, T, Work

log = logging.getLogger(__name__)

_PATIENCE_S: Final = 300.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0


class PatientDatabase:
    """Implements `Database`: the same as `db`, but it waits until that is back.

    A write whose answer was lost is run again, so it must be one that can be told to have
    happened before: changes of jobs are fenced, tasks belong to their holder.
    """

    def __init__(self, db: Database, patience_s: float = _PATIENCE_S) -> None:
        self._db = db
        self._patience_s = patience_s
        self.subscribe = db.subscribe
        self.tell = db.tell
        self.stand_for = db.stand_for
        self.absent = db.absent
        self.open = db.open
        self.close = db.close
        self.tidy = db.tidy

    async def write(self, work: Work[T]) -> T:
        return await self._outlast(lambda: self._db.write(work))

    async def read(self, work: Work[T]) -> T:
        return await self._outlast(lambda: self._db.read(work))

    async def _outlast(self, attempt: Callable[[], Awaitable[T]]) -> T:
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + self._patience_s
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return await attempt()
            except ServiceError as error:
                if error.reason not in (AWAY, BUSY) or clock() + pause_s > give_up_at:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
