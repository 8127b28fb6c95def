"""What is too old goes, whole and in small steps; what somebody needs stays."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from apigpu.video.v1.job_pb2 import Job, Output
from google.rpc import status_pb2

from apigpu_common.errors import Unavailable
from orchestrator import ids
from orchestrator.files.storage import FileStorage
from orchestrator.jobs.machine import JobMachine
from orchestrator.keeping.retention import Retention
from orchestrator.keeping.settings import KeepSettings
from orchestrator.store.database import Connection, Database
from orchestrator.store.records import DEFAULT_OWNER, Change, NewJob, StoredFile
from orchestrator.store.store import Store
from tests.integration.store.stored import NOW, new_job


def keep(**seconds: float) -> KeepSettings:
    """Everything for ever, but for what is named."""
    for_ever = {"keep_jobs_s": 0, "keep_events_s": 0, "keep_uploads_s": 0}
    return KeepSettings.model_validate({**for_ever, **seconds})


def storage_in(folder: Path) -> FileStorage:
    folder.mkdir()
    return FileStorage(f"file://{folder}")


async def put(storage: FileStorage, file_id: str) -> None:
    path = storage.path(file_id)
    assert path is not None
    path.write_bytes(b"bytes")


async def ended_job(store: Store, storage: FileStorage, at: datetime, progress: int = 3) -> NewJob:
    """A job with a result, that has ended at `at`."""
    new = new_job()
    await store.create_job(new)
    machine = JobMachine(new.job)
    machine.attempt_begun("t-1", ["a", "b"], "test", at)
    for number in range(progress):
        machine.attempt_begun(f"t-{number + 2}", ["a"], "test", at)
    machine.item_succeeded("t-1", "a", Output(file=f"files/{new.id}"), at)
    machine.item_failed("t-1", "b", status_pb2.Status(code=3), at)
    file = StoredFile(new.id, "a.mp4", 5, "", at, new.id, "ann")
    await put(storage, file.id)
    await store.save(Change(new.id, machine.job, machine.take_events(), [file]))
    return new


async def test_old_jobs_go_with_their_results_and_young_and_open_ones_stay(
    store: Store, tmp_path: Path
) -> None:
    storage = storage_in(tmp_path / "files")
    old = await ended_job(store, storage, NOW, progress=1200)
    young = await ended_job(store, storage, datetime.now(UTC))
    running = new_job()
    await store.create_job(running)
    await Retention(store, storage, keep(keep_jobs_s=3600)).sweep()
    assert await store.get_job(old.id) is None
    assert await store.events_after(old.id, 0, 10) == []
    assert await storage.size_bytes(old.id) is None
    for kept in (young, running):
        assert await store.get_job(kept.id) is not None
    assert await storage.size_bytes(young.id) == 5


async def test_an_old_story_is_reduced_to_its_end(store: Store, tmp_path: Path) -> None:
    storage = storage_in(tmp_path / "files")
    old = await ended_job(store, storage, NOW, progress=700)
    young = await ended_job(store, storage, datetime.now(UTC))
    retention = Retention(store, storage, keep(keep_events_s=3600))
    await retention.sweep()
    await retention.sweep()
    (last,) = await store.events_after(old.id, 0, 10)
    assert last.finished.state == Job.PARTIALLY_SUCCEEDED
    assert last.sequence == last.finished.last_sequence > 700
    assert await storage.size_bytes(old.id) == 5
    assert len(await store.events_after(young.id, 0, 10)) > 1


async def test_an_upload_stays_as_long_as_a_job_needs_it(store: Store, tmp_path: Path) -> None:
    storage = storage_in(tmp_path / "files")
    for file_id, at in (("used", NOW), ("unused", NOW), ("new", datetime.now(UTC))):
        await put(storage, file_id)
        await store.add_file(StoredFile(file_id, "a.jpg", 5, "", at))
    new = replace(new_job(), files=["used"])
    await store.create_job(new)
    retention = Retention(store, storage, keep(keep_uploads_s=3600))
    await retention.sweep()
    assert await store.missing_files(["used", "unused", "new"], DEFAULT_OWNER) == {"unused"}
    assert await storage.size_bytes("unused") is None
    assert await storage.size_bytes("used") == 5
    await store.delete_job(new.id)
    await retention.sweep()
    assert await store.missing_files(["used", "new"], DEFAULT_OWNER) == {"used"}


async def test_nothing_goes_because_a_single_clock_says_so(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = storage_in(tmp_path / "files")
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    job = await ended_job(store, storage, an_hour_ago)
    await store.add_file(StoredFile("upload", "a.jpg", 5, "", an_hour_ago))

    async def sweep(seconds: float) -> bool:
        """Whether anything of the two is left."""
        await Retention(store, storage, keep(keep_jobs_s=seconds, keep_uploads_s=seconds)).sweep()
        missing = await store.missing_files(["upload"], DEFAULT_OWNER)
        kept = await store.get_job(job.id) is not None
        assert kept != bool(missing)
        return kept

    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86400)
    assert await sweep(7200), "our clock is ahead of the store's"
    monkeypatch.setattr(time, "time", lambda: now - 86400)
    assert await sweep(1800), "the store's clock is ahead of ours"
    monkeypatch.undo()
    assert not await sweep(1800)


async def test_bytes_go_even_if_he_who_forgot_the_file_died(store: Store, tmp_path: Path) -> None:
    storage = storage_in(tmp_path / "files")
    job = await ended_job(store, storage, datetime.now(UTC))
    await store.delete_job(job.id)  # and then its process is killed
    assert await storage.size_bytes(job.id) == 5
    await Retention(store, storage, keep()).sweep()
    assert await storage.size_bytes(job.id) is None
    assert await store.removed_keys(10) == []


async def test_a_result_that_was_accepted_but_never_recorded_goes_with_its_job(
    store: Store, tmp_path: Path
) -> None:
    storage = storage_in(tmp_path / "files")
    new = new_job()
    await store.create_job(new)
    machine = JobMachine(new.job)
    machine.attempt_begun("t-1", ["a", "b"], "test", NOW)
    lost = Unavailable("ORCHESTRATOR_LOST", "It died.").to_status()
    machine.attempt_ended("t-1", lost, NOW)
    machine.attempt_begun("t-2", ["a", "b"], "test", NOW)
    for item in ("a", "b"):
        machine.item_failed("t-2", item, status_pb2.Status(code=3), NOW)
    await store.save(Change(new.id, machine.job, machine.take_events()))
    stray = ids.result_id("t-1", "b")
    await put(storage, stray)
    await Retention(store, storage, keep(keep_jobs_s=3600)).sweep()
    assert await store.get_job(new.id) is None
    assert await storage.size_bytes(stray) is None


async def test_space_is_given_back(database: Database, engine: str) -> None:
    async def pages(db: Connection) -> int:
        row = await db.fetch_one("PRAGMA page_count")
        assert row is not None
        return int(row["page_count"])

    if engine == "postgres":
        await database.tidy()  # must not harm
        return
    await database.write(lambda db: db.execute("CREATE TABLE t (body BLOB)"))
    await database.write(lambda db: db.execute("INSERT INTO t VALUES (zeroblob(4000000))"))
    before = await database.read(pages)
    await database.write(lambda db: db.execute("DELETE FROM t"))
    await database.tidy()
    assert await database.read(pages) < before / 2
