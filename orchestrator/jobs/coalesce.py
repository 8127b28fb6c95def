"""What a stream of events leaves out, and how it says so. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from apigpu.video.v1.job_pb2 import Item, JobEvent


def coalesce(events: Sequence[JobEvent]) -> list[JobEvent]:
    """`events` without progress of an item that newer progress of the same item follows.

    Everything else stays.
    """
    newest = {_item_in_progress(event): event.sequence for event in events}
    kept: list[JobEvent] = []
    skipped = 0
    for event in events:
        item_id = _item_in_progress(event)
        if item_id is not None and newest[item_id] != event.sequence:
            skipped += 1
            continue
        kept.append(_after_gap(event, skipped) if skipped else event)
        skipped = 0
    return kept


def from_store(events: list[JobEvent], after: int) -> list[JobEvent]:
    """What is kept of a job's story after sequence `after`: its beginning may be gone."""
    if events and (gone := events[0].sequence - after - 1):
        return [_after_gap(events[0], gone), *events[1:]]
    return events


def _after_gap(event: JobEvent, skipped: int) -> JobEvent:
    """A copy that says how wide the gap before it is: all watchers share the event itself."""
    told = JobEvent(skipped=skipped)
    told.MergeFrom(event)
    return told


def _item_in_progress(event: JobEvent) -> str | None:
    if event.HasField("item") and event.item.state == Item.RUNNING:
        return event.item.id
    return None
