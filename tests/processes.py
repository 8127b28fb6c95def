"""Processes as the system sees them (Linux), for tests that end them."""

from __future__ import annotations

import asyncio
import os
import re
import select
import time
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
    return _of(pid, "cmdline")


def environment(pid: int) -> bytes:
    """The variables it was started with, each followed by a NUL; empty where it has ended."""
    return _of(pid, "environ")


def _of(pid: int, file: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def named(pid: int, words: bytes) -> list[int]:
    """Those below `pid` whose command line has `words` in it."""
    return [child for child in descendants(pid) if words in command_line(child)]


def alive(pids: Iterable[int]) -> set[int]:
    """Those that run; one that waits for its parent to take note of its end does not."""
    return {pid for pid in pids if command_line(pid)}


def waited_for(pids: set[int], timeout_s: float) -> float:
    """Wait until none of them runs; returns when that was, by the monotonic clock. To be called in
    a thread, which no other work holds up. Raises TimeoutError."""
    until = time.monotonic() + timeout_s
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            left_s = max(0.0, until - time.monotonic())
            if not select.select([descriptor], [], [], left_s)[0]:
                raise TimeoutError(f"process {pid} still runs")
        finally:
            os.close(descriptor)
    return time.monotonic()


def first_below(pid: int) -> int:
    """The process that is the first (1) of a PID namespace of its own, below `pid`."""
    for below in descendants(pid):
        names = re.search(r"^NSpid:(.*)$", Path(f"/proc/{below}/status").read_text(), re.M)
        if names and len(names[1].split()) > 1 and names[1].split()[-1] == "1":
            return below
    raise LookupError(f"no first process below {pid}")


async def ended(pids: set[int], timeout_s: float) -> None:
    """Wait until none of them runs. Raises TimeoutError."""
    await asyncio.to_thread(waited_for, pids, timeout_s)
