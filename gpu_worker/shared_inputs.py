"""Inputs that several tasks of a job read: this worker fetches them once, and keeps them while it
is at one of these tasks and a little longer, as the next one may be on its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gpu_worker.fetch import Fetcher
from gpu_worker.inputs import Inputs
from gpu_worker.workspace import Workspaces

# What nobody is at is kept for so long, for so many jobs, and so much of it for each.
_KEEP_S = 60.0
_KEPT_JOBS = 4
_KEPT_BYTES = 2**30


@dataclass
class _Shelf:
    """The inputs of one job, in a folder that goes with `closing`. end: when that will be, while
    no task is at it."""

    folder: Path
    inputs: Inputs
    closing: AsyncExitStack
    tasks: int = 0
    end: asyncio.TimerHandle | None = None

    def stay(self) -> None:
        """Nothing ends it by time."""
        if self.end is not None:
            self.end.cancel()
            self.end = None

    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.iterdir())


class SharedInputs:
    """By job. What is left when the worker ends goes with its workspace."""

    def __init__(
        self, workspaces: Workspaces, fetcher: Fetcher, *, keep_s: float = _KEEP_S
    ) -> None:
        self._workspaces = workspaces
        self._fetcher = fetcher
        self._keep_s = keep_s
        self._shelves: dict[str, _Shelf] = {}  # the one that was longest without a task first
        self._opening = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def of(self, job: str) -> AsyncIterator[Inputs]:
        """For a task of `job`, while it is worked on."""
        async with self._opening:
            shelf = self._shelves.get(job) or await self._open(job)
            shelf.tasks += 1
        shelf.stay()
        shelf.inputs.forget_failures()
        try:
            yield shelf.inputs
        finally:
            shelf.tasks -= 1
            if not shelf.tasks:
                try:
                    await shelf.inputs.stop()
                finally:
                    self._put_by(job, shelf)

    async def _open(self, job: str) -> _Shelf:
        closing = AsyncExitStack()
        folder = await closing.enter_async_context(self._workspaces.folder())
        inputs = await closing.enter_async_context(Inputs(self._fetcher, folder))
        self._shelves[job] = _Shelf(folder, inputs, closing)
        return self._shelves[job]

    def _put_by(self, job: str, shelf: _Shelf) -> None:
        """Nobody is at it now, and perhaps nobody will be."""
        if shelf.tasks or self._shelves.get(job) is not shelf:
            return  # somebody came meanwhile, or came and went
        shelf.stay()
        if not 0 < shelf.size_bytes() <= _KEPT_BYTES:
            self._drop(job)
            return
        loop = asyncio.get_running_loop()
        shelf.end = loop.call_later(self._keep_s, self._drop, job)
        self._shelves[job] = self._shelves.pop(job)
        idle = [name for name, each in self._shelves.items() if not each.tasks]
        for name in idle[:-_KEPT_JOBS]:
            self._drop(name)

    def _drop(self, job: str) -> None:
        shelf = self._shelves.pop(job)
        shelf.stay()
        closing = asyncio.create_task(shelf.closing.aclose())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
