"""How many jobs are in each state that is not final, for the metrics. Counted in the store, as
other processes have made and moved some of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from apigpu.video.v1.job_pb2 import Job
from opentelemetry import metrics

from orchestrator.store.store import Store

log = logging.getLogger(__name__)

_INTERVAL_S = 10.0
_UNFINISHED = metrics.get_meter("apigpu").create_gauge(
    "apigpu.jobs.unfinished", description="Jobs that have not ended, by operation and state."
)


@asynccontextmanager
async def census(store: Store) -> AsyncIterator[None]:
    """Count again and again, until the block is left."""
    counting = asyncio.create_task(_count(store))
    try:
        yield
    finally:
        counting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await counting


async def _count(store: Store) -> None:
    seen: set[tuple[Job.State.ValueType, str]] = set()
    while True:
        try:
            found = {(state, kind): count for state, kind, count in await store.census()}
        except Exception:  # the store is away: the next count may find it again
            log.exception("cannot count the jobs")
        else:
            seen |= found.keys()
            for state, operation in seen:  # those of which none is left are told as 0
                kind = {"apigpu.operation": operation, "apigpu.state": Job.State.Name(state)}
                _UNFINISHED.set(found.get((state, operation), 0), kind)
        await asyncio.sleep(_INTERVAL_S)
