"""The jobs that a WatchJobs stream tells of, as they stand now."""

from __future__ import annotations

from typing import Final

from apigpu.video.v1.job_pb2 import Job
from apigpu.video.v1.video_service_pb2 import WatchJobsResponse

from apigpu_client.resume import Patience

# Nobody looks at more; those that were told first are forgotten first.
_MAX_JOBS: Final = 5000


class Board:
    """Through any number of streams: each begins with the present state, which replaces what
    was known before once it is complete."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.patience = Patience()
        self._initial: dict[str, Job] | None = {}

    def begin(self) -> None:
        """A stream begins."""
        self._initial = {}

    def accept(self, message: WatchJobsResponse) -> bool:
        """Whether `jobs` has changed."""
        self.patience.restore()
        if self._initial is not None:
            self._initial.update((job.name, job) for job in message.jobs)
            if message.initial_complete:
                self.jobs.clear()
                self.jobs.update(self._initial)
                self._initial = None
            return message.initial_complete
        self.jobs.update((job.name, job) for job in message.jobs)
        for name in message.removed:
            self.jobs.pop(name, None)
        while len(self.jobs) > _MAX_JOBS:
            del self.jobs[next(iter(self.jobs))]
        return bool(message.jobs or message.removed)
