"""Folders for files in the making: one an item, removed by its owner whatever happens, and by
the next worker where the owner died."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from apigpu_common.errors import InternalError

_LOCK = "lock"


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

    @asynccontextmanager
    async def folder(self) -> AsyncIterator[Path]:
        """A private empty folder, gone when the block is left."""
        path = self._own / uuid.uuid4().hex
        path.mkdir(mode=0o700)
        try:
            yield path
        finally:
            # Long files take the disk a while. A thread that has begun ends even if we are
            # cancelled again; what it cannot remove goes with our whole part.
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, path, ignore_errors=True))

    def _open(self) -> None:
        self._work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._work_dir.stat().st_uid not in (0, os.geteuid()):
            # In a folder for everybody, somebody may have been there before us.
            raise InternalError(
                "WORK_DIR_NOT_OURS",
                f"{self._work_dir} belongs to another user: name a folder of your own with"
                " APIGPU_WORKER_WORK_DIR.",
            )
        # Workers that start together take turns: a folder without a locked file has no owner.
        with (self._work_dir / _LOCK).open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            for path in self._work_dir.iterdir():
                if _is_ours(path) and _is_left_over(path):
                    shutil.rmtree(path, ignore_errors=True)
            self._own.mkdir(mode=0o700)
            # Held for as long as this process lives; a kill releases it too.
            self._lock = (self._own / _LOCK).open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)


def _is_ours(path: Path) -> bool:
    """Whether a worker has made it: anything else that may be in the work folder stays."""
    return re.fullmatch("[0-9a-f]{32}", path.name) is not None and not path.is_symlink()


def _is_left_over(path: Path) -> bool:
    """Whether no living worker holds the folder."""
    try:
        with (path / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return True  # its worker was killed before it could lock it
    return True
