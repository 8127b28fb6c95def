"""Notices replicas that have died, so that nobody waits for the end of their leases.

Each replica is seen in the database while its connection lives, and that ends with its process.
One that hangs, or whose whole machine is lost, is still seen: its leases run out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from apigpu_common.errors import ServiceError
from orchestrator.background import Background
from orchestrator.store.store import Store

log = logging.getLogger(__name__)

_LOOK_S: Final = 1.0
# A connection that was cut comes again within so long: who is not seen then is dead.
_GONE_S: Final = 3.0


class Presence(Background):
    """Frees the tasks of replicas that have died. Use as `async with`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._missed_since: dict[str, float] = {}

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                await self.look(time.monotonic())
            except Exception as error:
                # With the store away, nobody is seen, and nobody is dead for that.
                self._missed_since = {}
                if isinstance(error, ServiceError):
                    log.warning("cannot see who is there: %s", error.message)
                else:
                    log.exception("cannot see who is there")

    async def look(self, now: float) -> None:
        """Free what those hold who have not been seen for long enough."""
        absent = await self._store.absent_holders()
        self._missed_since = {who: self._missed_since.get(who, now) for who in absent}
        for who, since in self._missed_since.items():
            if now - since >= _GONE_S and (tasks := await self._store.free_leases(who)):
                log.warning("%s has died: %d tasks of it go on", who, tasks)
