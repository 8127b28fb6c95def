"""Folders for files in the making: one an item, removed by its owner whatever happens, and by
the next worker where the owner died."""

from __future__ import annotations

import asyncio
import fcntl
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class Workspaces:
    """One worker's part of the work folder. Use as `async with`."""

    def __init__(self, work_dir: Path) -> None:
        self._work_dir = work_dir
        self._own = work_dir / uuid.uuid4().hex

    async def __aenter__(self) -> Workspaces:
        await asyncio.to_thread(self._open)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(shutil.rmtree, self._own, ignore_errors=True)
        self._lock.close()

    def _open(self) -> None:
        self._work_dir.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()
        self._own.mkdir(mode=0o700)
        # Held for as long as this process lives; a kill releases it too.
        self._lock = (self._own / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def _remove_leftovers(self) -> None:
        for lock_path in self._work_dir.glob("*/lock"):
            with lock_path.open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    continue  # its owner lives
                shutil.rmtree(lock_path.parent, ignore_errors=True)

    @asynccontextmanager
    async def folder(self) -> AsyncIterator[Path]:
        """A private empty folder, gone when the block is left."""
        path = self._own / uuid.uuid4().hex
        path.mkdir(mode=0o700)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)  # few files: not worth a thread, nor a cancel
