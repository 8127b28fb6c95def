"""An attempt that somebody of this process follows."""

from __future__ import annotations

from dataclasses import dataclass, field

from apigpu.video.v1.job_pb2 import Attempt, Job, Progress
from google.rpc import status_pb2

from orchestrator.jobs import blame
from orchestrator.store.records import Task


@dataclass
class OpenAttempt:
    """One try at a task: where its results go, and what it has told so far."""

    id: str
    number: int
    record: Attempt
    task: Task
    job: Job
    file_ids: dict[str, str]  # by item id
    last_sequences: dict[str, int] = field(default_factory=dict)  # by run
    pending: dict[str, Progress] = field(default_factory=dict)
    flushed_at: float = 0.0
    # Why items are not done, where another attempt may help.
    broken: dict[str, status_pb2.Status] = field(default_factory=dict)

    def blaming(self, item_id: str, error: status_pb2.Status) -> status_pb2.Status:
        """The error of an item, about the request as the caller wrote it."""
        index = next(item.index for item in self.job.items if item.id == item_id)
        return blame.in_request(error, index)
