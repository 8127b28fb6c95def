"""Watching: heartbeats, slow watchers, watchers that leave, news from elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.job_pb2 import Job, JobEvent, Output, Progress
from apigpu.worker.v1 import worker_service_pb2 as worker

from apigpu_common.errors import Unavailable
from orchestrator import ids, watch
from orchestrator.interceptors.serialise import _remembering
from orchestrator.jobs.machine import JobMachine
from orchestrator.running.ledger import Ledger
from orchestrator.store.records import NewJob
from orchestrator.store.store import Store, store_at
from orchestrator.watch import WatchHub
from tests import requests
from tests.requests import pictures, seconds
from tests.scripted_worker import ScriptedWorker, Sender, serve
from tests.services import in_process

JOB = "0" * 32
ATTEMPT = "t-1"


class Book:
    """A real store with one running job, and the hub and ledger that move it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.hub = WatchHub(store)
        self.ledger = Ledger(store, self.hub)

    async def begin(self) -> None:
        machine = JobMachine.create(pictures("a", "b"), ids.job_name(JOB), datetime.now(UTC))
        machine.attempt_begun(ATTEMPT, ["a", "b"], "workers", datetime.now(UTC))
        machine.start(ATTEMPT, "w", datetime.now(UTC))
        await self.store.create_job(NewJob(JOB, machine.job, machine.take_events(), [], "", b""))

    async def progress(self, percent: float) -> None:
        told = {"a": Progress(percent=percent)}
        await self.ledger.step(JOB, lambda m, at: m.items_progressed(ATTEMPT, told, at))

    async def succeed(self, item: str) -> None:
        await self.ledger.step(JOB, lambda m, at: m.item_succeeded(ATTEMPT, item, Output(), at))

    def watch(self, after: int = 0, heartbeat_s: float = 60) -> AsyncIterator[JobEvent]:
        return self.hub.watch(JOB, after, heartbeat_s)


@pytest.fixture
async def book(tmp_path: Path) -> AsyncIterator[Book]:
    store = store_at("", tmp_path)
    await store.open()
    book = Book(store)
    await book.begin()
    yield book
    await store.close()


async def test_a_stream_without_news_has_heartbeats_that_are_no_part_of_the_story(
    tmp_path: Path,
) -> None:
    go = asyncio.Event()

    async def script(task: worker.Task, sender: Sender) -> None:
        sender.start()
        sender.progress("a", 40)
        await go.wait()
        sender.finish([await sender.succeed("a")])

    async with serve(ScriptedWorker(script)) as address, in_process(tmp_path, (address,)) as stub:
        run = requests.run(pictures("a"))
        run.heartbeat_interval.CopyFrom(seconds(1))
        events = [event async for event in _going_on_at_a_heartbeat(stub.RunJob(run), go)]
        beats = [event for event in events if event.HasField("heartbeat")]
        story = [event for event in events if not event.HasField("heartbeat")]
        before = events[events.index(beats[0]) - 1]
        assert beats[0].sequence == before.sequence
        assert beats[0].state == Job.RUNNING
        assert beats[0].progress.percent == 40
        assert beats[0].HasField("event_time")
        assert [event.sequence for event in story] == list(range(1, len(story) + 1))
        job = story[-1].finished
        again = [event async for event in stub.WatchJob(requests.watch(job))]
        assert again == story


async def _going_on_at_a_heartbeat(
    stream: AsyncIterable[JobEvent], go: asyncio.Event
) -> AsyncIterator[JobEvent]:
    async for event in stream:
        if event.HasField("heartbeat"):
            go.set()
        yield event


async def test_a_watcher_that_reads_slowly_is_spared_progress_and_holds_up_nobody(
    book: Book,
) -> None:
    slow, fast = book.watch(heartbeat_s=0.01), book.watch()
    caught_up = [await anext(slow) for _ in range(4)]
    assert (await anext(slow)).HasField("heartbeat")  # it is up to date
    waiting = asyncio.ensure_future(anext(slow))
    reading = asyncio.create_task(requests.collect(fast))
    await asyncio.sleep(0)
    for percent in range(1, 700):  # more than the buffer holds
        await book.progress(percent / 10)
    await book.succeed("a")
    await book.succeed("b")
    story = await reading
    assert len(story) > 700, "whoever keeps up is spared nothing"
    all_told = [*caught_up, await waiting, *[event async for event in slow]]
    late = [event for event in all_told if not event.HasField("heartbeat")]
    assert len(late) < 100
    for before, event in pairwise(late):
        assert event.sequence == before.sequence + 1 + event.skipped
    told = {event.sequence for event in late}
    spared = [event for event in story if event.sequence not in told]
    assert {event.WhichOneof("event") for event in spared} == {"item"}
    assert all(event.item.progress.percent < 100 for event in spared)
    assert late[-1].finished.state == Job.SUCCEEDED


