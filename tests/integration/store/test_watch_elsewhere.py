"""Watchers at one replica see what another one does, told by the database itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial

import pytest
from apigpu.video.v1.job_pb2 import Output, Progress

from orchestrator import ids, watch
from orchestrator.jobs.filters import EVERYTHING
from orchestrator.jobs.machine import JobMachine
from orchestrator.running.ledger import Ledger
from orchestrator.store.database import Database
from orchestrator.store.records import NewJob
from orchestrator.store.store import Store
from orchestrator.watch import WatchHub
from tests.integration.store.stored import next_id
from tests.requests import collect, pictures

ATTEMPT = "t-1"


@pytest.fixture
def engine() -> str:
    """SQLite has one process, which hears of everything anyway."""
    return "postgres"


@pytest.fixture
async def elsewhere(
    connect: Callable[[], Database], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[WatchHub]:
    """The hub of another replica, which would ask the database by itself only once an hour."""
    monkeypatch.setattr(watch, "_POLL_S", 3600.0)
    store = Store(connect())
    await store.open()
    hub = WatchHub(store)
    hub.start()
    yield hub
    hub.stop()
    await store.close()


def _progress(percent: float, machine: JobMachine, at: datetime) -> None:
    machine.items_progressed(ATTEMPT, {"a": Progress(percent=percent)}, at)


async def test_a_job_is_followed_at_another_replica_than_the_one_that_moves_it(
    store: Store, elsewhere: WatchHub
) -> None:
    ledger = Ledger(store, WatchHub(store))
    job_id = next_id()
    machine = JobMachine.create(pictures("a"), ids.job_name(job_id), datetime.now(UTC))
    machine.attempt_begun(ATTEMPT, ["a"], "workers", datetime.now(UTC))
    await store.create_job(NewJob(job_id, machine.job, machine.take_events(), [], "", b"", "ann"))

    mine = elsewhere.boards.follow(EVERYTHING, "ann", 10, 3600)
    strange = elsewhere.boards.follow(EVERYTHING, "bob", 10, 3600)
    assert [job.name for job in (await anext(mine)).jobs] == [machine.job.name]
    assert not (await anext(strange)).jobs
    strangers_news = asyncio.ensure_future(anext(strange))
    watchers = [elsewhere.watch(job_id, 0, 3600) for _ in range(3)]
    firsts = [await anext(watcher) for watcher in watchers]
    stories = [asyncio.create_task(collect(watcher)) for watcher in watchers]

    for done in range(1, 20):
        await ledger.step(job_id, partial(_progress, done))
    await ledger.step(job_id, lambda m, at: m.item_succeeded(ATTEMPT, "a", Output(), at))

    expected = await store.events_after(job_id, 0, 100)
    for first, story in zip(firsts, await asyncio.gather(*stories), strict=True):
        assert [first, *story] == expected
    percent = 0.0
    while percent < 100:
        (job,) = (await anext(mine)).jobs
        percent = job.progress.percent
    await store.delete_job(job_id)
    removed: list[str] = []
    while not removed:
        removed += (await anext(mine)).removed
    assert removed == [machine.job.name]
    assert not strangers_news.done(), "a stranger has heard of it"
    strangers_news.cancel()
