"""Removes what arrived and was never finished: uploads that nobody went on with, results that
were never accepted. Runs beside the service."""

from __future__ import annotations

import asyncio
import logging

from orchestrator.background import Background
from orchestrator.files.spool import Spool
from orchestrator.files.storage import FileStorage

log = logging.getLogger(__name__)

_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 3600.0


class Sweeper(Background):
    """Use as `async with`.

    uploads_s: how long after its last byte a cut upload is kept.
    results_s: how long a result may lie unaccepted: longer than any attempt takes.
    """

    def __init__(
        self, storage: FileStorage, spool: Spool, *, uploads_s: float, results_s: float
    ) -> None:
        self._storage = storage
        self._spool = spool
        self._uploads_s = uploads_s
        self._results_s = results_s

    async def _run(self) -> None:
        pause_s = min(max(self._uploads_s / 4, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)
        while True:
            try:
                uploads = await asyncio.to_thread(self._spool.sweep, self._uploads_s)
                results = await self._storage.sweep_arrivals(self._results_s)
            except Exception:  # the storage may be away; it is swept the next time
                log.exception("what was left over cannot be removed")
            else:
                if uploads or results:
                    log.info("removed %d cut uploads and %d stray results", uploads, results)
            await asyncio.sleep(pause_s)
