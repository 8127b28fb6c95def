"""Fan-out of a job's events to any number of watchers; `boards` has those of many jobs.

Watchers of one job share one bounded buffer of its newest events. Each reads at its own
pace: whoever falls behind the buffer reads from the store. So a slow watcher holds up
nobody, and one that waits costs a coroutine and a timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from apigpu.video.v1.job_pb2 import Heartbeat, JobEvent

from apigpu_common.errors import NotFound, Unavailable
from orchestrator import metrics
from orchestrator.boards import Boards
from orchestrator.jobs.coalesce import coalesce, from_store
from orchestrator.store.store import Store

log = logging.getLogger(__name__)

_BUFFERED_EVENTS: Final = 512
_READ_EVENTS: Final = 256
# A watcher that was up to date and has more than so many to read is spared some of them.
_BEHIND: Final = 32
# The net below notifications: how often the store is asked for news of all watched jobs.
_POLL_S: Final = 2.0


class _Channel:
    """The newest events of one job that is being watched, without a gap among them."""

    def __init__(self) -> None:
        self.watchers = 0
        self.changed = asyncio.Event()
        self.newest: int | None = None  # sequence; None until a watcher has caught up
        self._events: deque[JobEvent] = deque(maxlen=_BUFFERED_EVENTS)

    def publish(self, events: Sequence[JobEvent]) -> None:
        """What was published before is dropped; after a gap, the buffer begins anew."""
        for event in events:
            if self._events and event.sequence <= self._events[-1].sequence:
                continue
            if self._events and event.sequence > self._events[-1].sequence + 1:
                self._events.clear()
            self._events.append(event)
        if self._events:
            self.reached(self._events[-1].sequence)
        self.wake()

    def wake(self) -> None:
        # Whoever waits holds this very event: set it, and let the next wait use a new one.
        self.changed.set()
        self.changed = asyncio.Event()

    def reached(self, sequence: int) -> None:
        self.newest = max(sequence, self.newest or 0)

    def after(self, sequence: int) -> list[JobEvent]:
        """The events after `sequence`, if the next one is in the buffer."""
        if not self._events:
            return []
        end = len(self._events)
        missing = self._events[-1].sequence - sequence
        # Counted from the end: that is where nearly every watcher is.
        return [self._events[i] for i in range(end - missing, end)] if missing <= end else []


class WatchHub:
    """Where new events are told, and watchers wait for them, from `start` to `stop`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._channels: dict[str, _Channel] = {}
        self._closing = False
        self.boards = Boards(store)
        self._news = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._looking = asyncio.create_task(self._look_elsewhere())
        self._store.when_jobs_change(self._changed_elsewhere)
        self.boards.start()

    def stop(self) -> None:
        """End all watches: the server is shutting down. Clients resume elsewhere."""
        self._closing = True
        if self._looking is not None:
            self._looking.cancel()
        self.boards.stop()
        for channel in self._channels.values():
            channel.wake()

    def publish(self, job_id: str, events: Sequence[JobEvent]) -> None:
        """Tell the watchers of the job. Never waits for them."""
        self.boards.touch(job_id)
        channel = self._channels.get(job_id)
        if channel is not None:
            channel.publish(events)

    @property
    def watched(self) -> int:
        """How many jobs are being watched."""
        return len(self._channels)

    async def watch(self, job_id: str, after: int, heartbeat_s: float) -> AsyncIterator[JobEvent]:
        """The job's events after sequence `after`, up to and with its last one; a heartbeat
        after `heartbeat_s` seconds without any."""
        with self._channel(job_id) as channel:
            watcher = _Watcher(self._store, channel, job_id, after)
            while True:
                changed = channel.changed
                events = await watcher.next_events()
                for event in events:
                    yield event
                    if event.HasField("finished"):
                        return
                if not events and not await self._wait(changed, heartbeat_s):
                    yield await watcher.heartbeat()

    async def _wait(self, changed: asyncio.Event, timeout_s: float) -> bool:
        """Whether something has changed within `timeout_s`."""
        if self._closing:
            raise Unavailable("SHUTTING_DOWN", "The server is shutting down; watch again.")
        try:
            async with asyncio.timeout(timeout_s):
                await changed.wait()
        except TimeoutError:
            return False
        return True

    @contextmanager
    def _channel(self, job_id: str) -> Iterator[_Channel]:
        channel = self._channels.setdefault(job_id, _Channel())
        channel.watchers += 1
        metrics.WATCHERS.add(1)
        try:
            yield channel
        finally:
            metrics.WATCHERS.add(-1)
            channel.watchers -= 1
            if channel.watchers == 0:
                self._channels.pop(job_id, None)

    # News from elsewhere: other processes that work on the same store

    def _changed_elsewhere(self, job_id: str) -> None:
        """job_id: empty where any job may have changed."""
        if job_id:
            self.boards.touch(job_id)
        else:
            self.boards.missed()
        if not job_id or job_id in self._channels:
            self._news.set()

    async def _look_elsewhere(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._news.wait()
            self._news.clear()
            try:
                await self._catch_up()
            except Exception:  # the store is away: the next round may find it again
                log.exception("cannot look for news of watched jobs")
                await asyncio.sleep(_POLL_S)

    async def _catch_up(self) -> None:
        stored = await self._store.last_sequences(list(self._channels))
        for job_id, sequence in stored.items():
            channel = self._channels.get(job_id)
            while channel is not None and channel.newest is not None and channel.newest < sequence:
                events = await self._store.events_after(job_id, channel.newest, _READ_EVENTS)
                if not events:
                    break
                channel.publish(events)


class _Watcher:
    """One watcher's place in a job's story."""

    def __init__(self, store: Store, channel: _Channel, job_id: str, after: int) -> None:
        self._store = store
        self._channel = channel
        self._job_id = job_id
        self._after = after
        self._last: JobEvent | None = None
        self._up_to_date = False

    async def next_events(self) -> Sequence[JobEvent]:
        """What comes next, as much as is at hand; nothing when all was told."""
        events = self._channel.after(self._after)
        if not events and self._must_read():
            events = await self._store.events_after(self._job_id, self._after, _READ_EVENTS)
            events = from_store(events, self._after)
        if events:
            if self._up_to_date and len(events) > _BEHIND:
                events = coalesce(events)
            self._last = events[-1]
            self._after = self._last.sequence
            if self._up_to_date:
                metrics.told(self._last)
            return events
        if not self._up_to_date:
            return await self._arrive()
        return ()

    def _must_read(self) -> bool:
        newest = self._channel.newest
        return not self._up_to_date or newest is None or newest > self._after

    async def _arrive(self) -> Sequence[JobEvent]:
        """Everything stored was told for the first time: from here on it is live."""
        job = await self._store.get_job(self._job_id)
        if job is None:
            raise NotFound("JOB_NOT_FOUND", "There is no such job (any more).", field="name")
        if job.last_sequence > self._after:
            return await self.next_events()  # it moved just now
        self._after = min(self._after, job.last_sequence)
        if job.HasField("end_time"):
            # The caller has seen the end already: give it once more, so that the stream
            # still closes with the terminal event.
            return await self._store.events_after(self._job_id, job.last_sequence - 1, 1)
        self._up_to_date = True
        self._channel.reached(job.last_sequence)
        self._last = JobEvent(job=job.name, state=job.state, progress=job.progress)
        return ()

    async def heartbeat(self) -> JobEvent:
        """Nothing has happened: where the job stands is as it was."""
        last = self._last or JobEvent()
        beat = JobEvent(
            job=last.job,
            sequence=self._after,
            state=last.state,
            progress=last.progress,
            heartbeat=Heartbeat(),
        )
        beat.event_time.GetCurrentTime()
        return beat
