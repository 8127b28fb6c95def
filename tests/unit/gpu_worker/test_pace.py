"""How much a long job tells: RunPod refuses the whole story where it is longer than 10 MB."""

from __future__ import annotations

import pytest

from gpu_worker.pace import Pace

HOUR_S = 3600.0


def story(duration_s: float, items: int, event_bytes: int = 350) -> tuple[list[float], int]:
    """The pauses between progress that is always news, and the bytes of all of it."""
    now_s, told_bytes, pauses = 0.0, 0, []
    pace = Pace(lambda: now_s)
    while now_s < duration_s:
        pace.told(items * event_bytes)
        told_bytes += items * event_bytes
        pauses.append(pace.pause_s())
        now_s += pauses[-1]
    return pauses, told_bytes


@pytest.mark.parametrize("items", [1, 3, 8])
def test_four_hours_of_progress_stay_far_below_what_runpod_takes(items: int) -> None:
    pauses, told_bytes = story(4 * HOUR_S, items)
    assert told_bytes < 3_000_000
    assert max(pauses) <= 30.0, "a long silence looks like a dead worker"


def test_a_short_job_is_told_twice_a_second() -> None:
    pauses, _ = story(60.0, items=3)
    assert set(pauses) == {0.5}
