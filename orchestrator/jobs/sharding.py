"""Into how many tasks a batch is cut, and where. Pure policy.

A further worker ends the batch sooner, and costs a start (and the time that it idles before it
is stopped). It pays as long as the time that it saves is worth that: with W seconds of work in
all, k workers with c slots each are at it for W / (c k) seconds, so worker k + 1 saves
W / (c k (k + 1)). Never more workers than there are, or than items.

Each worker gets as many tasks as it takes at the same time, so that whoever is ready first does
not take them all, unless they would be too short to be worth their dispatch. The items stay in
their order, in tasks of nearly equal work: what was asked for first is done first, and no
worker is left with the long clips. Items that read the same picture, side by side, are not torn
apart where that moves little work: whoever is at them fetches it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

# What a second of waiting is worth in seconds of a paid worker.
_WAITING_IS_WORTH = 2.0
# Worker seconds below which a task is not worth its dispatch.
_LEAST_TASK_S = 10.0


@dataclass(frozen=True)
class Fleet:
    """The workers that a batch can have.

    max_workers: how many at most. slots: how many items each does at the same time; it takes
    as many tasks.
    start_s: what one more costs in worker seconds: its start and its idle time; 0 where they
    run anyway.
    """

    max_workers: int
    slots: int
    start_s: float = 0.0


def workers_that_pay(work_s: float, items: int, fleet: Fleet) -> int:
    """How many workers to use for `work_s` seconds of work in `items` items."""
    most = max(1, min(fleet.max_workers, items))
    count = 1
    while count < most:
        saved_s = work_s / (fleet.slots * count * (count + 1))
        if saved_s * _WAITING_IS_WORTH < fleet.start_s:
            break
        count += 1
    return count


def shard(
    efforts_s: Sequence[float], max_items: int, fleet: Fleet, pictures: Sequence[str] = ()
) -> list[range]:
    """The tasks, as ranges of the items' places, in order.

    efforts_s: worker seconds for each item. max_items: most of them in a task. pictures: what
    each reads, where that is known.
    """
    items, work_s = len(efforts_s), sum(efforts_s)
    workers = workers_that_pay(work_s, items, fleet)
    worth_it = max(workers, int(work_s / _LEAST_TASK_S))
    tasks = max(min(workers * fleet.slots, worth_it), -(-items // max_items))
    ranges = _cut(efforts_s, min(tasks, items), max_items)
    return _between_pictures(ranges, pictures, efforts_s, max_items) if pictures else ranges


def _cut(efforts_s: Sequence[float], tasks: int, max_items: int) -> list[range]:
    """`tasks` ranges, none empty, none too long, each with its share of the work."""
    ranges, start, left_s = list[range](), 0, sum(efforts_s)
    for tasks_left in range(tasks, 0, -1):
        items_left = len(efforts_s) - start
        fewest = max(1, items_left - (tasks_left - 1) * max_items)
        most = min(max_items, items_left - (tasks_left - 1))
        share_s, taken_s, count = left_s / tasks_left, 0.0, 0
        while count < most:
            effort_s = efforts_s[start + count]
            # To the nearest whole item.
            if count >= fewest and taken_s + effort_s / 2 > share_s:
                break
            taken_s += effort_s
            count += 1
        ranges.append(range(start, start + count))
        start += count
        left_s -= taken_s
    return ranges


def _between_pictures(
    ranges: Sequence[range], pictures: Sequence[str], efforts_s: Sequence[float], max_items: int
) -> list[range]:
    """The same tasks, with the cuts that part items of one picture moved to where it begins or
    ends: the nearer place, if that moves no more than half a task's share."""
    most_s = sum(efforts_s) / len(ranges) / 2
    cuts = [*(task.start for task in ranges), len(pictures)]
    for n in range(1, len(ranges)):
        before, at, after = cuts[n - 1 : n + 2]
        first, last = at, at
        while first > before and pictures[first - 1] == pictures[at]:
            first -= 1
        while last < after and pictures[last] == pictures[at - 1]:
            last += 1
        for place in sorted({first, last}, key=lambda place: abs(place - at)):
            moved_s = sum(efforts_s[min(place, at) : max(place, at)])
            fits = before < place < after and max(place - before, after - place) <= max_items
            if fits and moved_s <= most_s:
                cuts[n] = place
                break
    return [range(start, stop) for start, stop in pairwise(cuts)]
