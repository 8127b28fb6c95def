"""The platform's limits on public calls, by count."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from tests.runpod_emulator.clock import Clock
from tests.runpod_emulator.policy import RATES, Rate


class Rates:
    """limits: by operation; may be changed."""

    def __init__(self, clock: Clock) -> None:
        self.limits: dict[str, Rate] = dict(RATES)
        self._clock = clock
        self._calls: dict[str, deque[float]] = {}
        self._running: dict[str, int] = {}

    @contextmanager
    def counted(self, operation: str) -> Iterator[None]:
        """Raises 429 where there were too many such calls, or are too many at this moment."""
        rate = self.limits.get(operation)
        if rate is None:
            yield
            return
        calls, now = self._calls.setdefault(operation, deque()), self._clock.now()
        while calls and now - calls[0] > rate.window_s:
            calls.popleft()
        if len(calls) >= rate.count or self._running.get(operation, 0) >= rate.concurrent:
            raise web.HTTPTooManyRequests(text="too many requests")
        calls.append(now)
        self._running[operation] = self._running.get(operation, 0) + 1
        try:
            yield
        finally:
            self._running[operation] -= 1
