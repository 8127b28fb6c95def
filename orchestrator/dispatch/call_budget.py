"""How often RunPod may be asked: one budget for all jobs, shared fairly between them.

RunPod limits each kind of call by count and by how many run at the same time. We use half of
both, and leave the rest to other programs on the same endpoint. Who follows jobs asks each of
them at most once in `interval_s`, so that no job can take the share of another; and where RunPod
says 429 all calls of that kind wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiolimiter import AsyncLimiter

_SHARE = 0.5
# How long RunPod holds a call for news where every job can have one of its own.
_LONGEST_HOLD_S = 10.0
# It takes no less.
_SHORTEST_HOLD_S = 1.0


@dataclass(frozen=True)
class Rate:
    """At most `count` calls in `window_s`, and `concurrent` at the same time."""

    count: int
    window_s: float
    concurrent: int


# docs.runpod.io: Serverless, operation reference.
RATES = {
    "run": Rate(1000, 10.0, 200),
    "stream": Rate(2000, 10.0, 400),
    "status": Rate(2000, 10.0, 400),
    "cancel": Rate(100, 10.0, 20),
}


class _Lane:
    """One kind of call."""

    def __init__(self, rate: Rate) -> None:
        self.count_per_s = _SHARE * rate.count / rate.window_s
        self.concurrent = int(_SHARE * rate.concurrent)
        self.limiter = AsyncLimiter(_SHARE * rate.count, rate.window_s)
        self.slots = asyncio.Semaphore(self.concurrent)
        self.closed_until = 0.0


class CallBudget:
    """followers: how many jobs are being followed now."""

    def __init__(self, rates: Mapping[str, Rate] = RATES) -> None:
        self._lanes = {kind: _Lane(rate) for kind, rate in rates.items()}
        self.followers = 0

    @property
    def interval_s(self) -> float:
        """The shortest time between two questions for the same job."""
        return self.followers / self._lanes["stream"].count_per_s

    @property
    def hold_s(self) -> float:
        """How long one question may wait for news: not so long that others wait for it."""
        lane = self._lanes["stream"]
        if self.followers <= lane.concurrent:
            return _LONGEST_HOLD_S
        return max(_SHORTEST_HOLD_S, lane.concurrent / lane.count_per_s)

    @asynccontextmanager
    async def call(self, kind: str) -> AsyncIterator[None]:
        """Wait for the turn of a call of this kind, and make it inside. Kinds without a known
        limit count as "status"."""
        lane = self._lanes.get(kind, self._lanes["status"])
        async with lane.slots:
            while (wait_s := lane.closed_until - time.monotonic()) > 0:  # noqa: ASYNC110  by time
                await asyncio.sleep(wait_s)
            async with lane.limiter:
                yield

    def close(self, kind: str, for_s: float) -> None:
        """RunPod has had enough of such calls for a while."""
        lane = self._lanes.get(kind, self._lanes["status"])
        lane.closed_until = max(lane.closed_until, time.monotonic() + for_s)
