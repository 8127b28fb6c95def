"""How long a task may run, and how long RunPod keeps it, from how much work it is. Pure policy.

    run limit = 5 minutes + 10 x the worker seconds that its items are likely to take,
                at most the service's own limit; that alone where nothing is known (media by
                URL, or in another format than MP4: their length is known only once a worker
                has probed them)
    RunPod's executionTimeout = run limit + 1 minute: the worker's own end tells a better story
    RunPod's ttl = executionTimeout + the longest wait for a worker + 1 minute; it counts from
                the dispatch, and RunPod forgets the job when it is over, running or not

The margin is wide: a limit is there to stop what hangs, not what is slow.
"""

from __future__ import annotations

from collections.abc import Sequence

_LEAST_S = 300.0
_TIMES = 10.0
_MARGIN_S = 60.0
# What RunPod takes for both.
_RUNPOD_LEAST_S = 10.0
_RUNPOD_MOST_S = 7 * 24 * 3600.0


def run_limit_s(efforts_s: Sequence[float] | None, most_s: float) -> float:
    """How long a worker may be at items of so much work. most_s: the service's own limit."""
    if efforts_s is None:
        return most_s
    return min(_LEAST_S + _TIMES * sum(efforts_s), most_s)


def runpod_policy_s(run_limit_s: float, queue_limit_s: float) -> tuple[float, float]:
    """RunPod's executionTimeout and ttl, in seconds."""
    execution_s = _allowed(run_limit_s + _MARGIN_S)
    return execution_s, _allowed(execution_s + queue_limit_s + _MARGIN_S)


def _allowed(seconds: float) -> float:
    return min(max(seconds, _RUNPOD_LEAST_S), _RUNPOD_MOST_S)
