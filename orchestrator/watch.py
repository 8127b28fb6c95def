"""Fan-out of a job's events to any number of watchers.

Watchers of one job share one bounded buffer of its newest events; whoever falls behind it
reads from the store. So a slow watcher costs nothing and holds up nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from apigpu.video.v1.job_pb2 import JobEvent

from apigpu_common.errors import NotFound, Unavailable
from orchestrator.store.store import Store

_BUFFERED_EVENTS: Final = 512
_READ_EVENTS: Final = 256
# A job may be moved by another replica, which cannot wake us: look at the store so often.
_POLL_S: Final = 2.0


class _Channel:
    """The newest events of one job that is being watched."""

    def __init__(self) -> None:
        self.watchers = 0
        self.events: deque[JobEvent] = deque(maxlen=_BUFFERED_EVENTS)
        self.changed = asyncio.Event()

    def publish(self, events: Sequence[JobEvent]) -> None:
        self.events.extend(events)
        # Whoever waits holds this very event: set it, and let the next wait use a new one.
        self.changed.set()
        self.changed = asyncio.Event()

    def after(self, sequence: int) -> list[JobEvent] | None:
        """The buffered events after `sequence`, or None if the buffer begins later."""
        if not self.events or self.events[0].sequence > sequence + 1:
            return None
        first = self.events[0].sequence
        return list(self.events)[max(0, sequence + 1 - first) :]


class WatchHub:
    """Where the engine tells of new events, and watchers wait for them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._channels: dict[str, _Channel] = {}
        self._closing = asyncio.Event()

    def publish(self, job_id: str, events: Sequence[JobEvent]) -> None:
        """Tell the watchers of the job. Never waits for them."""
        channel = self._channels.get(job_id)
        if channel is not None:
            channel.publish(events)

    def close(self) -> None:
        """End all watches: the server is shutting down. Clients resume elsewhere."""
        self._closing.set()
        for channel in self._channels.values():
            channel.publish(())

    async def watch(self, job_id: str, after: int) -> AsyncIterator[JobEvent]:
        """The job's events after sequence `after`, up to and with its last one."""
        with self._channel(job_id) as channel:
            while True:
                changed = channel.changed
                events = await self._next_events(job_id, channel, after)
                for event in events:
                    yield event
                    if event.HasField("finished"):
                        return
                    after = event.sequence
                if not events:
                    await self._wait(changed)

    async def _next_events(self, job_id: str, channel: _Channel, after: int) -> Sequence[JobEvent]:
        buffered = channel.after(after)
        if buffered:
            return buffered
        events = await self._store.events_after(job_id, after, _READ_EVENTS)
        if events:
            return events
        job = await self._store.get_job(job_id)
        if job is None:
            raise NotFound("JOB_NOT_FOUND", "There is no such job (any more).", field="name")
        if job.last_sequence <= after and job.HasField("end_time"):
            # The caller has seen the end already: give it once more, so that the stream
            # still closes with the terminal event.
            return await self._store.events_after(job_id, job.last_sequence - 1, 1)
        return ()

    async def _wait(self, changed: asyncio.Event) -> None:
        if self._closing.is_set():
            raise Unavailable("SHUTTING_DOWN", "The server is shutting down; watch again.")
        try:
            await asyncio.wait_for(changed.wait(), _POLL_S)
        except TimeoutError:
            return

    @contextmanager
    def _channel(self, job_id: str) -> Iterator[_Channel]:
        channel = self._channels.setdefault(job_id, _Channel())
        channel.watchers += 1
        try:
            yield channel
        finally:
            channel.watchers -= 1
            if channel.watchers == 0:
                self._channels.pop(job_id, None)