async def test_the_whole_story_is_told_to_whoever_asks_later(book: Book) -> None:
    for percent in range(1, 700):
        await book.progress(percent / 10)
    await book.succeed("a")
    await book.succeed("b")
    assert len(await requests.collect(book.watch())) > 700


async def test_watchers_that_leave_cost_nothing(book: Book) -> None:
    watchers = [book.watch() for _ in range(50)]
    for watcher in watchers:
        await anext(watcher)
    assert book.hub.watched == 1
    for watcher in watchers:
        await watcher.aclose()  # type: ignore[attr-defined]
    assert book.hub.watched == 0
    await book.progress(50)


async def test_a_job_that_another_process_moves_is_followed_by_asking_the_store(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_POLL_S", 0.01)
    elsewhere = WatchHub(book.store)  # nobody tells it anything
    elsewhere.start()
    watchers = [elsewhere.watch(JOB, 0, 60) for _ in range(3)]
    firsts = [await anext(watcher) for watcher in watchers]
    reading = [asyncio.create_task(requests.collect(watcher)) for watcher in watchers]
    for percent in range(1, 60):
        await book.progress(percent)
    await book.succeed("a")
    await book.succeed("b")
    for first, rest in zip(firsts, await asyncio.gather(*reading), strict=True):
        assert [first, *rest] == await requests.collect(book.watch())
    elsewhere.stop()


async def test_two_who_move_a_job_in_turns_leave_no_gap_in_the_story(book: Book) -> None:
    """What the other one did is not told here: it must be read, not skipped."""
    other = Ledger(book.store, WatchHub(book.store))
    watcher = book.watch()
    story = [await anext(watcher) for _ in range(4)]
    for percent in range(1, 6):
        await book.progress(percent)
    story += [await anext(watcher) for _ in range(5)]
    told = {"a": Progress(percent=50)}
    await other.step(JOB, lambda m, at: m.items_progressed(ATTEMPT, told, at))
    await book.progress(60)
    await book.succeed("a")
    await book.succeed("b")
    story += [event async for event in watcher]
    assert [event.sequence for event in story] == list(range(1, len(story) + 1))


async def test_a_stop_ends_every_watch_so_that_clients_go_elsewhere(book: Book) -> None:
    watcher = book.watch()
    for _ in range(4):
        await anext(watcher)
    waiting = asyncio.ensure_future(anext(watcher))
    book.hub.stop()
    with pytest.raises(Unavailable):
        await waiting


async def test_a_place_beyond_the_story_waits_for_what_comes(book: Book) -> None:
    """A caller that claims to have seen what never was must not wait for ever."""
    watcher = book.watch(after=1000, heartbeat_s=0.01)
    assert (await anext(watcher)).HasField("heartbeat")
    await book.succeed("a")
    await book.succeed("b")
    assert [event async for event in watcher][-1].HasField("finished")


def test_an_event_is_serialised_once_for_all_streams() -> None:
    count = 0

    def serialise(event: JobEvent) -> bytes:
        nonlocal count
        count += 1
        return event.SerializeToString()

    remembered = _remembering(serialise)
    events = [JobEvent(sequence=number) for number in range(300)]
    for _ in range(10):
        assert remembered(events[7]) == events[7].SerializeToString()
    assert count == 1
    assert [remembered(event) for event in events] == [e.SerializeToString() for e in events]
    assert remembered(JobEvent(sequence=5)) == JobEvent(sequence=5).SerializeToString()


def test_heartbeats_may_not_come_faster_than_the_contract_allows() -> None:
    import protovalidate

    request = video_service_pb2.WatchJobRequest(name="jobs/1", heartbeat_interval=seconds(0.5))
    with pytest.raises(protovalidate.ValidationError):
        protovalidate.validate(request)


async def test_whoever_asks_for_a_story_that_is_gone_is_told_so(book: Book) -> None:
    await book.progress(40)
    await book.succeed("a")
    await book.succeed("b")
    whole = [event async for event in book.watch()]
    await book.store.trim_story(JOB, 500)
    for after in range(len(whole) + 1):
        (last,) = [event async for event in book.watch(after)]
        assert last.sequence == whole[-1].sequence
        assert last.skipped == max(0, len(whole) - 1 - after)
        last.skipped = 0
        assert last == whole[-1]
