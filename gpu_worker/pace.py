"""How often progress may be told so that all of it together stays small, however long it takes.

Pure arithmetic. RunPod keeps every event of a job and refuses more than 10 MB of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

_SHORTEST_S = 0.5
_LONGEST_S = 30.0
# What may be told until a job is t minutes old: this much times ln(1 + t). That is no limit in
# the first minutes; after 4 hours it is 2.2 MB, and one event of 300 bytes every 11 seconds.
_BYTES = 400_000
_UNIT_S = 60.0


class Pace:
    """clock: in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began_at = clock()
        self._told_bytes = 0

    def told(self, size_bytes: int) -> None:
        """So much more was told."""
        self._told_bytes += size_bytes

    def pause_s(self) -> float:
        """How long to wait with the next progress."""
        age_s = self._clock() - self._began_at
        afforded_at_s = _UNIT_S * math.expm1(min(self._told_bytes / _BYTES, 50.0))
        return min(max(_SHORTEST_S, afforded_at_s - age_s), _LONGEST_S)
