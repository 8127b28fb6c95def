"""Work that goes on beside the service."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Self


class Background(ABC):
    """Runs as long as it is used as `async with`, and has ended when that ends."""

    @abstractmethod
    async def _run(self) -> None:
        """The work: without an end, and without errors that it does not tell itself."""

    async def __aenter__(self) -> Self:
        self._work = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._work.cancel()
        await asyncio.wait([self._work])
