"""The platform's time, which a test may move on: half an hour of retention is over at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable


class Clock:
    """Seconds since some moment, and whoever waits for something to change."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self._changed = asyncio.Event()

    def now(self) -> float:
        return time.monotonic() + self._ahead_s

    def advance(self, seconds: float) -> None:
        self._ahead_s += seconds
        self.wake()

    def wake(self) -> None:
        """Have everyone who waits look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, holds: Callable[[], bool], hold_s: float) -> bool:
        """Wait until `holds`, at most `hold_s` of real time; returns whether it does."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(hold_s):
                while not holds():
                    await self._changed.wait()
        return holds()
