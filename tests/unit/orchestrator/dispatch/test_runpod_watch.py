"""What counts as too long at RunPod."""

from __future__ import annotations

import pytest

from orchestrator.dispatch.call_budget import CallBudget
from orchestrator.dispatch.runpod_api import RemoteJob
from orchestrator.dispatch.runpod_watch import JobWatch, Overdue

# (seconds since the answer before, status, whether there was news)
Answers = list[tuple[float, str, bool]]
QUEUE_S, RUN_S = 100.0, 1000.0


def watched(answers: Answers, waited_s: float = 0.0) -> str:
    """The reason with which it ends, or nothing."""
    now = 0.0
    watch = JobWatch(QUEUE_S, RUN_S, lambda: now, waited_s)
    for passed_s, status, news in answers:
        now += passed_s
        try:
            watch.told(RemoteJob("id", status, [{}] if news else []))
        except Overdue as overdue:
            return overdue.error.reason
    return ""


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        pytest.param([(10, "IN_QUEUE", False)] * 10, "", id="waiting"),
        pytest.param([(10, "IN_QUEUE", False)] * 11, "QUEUE_TIME_LIMIT", id="waiting too long"),
        pytest.param(
            [(10, "IN_QUEUE", False)] * 10 + [(10, "IN_PROGRESS", True)] * 20,
            "",
            id="its wait does not count against its work",
        ),
        pytest.param([(10, "IN_PROGRESS", True)] * 113, "", id="working"),
        pytest.param([(10, "IN_PROGRESS", True)] * 114, "TIME_LIMIT", id="working too long"),
        pytest.param([(10, "IN_PROGRESS", False)] * 13, "", id="silent for a while"),
        pytest.param([(10, "IN_PROGRESS", False)] * 14, "WORKER_SILENT", id="silent"),
        pytest.param(
            [(10, "IN_PROGRESS", False)] * 12
            + [(10, "IN_QUEUE", False)] * 9
            + [(10, "IN_PROGRESS", False)] * 12,
            "",
            id="given to another worker",
        ),
        pytest.param(
            [(10, "IN_PROGRESS", False)] * 11 + [(400, "IN_PROGRESS", False)],
            "",
            id="RunPod was away, not the worker",
        ),
        pytest.param([(10, "HIBERNATING", True)] * 50, "", id="unknown state with news"),
        pytest.param([(10, "", False)] * 14, "WORKER_SILENT", id="no state, no news"),
    ],
)
def test_waiting_working_and_silence_are_judged_apart(answers: Answers, reason: str) -> None:
    assert watched(answers) == reason


def test_a_restarted_service_does_not_begin_to_wait_anew() -> None:
    assert watched([(1, "IN_QUEUE", False)], waited_s=QUEUE_S) == "QUEUE_TIME_LIMIT"


def test_few_jobs_are_followed_without_pause_and_many_within_the_budget() -> None:
    budget = CallBudget()
    budget.followers = 1
    assert budget.hold_s == 10 and budget.interval_s < 0.1
    budget.followers = 1000
    assert budget.hold_s == 2
    assert 1000 / budget.interval_s <= 100, "more than half of RunPod's 200 calls a second"
