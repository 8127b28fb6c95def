"""What a task has to tell, on its way to the caller: progress is overtaken by newer progress,
results are not; nothing piles up behind a slow reader."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from apigpu.video.v1.job_pb2 import Progress
from apigpu.worker.v1.worker_service_pb2 import (
    ItemProgress,
    ItemResult,
    TaskAlive,
    TaskEvent,
    TaskFinished,
    TaskStarted,
)

# Progress is told at most this often; results at once.
_INTERVAL_S = 0.1
# After so long without news it is told that there are none.
_ALIVE_S = 15.0


class Outbox:
    """Collects what happens in one run of an attempt, and gives it out as numbered events.

    pause_s: how long to wait with progress after something was told.
    """

    def __init__(
        self,
        attempt_id: str,
        started: TaskStarted,
        pause_s: Callable[[], float] = lambda: _INTERVAL_S,
    ) -> None:
        self._pause_s = pause_s
        self._attempt_id = attempt_id
        self._run_id = uuid.uuid4().hex
        self._sequence = 0
        self._progress: dict[str, Progress] = {}
        self._ended: set[str] = set()
        self._urgent: deque[TaskEvent] = deque()
        self._changed = asyncio.Event()
        self._next_at = 0.0
        self._tell(started=started)

    def progress(self, item_id: str, progress: Progress) -> None:
        """Of an item that has ended nothing more is told: an input that it shares with others
        may still be on its way."""
        if item_id in self._ended:
            return
        self._progress[item_id] = progress
        self._changed.set()

    def result(self, result: ItemResult) -> None:
        self._ended.add(result.item_id)
        self._progress.pop(result.item_id, None)
        self._tell(result=result)

    def finish(self, results: list[ItemResult]) -> None:
        """Nothing comes after this."""
        self._tell(finished=TaskFinished(results=results))

    def _tell(self, **event: Any) -> None:
        self._urgent.append(TaskEvent(**event))
        self._changed.set()

    async def events(self) -> AsyncIterator[TaskEvent]:
        """All events, in order, up to and with `finished`."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _ALIVE_S)
            if not self._changed.is_set():
                self._tell(alive=TaskAlive())
            if not self._urgent:
                await self._pause()
            self._changed.clear()
            progress, self._progress = self._progress, {}
            urgent, self._urgent = self._urgent, deque()
            for event in [*urgent, *_progress_events(progress)]:
                yield self._number(event)
                if event.HasField("finished"):
                    return
            self._next_at = time.monotonic() + self._pause_s()

    async def _pause(self) -> None:
        """Let a little more progress come together, unless something urgent does."""
        while not self._urgent and (left_s := self._next_at - time.monotonic()) > 0:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left_s)
            except TimeoutError:
                return

    def _number(self, event: TaskEvent) -> TaskEvent:
        self._sequence += 1
        event.attempt_id = self._attempt_id
        event.run_id = self._run_id
        event.sequence = self._sequence
        event.event_time.GetCurrentTime()
        return event


def _progress_events(progress: dict[str, Progress]) -> list[TaskEvent]:
    return [
        TaskEvent(progress=ItemProgress(item_id=item_id, progress=told))
        for item_id, told in progress.items()
    ]
