"""The store keeps its word on both engines: durable, fenced, in order."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from apigpu.video.v1.job_pb2 import Job, Output

from orchestrator import ids
from orchestrator.jobs.filter_text import parse
from orchestrator.jobs.machine import JobMachine
from orchestrator.jobs.orders import NEWEST_FIRST, Place, place
from orchestrator.store.records import Change, Conflict, Delivery, StoredFile
from orchestrator.store.store import Store
from tests.integration.store.stored import NOW, add_job, new_job
from tests.requests import pictures, seconds


async def test_a_change_of_an_outdated_job_is_refused_whole(store: Store) -> None:
    machine = await add_job(store)
    job_id = ids.id_of(machine.job.name)
    other = JobMachine(await store.get_job(job_id))  # type: ignore[arg-type]
    machine.start("t-1", "worker", NOW)
    await store.save(Change(job_id, machine.job, machine.take_events()))
    other.request_cancel(NOW)
    file = StoredFile("f1", "a.mp4", 1, "", NOW, job_id)
    with pytest.raises(Conflict):
        await store.save(Change(job_id, other.job, other.take_events(), [file]))
    assert await store.get_job(job_id) == machine.job
    assert await store.get_file("f1") is None
    assert [event.sequence for event in await store.events_after(job_id, 0, 10)] == [1, 2]


async def test_an_event_is_stored_with_what_webhooks_are_told_of_it_or_not_at_all(
    store: Store,
) -> None:
    """The second one cannot be stored: it has the place of the first."""
    machine = await add_job(store)
    job_id, before = ids.id_of(machine.job.name), Job.FromString(machine.job.SerializeToString())
    machine.start("t-1", "worker", NOW)
    events = machine.take_events()
    told = [Delivery(n, events[0].sequence, "http://x.example", "t", b"{}") for n in "ab"]
    with pytest.raises(Exception, match=r"(?i)unique"):
        await store.save(Change(job_id, machine.job, events, deliveries=told))
    assert await store.get_job(job_id) == before
    assert len(await store.events_after(job_id, 0, 10)) == 1
    assert not await store.list_deliveries(job_id)
    await store.save(Change(job_id, machine.job, events, deliveries=told[:1]))
    assert [each.id for each in await store.list_deliveries(job_id)] == ["a"]


async def test_of_many_who_change_a_job_at_once_one_wins_each_time(store: Store) -> None:
    machine = await add_job(store)
    job_id = ids.id_of(machine.job.name)

    async def change(worker: str) -> None:
        while True:
            current = JobMachine(await store.get_job(job_id))  # type: ignore[arg-type]
            current.attempt_begun(worker, ["a"], "test", NOW)
            try:
                return await store.save(Change(job_id, current.job, current.take_events()))
            except Conflict:
                continue

    await asyncio.gather(*(change(f"t-{n}") for n in range(8)))
    stored = await store.get_job(job_id)
    assert stored is not None
    assert sorted(attempt.id for attempt in stored.attempts) == [f"t-{n}" for n in range(8)]
    events = await store.events_after(job_id, 0, 100)
    assert [event.sequence for event in events] == list(range(1, 10))


async def test_a_request_id_makes_one_job_for_each_owner(store: Store) -> None:
    news = [new_job(request_id="r") for _ in range(10)]
    made = await asyncio.gather(*(store.create_job(new) for new in news))
    assert len({job.name for job, _ in made}) == 1
    other, _ = await store.create_job(new_job(request_id="r", owner="bob"))
    assert other.name != made[0][0].name
    assert await store.unfinished_jobs("ann", 9) == await store.unfinished_jobs("bob", 9) == 1
    assert await store.owner_of_job(ids.id_of(other.name)) == "bob"


async def test_the_census_counts_what_has_not_ended(store: Store) -> None:
    machine = await add_job(store)
    await add_job(store)
    job_id = ids.id_of(machine.job.name)
    machine.attempt_begun("t-1", [item.id for item in machine.job.items], "test", NOW)
    machine.start("t-1", "worker", NOW)
    await store.save(Change(job_id, machine.job, machine.take_events()))
    operation = machine.job.WhichOneof("operation")
    assert sorted(await store.census()) == [(Job.QUEUED, operation, 1), (Job.RUNNING, operation, 1)]
    for item in machine.job.items:
        machine.item_succeeded("t-1", item.id, Output(), NOW)
    await store.save(Change(job_id, machine.job, machine.take_events()))
    assert await store.census() == [(Job.QUEUED, operation, 1)]


async def names(store: Store, filter_text: str, owner: str | None = None) -> list[str]:
    found: list[str] = []
    after: Place | None = None
    while True:
        page = await store.list_jobs(parse(filter_text), NEWEST_FIRST, after, 2, owner)
        found += [job.name for job in page.jobs]
        if page.complete:
            return found
        after = place(NEWEST_FIRST, ids.id_of(found[-1]), page.jobs[-1])


async def test_jobs_are_listed_newest_first_by_owner_state_and_labels(store: Store) -> None:
    made = [
        (await add_job(store, pictures("a", labels={"n": str(n % 3)}), owner=owner)).job.name
        for n, owner in enumerate(["ann", "bob", "ann", "bob", "ann", "ann"])
    ]
    assert await names(store, "") == made[::-1]
    assert await names(store, "", "bob") == [made[3], made[1]]
    assert await names(store, "labels.n = 2") == [made[5], made[2]]
    assert await names(store, "labels.n != 2", "ann") == [made[4], made[0]]
    assert await names(store, "operation = caption") == []
    machine = JobMachine(await store.get_job(ids.id_of(made[2])))  # type: ignore[arg-type]
    machine.start("t-1", "worker", NOW)
    await store.save(Change(ids.id_of(made[2]), machine.job, machine.take_events()))
    assert await names(store, "state = RUNNING") == [made[2]]
    assert await names(store, "state != QUEUED AND labels.n = 2", "ann") == [made[2]]


async def test_overdue_jobs_are_told_in_the_state_that_has_a_limit(store: Store) -> None:
    machine = await add_job(store)
    job_id = ids.id_of(machine.job.name)

    async def save() -> None:
        await store.save(Change(job_id, machine.job, machine.take_events()))

    assert await store.overdue_jobs(10) == []
    machine.job.queue_time_limit.CopyFrom(seconds(1))  # created in January
    machine.attempt_begun("t-1", ["a"], "test", NOW)
    await save()
    assert await store.overdue_jobs(10) == [job_id]
    machine.start("t-1", "worker", datetime.now(UTC))
    machine.job.run_time_limit.CopyFrom(seconds(3600))
    await save()
    assert machine.job.state == Job.RUNNING
    assert await store.overdue_jobs(10) == []


async def test_a_deleted_job_takes_its_files_along_but_not_those_that_another_needs(
    store: Store,
) -> None:
    first = new_job()
    await store.create_job(first)
    files = [StoredFile(name, "a.mp4", 10, "", NOW, first.id, "ann") for name in ("f1", "f2")]
    machine = JobMachine(first.job)
    machine.start("t-1", "worker", NOW)
    await store.save(Change(first.id, machine.job, machine.take_events(), files))
    heir = new_job()
    await store.create_job(type(heir)(**{**vars(heir), "files": ["f2", "f2"]}))
    assert await store.stored_bytes("ann") == 20
    assert [file.id for file in await store.delete_job(first.id)] == ["f1"]
    assert await store.get_job(first.id) is None
    assert await store.events_after(first.id, 0, 10) == []
    kept = await store.get_file("f2")
    assert kept is not None and kept.job_id == heir.id
    assert await store.last_sequences([first.id, heir.id]) == {heir.id: 1}
    assert [file.id for file in await store.delete_job(heir.id)] == ["f2"]
    assert await store.stored_bytes("ann") == 0


async def test_files_are_listed_newest_first_and_forgotten_one_by_one(store: Store) -> None:
    for number in range(5):
        at = datetime.fromtimestamp(NOW.timestamp() + number // 2, UTC)
        await store.add_file(StoredFile(f"f{number}", "x", 1, "", at, owner="ann"))
    await store.add_file(StoredFile("other", "x", 1, "", NOW, owner="bob"))
    first = await store.list_files("ann", None, 3)
    rest = await store.list_files("ann", first[-1], 3)
    assert [file.id for file in first + rest] == ["f4", "f3", "f2", "f1", "f0"]
    gone = await store.delete_file("f3")
    assert gone is not None and gone.key == "f3"
    assert await store.delete_file("f3") is None
    assert await store.missing_files(["f3", "f4", "other"], "ann") == {"f3", "other"}
