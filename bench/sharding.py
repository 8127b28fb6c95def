"""`python -m bench.sharding`: how soon a batch would be done, and for how many paid seconds, cut by
our policy and cut as the old product did it. A model, not a measurement: every worker starts in
the same time, and an item takes as long as the policy expects."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from apigpu.video.v1 import job_pb2
from rich.console import Console
from rich.table import Table

from orchestrator.jobs.effort import item_efforts_s
from orchestrator.jobs.sharding import Fleet, shard

START_S = 10.0
IDLE_S = 5.0
FLEET = Fleet(max_workers=3, slots=3, start_s=START_S + IDLE_S)
MAX_ITEMS = 16


@dataclass(frozen=True)
class Outcome:
    """workers: how many were started. done_s: when the last item was done. paid_s: by all."""

    workers: int
    done_s: float
    paid_s: float


def ours(efforts_s: Sequence[float], fleet: Fleet = FLEET) -> Outcome:
    """Each worker takes as many tasks as it has slots, and gives a slot to whatever waits."""
    tasks = shard(efforts_s, MAX_ITEMS, fleet)
    workers = [_Worker(fleet.slots) for _ in range(min(fleet.max_workers, len(tasks)))]
    # The next task goes to whoever can begin it first; the first one up takes all it may.
    for index, task in enumerate(tasks):
        if index < len(workers) * fleet.slots:
            worker = workers[index // fleet.slots]
        else:
            worker = min(workers, key=_Worker.next_free_s)
        worker.do([efforts_s[place] for place in task])
    return _outcome([worker for worker in workers if worker.busy_s])


def old_product(efforts_s: Sequence[float], fleet: Fleet = FLEET) -> Outcome:
    """Up to 30 pictures on one worker, more on two; a worker does `slots` pictures at a time and
    begins the next ones when all of those are done."""
    parts = 1 if len(efforts_s) <= 30 else 2
    size = -(-len(efforts_s) // parts)
    workers = []
    for start in range(0, len(efforts_s), size):
        mine = efforts_s[start : start + size]
        batches = [mine[i : i + fleet.slots] for i in range(0, len(mine), fleet.slots)]
        workers.append(_Worker(1))
        workers[-1].do([max(batch) for batch in batches])
    return _outcome(workers)


class _Worker:
    def __init__(self, slots: int) -> None:
        self._free_at_s = [0.0] * slots
        self.busy_s = 0.0

    def next_free_s(self) -> float:
        return self._free_at_s[0]

    def do(self, efforts_s: Sequence[float]) -> None:
        for effort_s in efforts_s:
            end_s = heapq.heappop(self._free_at_s) + effort_s
            heapq.heappush(self._free_at_s, end_s)
            self.busy_s = max(self.busy_s, end_s)


def _outcome(workers: Sequence[_Worker]) -> Outcome:
    done_s = START_S + max(worker.busy_s for worker in workers)
    paid_s = sum(START_S + worker.busy_s + IDLE_S for worker in workers)
    return Outcome(len(workers), done_s, paid_s)


def efforts_s(images: int, clip_s: float) -> list[float]:
    """Of a batch of equal clips, with the policy's own figures."""
    job = job_pb2.Job()
    for index in range(images):
        image = job.images_to_videos.images.add(id=str(index))
        image.duration.FromMilliseconds(round(clip_s * 1000))
    efforts = item_efforts_s(job)
    assert efforts is not None
    return efforts


def table() -> Table:
    title = f"A batch from 0 workers, at most {FLEET.max_workers}, {FLEET.slots} items at a time"
    rows = Table(title=title)
    cells = ("workers", "done", "paid")
    columns = ["pictures", "clip", *(f"old: {cell}" for cell in cells)]
    for column in [*columns, *(f"ours: {cell}" for cell in cells), "sooner"]:
        rows.add_column(column, justify="right")
    for images in (3, 10, 30, 31, 60, 300):
        for clip_s in (3.0, 6.5, 30.0):
            efforts = efforts_s(images, clip_s)
            old, new = old_product(efforts), ours(efforts)
            rows.add_row(str(images), f"{clip_s} s", *_cells(old), *_cells(new), _times(old, new))
    return rows


def _cells(outcome: Outcome) -> list[str]:
    return [str(outcome.workers), f"{outcome.done_s:.0f} s", f"{outcome.paid_s:.0f} s"]


def _times(old: Outcome, new: Outcome) -> str:
    return f"{old.done_s / new.done_s:.2f}x"


if __name__ == "__main__":
    Console(width=120).print(table())
