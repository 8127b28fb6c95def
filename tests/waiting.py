"""Waits for what no event tells of: files that come or go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_PAUSE_S = 0.02


async def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    """Raises TimeoutError where it does not come to hold."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110  nobody sets an event
            await asyncio.sleep(_PAUSE_S)
