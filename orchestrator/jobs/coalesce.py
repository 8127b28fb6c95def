"""What a watcher that has fallen behind can be spared. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from apigpu.video.v1.job_pb2 import Item, JobEvent


def coalesce(events: Sequence[JobEvent]) -> list[JobEvent]:
    """`events` without progress of an item that newer progress of the same item follows.

    Everything else stays. `skipped` of what follows a gap says how wide it is; events are
    shared by all watchers, so those are copies.
    """
    newest = {_item_in_progress(event): event.sequence for event in events}
    kept: list[JobEvent] = []
    skipped = 0
    for event in events:
        item_id = _item_in_progress(event)
        if item_id is not None and newest[item_id] != event.sequence:
            skipped += 1
            continue
        if skipped:
            told = JobEvent(skipped=skipped)
            told.MergeFrom(event)
            event, skipped = told, 0
        kept.append(event)
    return kept


def _item_in_progress(event: JobEvent) -> str | None:
    if event.HasField("item") and event.item.state == Item.RUNNING:
        return event.item.id
    return None
