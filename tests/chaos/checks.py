"""What must hold when the fire is out. Each check returns what is wrong, in words."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from apigpu.video.v1.job_pb2 import Item, Job

from orchestrator.files.arrivals import ARRIVALS
from tests import processes
from tests.chaos.load import Story

_TIMES = ("create_time", "start_time", "end_time")


def stories(told: list[Story], stored: dict[str, Job]) -> Iterator[str]:
    """Every accepted job has ended well, once, and as its watchers were told."""
    names = Counter(story.name for story in told)
    yield from (f"{name} was made {count} times" for name, count in names.items() if count > 1)
    for name in stored.keys() - names.keys():
        yield f"{name} exists although nobody was told"
    for story in told:
        yield from (f"{story.name}: {fault}" for fault in story.faults)
        job = stored.get(story.name)
        if job is None:
            yield f"{story.name} is lost"
        elif job != story.last:
            yield f"{story.name} is not what its last event said"
        elif job.state != Job.SUCCEEDED:
            why = f"{job.error.message} {[item.error.message for item in job.items]}"
            yield f"{story.name} is {Job.State.Name(job.state)}: {why}"
        elif job.last_sequence != story.sequence:
            yield f"{story.name} has {job.last_sequence} events, {story.sequence} were told"


def times(stored: dict[str, Job]) -> Iterator[str]:
    """However clocks were set, what came later is not older."""
    for job in stored.values():
        for told in (job, *job.attempts):
            known = [name for name in _TIMES if told.HasField(name)]
            order = [getattr(told, name).ToNanoseconds() for name in known]
            if order != sorted(order):
                yield f"the times of {job.name} are not in order: {known} {order}"


def results(stored: dict[str, Job], files: Path) -> Iterator[str]:
    """Every result is there, whole, and belongs to one item."""
    outputs = [item.output for job in stored.values() for item in job.items if _made(item)]
    for name, count in Counter(output.file for output in outputs).items():
        if count > 1:
            yield f"{name} is the result of {count} items"
    for output in outputs:
        path = _find(files, output.file.removeprefix("files/"))
        if path is None:
            yield f"{output.file} is not there"
        elif hashlib.sha256(path.read_bytes()).hexdigest() != output.sha256:
            yield f"{output.file} has other bytes"


def leftovers(folder: Path, data: Path) -> Iterator[str]:
    """No process and no temporary file of the system is left."""
    for pid in (int(entry.name) for entry in Path("/proc").glob("[0-9]*")):
        told = processes.command_line(pid) + processes.environment(pid)
        if pid != os.getpid() and str(folder).encode() in told:
            yield f"process {pid} is left: {processes.command_line(pid)[:120]!r}"
    for room in ("work", "uploads", f"files/{ARRIVALS}"):
        for path in (data / room).rglob("*"):
            if path.is_file() and path.name != "lock":
                yield f"{path.relative_to(data)} is left"


def _made(item: Item) -> bool:
    return item.state == Item.SUCCEEDED


def _find(files: Path, file_id: str) -> Path | None:
    return next((path for path in files.rglob(f"*{file_id}*") if path.is_file()), None)
