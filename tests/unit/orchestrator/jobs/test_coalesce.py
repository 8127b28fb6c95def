"""A watcher that has fallen behind is spared progress, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from apigpu.video.v1.job_pb2 import Item, JobEvent, Progress
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.jobs.coalesce import coalesce

KINDS = st.tuples(
    st.sampled_from(["item", "state", "attempt"]), st.sampled_from("ab"), st.integers(1, 5)
)


def story(kinds: Sequence[tuple[str, str, int]]) -> list[JobEvent]:
    events = []
    for sequence, (kind, item_id, state) in enumerate(kinds, start=7):
        event = JobEvent(sequence=sequence, progress=Progress(percent=sequence))
        if kind == "item":
            event.item.id = item_id
            event.item.state = state  # type: ignore[assignment]
        elif kind == "state":
            event.state_changed.SetInParent()
        else:
            event.attempt.id = item_id
        events.append(event)
    return events


def is_progress(event: JobEvent) -> bool:
    return event.HasField("item") and event.item.state == Item.RUNNING


@given(st.lists(KINDS, max_size=40))
def test_only_outdated_progress_is_left_out_and_every_gap_is_told(
    kinds: list[tuple[str, str, int]],
) -> None:
    events = story(kinds)
    kept = coalesce(events)
    expected = 7
    for event in kept:
        assert event.sequence == expected + event.skipped
        expected = event.sequence + 1
    assert not events or expected == events[-1].sequence + 1
    told = {event.sequence for event in kept}
    assert told >= {event.sequence for event in events if not is_progress(event)}
    for item_id in "ab":
        progress = [e.sequence for e in events if is_progress(e) and e.item.id == item_id]
        assert [n for n in progress if n in told] == progress[-1:]


def plain(event: JobEvent) -> JobEvent:
    copy = JobEvent()
    copy.CopyFrom(event)
    copy.skipped = 0
    return copy


def test_what_is_kept_is_as_it_was_and_what_is_shared_is_not_changed() -> None:
    events = story([("item", "a", Item.RUNNING)] * 50 + [("item", "a", Item.SUCCEEDED)])
    before = [event.SerializeToString() for event in events]
    newest, end = coalesce(events)
    assert (newest.skipped, end.skipped) == (49, 0)
    assert plain(newest) == events[49]
    assert end is events[-1]
    assert [event.SerializeToString() for event in events] == before
