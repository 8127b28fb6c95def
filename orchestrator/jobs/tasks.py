"""When a broken task is tried again. Pure policy."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from apigpu.video.v1.job_pb2 import Attempt


@dataclass(frozen=True)
class RetryPolicy:
    """Attempts at one task, the first included, and the pause before each further one."""

    max_attempts: int = 3
    first_backoff_s: float = 0.5
    max_backoff_s: float = 30.0

    def backoff_s(self, attempts_made: int, jitter: float | None = None) -> float | None:
        """Seconds until the next attempt, or None where there is none.

        jitter: 0 to 1, at random by default; spreads tasks that broke together.
        """
        if attempts_made >= self.max_attempts:
            return None
        full_s = min(self.first_backoff_s * 2.0 ** (attempts_made - 1), self.max_backoff_s)
        spread = random.random() if jitter is None else jitter  # noqa: S311  not a secret
        return full_s * (0.5 + 0.5 * spread)


@dataclass(frozen=True)
class NextAttempt:
    """The attempt that a task needs now. number: from 1, as the limit counts.

    record: one on the job's record that nobody follows any more, to be taken up again; or a
    new one.
    """

    record: Attempt
    number: int


def next_attempt(task_id: str, made: Sequence[Attempt]) -> NextAttempt:
    """made: the attempts at the task so far. What was handed over costs none."""
    if made and not made[-1].HasField("end_time"):
        record, before = made[-1], made[:-1]
    else:
        record, before = Attempt(id=f"{task_id}-{len(made) + 1}"), made
    return NextAttempt(record, 1 + sum(not attempt.handed_over for attempt in before))
