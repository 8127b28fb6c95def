"""Removes what arrived and was never finished: uploads that nobody went on with, results that
nobody waits for. Runs beside the service."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from orchestrator.background import Background
from orchestrator.files import arrivals
from orchestrator.files.arrivals import Wanted
from orchestrator.files.links import LONGEST_S
from orchestrator.files.rooms import Files
from orchestrator.settings import Settings

log = logging.getLogger(__name__)

_SHORTEST_PAUSE_S = 1.0
# Longer than any link for an upload is good.
_LINKED_UPLOAD = timedelta(seconds=LONGEST_S, days=1)


class Sweeper(Background):
    """Use as `async with`."""

    def __init__(self, files: Files, wanted: Wanted, settings: Settings) -> None:
        self._storage = files.storage
        self._spool = files.spool
        self._wanted = wanted
        self._uploads_s = settings.upload_expiry_s
        self._pause_s = min(max(self._uploads_s / 4, _SHORTEST_PAUSE_S), settings.sweep_interval_s)

    async def _run(self) -> None:
        while True:
            try:
                uploads = await asyncio.to_thread(self._spool.sweep, self._uploads_s)
                strays = await self._sweep_arrivals()
            except Exception:  # the storage may be away; it is swept the next time
                log.exception("what was left over cannot be removed")
            else:
                if uploads or strays:
                    log.info("removed %d cut uploads and %d stray arrivals", uploads, strays)
            await asyncio.sleep(self._pause_s)

    async def _sweep_arrivals(self) -> int:
        removed = 0
        async for key, written in self._storage.arrivals():
            if await self._is_stray(key, written):
                await self._storage.delete(key)
                removed += 1
        return removed

    async def _is_stray(self, key: str, written: datetime) -> bool:
        """A result whose attempt has ended is nobody's: what an attempt brings is accepted before
        it ends. Of what else has arrived only time can tell."""
        attempt = arrivals.attempt_of(key)
        if attempt is not None:
            return not await self._wanted(*attempt)
        return written < datetime.now(UTC) - _LINKED_UPLOAD
