"""When a broken task is tried again. Pure policy."""

from __future__ import annotations

import random
from dataclasses import dataclass


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
