"""Folders for files in the making, and who may remove them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gpu_worker.workspace import Workspaces


async def test_a_folder_is_private_and_gone_whatever_happens(tmp_path: Path) -> None:
    async with Workspaces(tmp_path) as workspaces:
        with pytest.raises(RuntimeError):
            async with workspaces.folder() as folder:
                assert folder.stat().st_mode & 0o777 == 0o700
                (folder / "half").write_bytes(b"x")
                raise RuntimeError
        assert not folder.exists()


async def test_what_a_dead_worker_left_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    async with Workspaces(tmp_path) as living, living.folder() as folder:
        dead = [tmp_path / (32 * digit) for digit in "01"]
        for path in dead:
            (path / "item").mkdir(parents=True)
        (dead[0] / "lock").touch()  # the other was killed before it had one
        async with Workspaces(tmp_path):
            assert folder.is_dir()
            assert not any(path.exists() for path in dead)


async def test_what_is_not_a_workers_stays(tmp_path: Path) -> None:
    mine = tmp_path / "holiday" / "lock"
    mine.parent.mkdir()
    mine.write_text("my own")
    async with Workspaces(tmp_path):
        assert mine.read_text() == "my own"


async def test_workers_that_start_together_do_not_remove_each_other(tmp_path: Path) -> None:
    workers = [Workspaces(tmp_path) for _ in range(20)]
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(worker) for worker in workers))
        for worker in workers:
            async with worker.folder() as folder:
                assert folder.is_dir()
