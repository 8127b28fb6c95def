"""The store keeps its word: durable, fenced, exclusive, in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from apigpu_common.errors import Unavailable
from orchestrator import ids
from orchestrator.jobs.machine import JobMachine
from orchestrator.store import migrations
from orchestrator.store.database import Database
from orchestrator.store.interface import Change, Conflict, NewJob, StoredFile, Task
from orchestrator.store.sqlite import SqliteStore
from tests.requests import pictures

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE_S = 60.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "jobs.sqlite3")
    await store.open()
    yield store
    await store.close()


async def add_job(store: SqliteStore, tasks: int = 1) -> JobMachine:
    job_id = ids.new_id()
    machine = JobMachine.create(pictures("a", "b"), ids.job_name(job_id), NOW)
    new = NewJob(
        id=job_id,
        job=machine.job,
        events=machine.take_events(),
        tasks=[Task(ids.new_id(), job_id, ["a", "b"]) for _ in range(tasks)],
        request_id="",
        fingerprint=b"",
    )
    await store.create_job(new)
    return machine


async def test_a_change_of_an_outdated_job_is_refused_whole(store: SqliteStore) -> None:
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


async def test_a_task_has_one_owner_until_its_lease_runs_out(store: SqliteStore) -> None:
    await add_job(store, tasks=20)
    claims = await asyncio.gather(*(store.claim_task(f"owner-{n % 3}", LEASE_S) for n in range(30)))
    claimed = [task.id for task in claims if task is not None]
    assert len(claimed) == len(set(claimed)) == 20
    assert await store.claim_task("late", LEASE_S) is None


async def test_an_expired_lease_passes_on_and_the_old_owner_cannot_interfere(
    store: SqliteStore,
) -> None:
    await add_job(store)
    first = await store.claim_task("dead", lease_s=-1)  # expired as soon as it is given
    second = await store.claim_task("alive", LEASE_S)
    assert first is not None and second is not None
    assert second.id == first.id
    assert await store.renew_leases("dead", [first.id], LEASE_S) == set()
    await store.finish_task("dead", first.id)
    await store.requeue_task("dead", first.id, 0)
    assert await store.renew_leases("alive", [second.id], LEASE_S) == {second.id}


async def test_an_older_database_keeps_its_jobs_and_tasks(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite3"
    migrations.upgrade(f"sqlite:///{path}", "0001")
    machine = JobMachine.create(pictures("a"), ids.job_name("j"), NOW)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(
            "INSERT INTO jobs VALUES ('j', 1, 'images_to_videos', '{}', 1, NULL, x'00', ?)",
            (machine.job.SerializeToString(),),
        )
        db.execute("INSERT INTO tasks VALUES ('t', 'j', '[\"a\"]', 0, 2, NULL, 0)")
        db.commit()
    store = SqliteStore(path)
    await store.open()
    assert await store.get_job("j") == machine.job
    assert await store.claim_task("owner", LEASE_S) == Task("t", "j", ["a"])
    await store.close()


async def execute(database: Database, statement: str) -> None:
    await database.write(lambda db: db.execute(statement).rowcount)


async def test_a_write_that_fails_takes_no_other_along(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.sqlite3")
    database.open()
    await execute(database, "CREATE TABLE t (n INTEGER PRIMARY KEY)")

    def insert_two(first: int, second: int) -> Callable[[sqlite3.Connection], None]:
        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO t VALUES (?)", (first,))
            db.execute("INSERT INTO t VALUES (?)", (second,))

        return work

    results = await asyncio.gather(
        *(database.write(insert_two(a, b)) for a, b in ((1, 2), (3, 4), (5, 4), (6, 7))),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [
        type(None),
        type(None),
        sqlite3.IntegrityError,
        type(None),
    ]
    rows = await database.read(lambda db: db.execute("SELECT n FROM t ORDER BY n").fetchall())
    assert [row["n"] for row in rows] == [1, 2, 3, 4, 6, 7]
    database.close()


async def test_a_full_disk_is_told_and_nothing_is_half_written(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.sqlite3")
    database.open()
    await execute(database, "CREATE TABLE t (body BLOB)")
    await execute(database, "PRAGMA max_page_count = 20")
    with pytest.raises(Unavailable):
        await execute(database, "INSERT INTO t VALUES (zeroblob(1000000))")
    await execute(database, "INSERT INTO t VALUES (x'01')")
    (row,) = await database.read(lambda db: db.execute("SELECT count(*) AS n FROM t").fetchall())
    assert row["n"] == 1
    database.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from orchestrator.store import migrations
from orchestrator.store.database import Database

async def main():
    database = Database(Path(sys.argv[1]))
    database.open()
    await database.write(lambda db: db.execute("CREATE TABLE t (n INTEGER)").rowcount)
    n = 0
    while True:
        await database.write(lambda db: db.execute("INSERT INTO t VALUES (?)", (n,)).rowcount)
        print(n, flush=True)
        n += 1

asyncio.run(main())
"""


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite3"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(50)]
    os.kill(process.pid, signal.SIGKILL)
    acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
    process.wait()
    with sqlite3.connect(path) as db:
        stored = [row[0] for row in db.execute("SELECT n FROM t ORDER BY n")]
    assert stored[: len(acknowledged)] == acknowledged
