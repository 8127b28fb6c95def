"""What an operation gets and what it owes: the seam between the service and the media work."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from apigpu.video.v1 import job_pb2, operations_pb2
from apigpu.worker.v1 import worker_service_pb2

from gpu_worker.media.encoders import Toolbox

# Brings an input to local disk. The second argument is the field to blame, relative to the
# job: "caption.video". Raises ServiceError with that field.
Fetch = Callable[[operations_pb2.MediaSource, str], Coroutine[Any, Any, Path]]


@dataclass(frozen=True)
class ItemContext:
    """Everything that an operation may use to make one item.

    workspace: a private folder on local disk, removed by the owner whatever happens.
    result: where to leave the finished file, inside the workspace.
    report: tells how far the item is (stage, percent, frames, fps, speed, time left).
    fetch: brings an input to local disk.
    tools: the FFmpeg and the encoders that this worker has found.
    """

    workspace: Path
    result: Path
    report: Callable[[job_pb2.Progress], None]
    fetch: Fetch
    tools: Toolbox


class Operation(Protocol):
    """Makes one item of a task: fetches, probes, encodes, verifies.

    Returns the measured Output (file and filename may be left for the caller to fill)
    and leaves the file at `context.result`. Raises ServiceError; is cancelled through
    asyncio, and then stops its child processes before it lets go.
    """

    async def __call__(
        self, task: worker_service_pb2.Task, item_id: str, context: ItemContext
    ) -> job_pb2.Output: ...
