"""Processes as the system sees them (Linux), for tests that end them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path


def descendants(pid: int) -> set[int]:
    """The processes that `pid` has started, and theirs."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            after_name = (folder / "stat").read_text().rpartition(")")[2]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        parents[int(folder.name)] = int(after_name.split()[1])
    found: set[int] = set()
    while new := {child for child, parent in parents.items() if parent in found | {pid}} - found:
        found |= new
    return found


def command_line(pid: int) -> bytes:
    """Its words, each followed by a NUL; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def named(pid: int, words: bytes) -> list[int]:
    """Those below `pid` whose command line has `words` in it."""
    return [child for child in descendants(pid) if words in command_line(child)]


def alive(pids: Iterable[int]) -> set[int]:
    """Those that run; one that waits for its parent to take note of its end does not."""
    return {pid for pid in pids if command_line(pid)}


async def ended(pids: set[int], timeout_s: float) -> None:
    """Wait until none of them runs. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        for pid in pids:
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                await _readable(descriptor)
            finally:
                os.close(descriptor)


async def _readable(descriptor: int) -> None:
    """A descriptor of a process is readable once the process has ended."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_reader(descriptor, done.set)
    try:
        await done.wait()
    finally:
        loop.remove_reader(descriptor)
