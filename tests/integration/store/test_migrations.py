"""An older database keeps what is in it, on both engines."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from apigpu.video.v1.job_pb2 import JobEvent
from sqlalchemy import create_engine, text

from apigpu_common.errors import ServiceError
from orchestrator import ids
from orchestrator.jobs.filter_text import parse
from orchestrator.jobs.machine import JobMachine
from orchestrator.jobs.orders import NEWEST_FIRST
from orchestrator.store import migrations
from orchestrator.store.database import Database
from orchestrator.store.records import DEFAULT_OWNER, KeyLimits, StoredFile, StoredKey, Task
from orchestrator.store.store import Store
from tests.integration.store.stored import LEASE_S, NOW
from tests.requests import pictures


async def insert(url: str, table: str, row: dict[str, Any]) -> None:
    """A row as an older version has written it."""
    columns = ", ".join(row)
    if url.startswith("sqlite"):
        with create_engine(url).begin() as connection:
            marks = ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({marks})"), row)
        return
    marks = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    postgres = await asyncpg.connect(url)
    await postgres.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", *row.values())
    await postgres.close()


async def change(url: str, statement: str) -> None:
    """What another release has done."""
    if url.startswith("sqlite"):
        with create_engine(url).begin() as connection:
            connection.execute(text(statement))
        return
    postgres = await asyncpg.connect(url)
    await postgres.execute(statement)
    await postgres.close()


def job_row(machine: JobMachine) -> dict[str, Any]:
    return {
        "id": "j",
        "state": machine.job.state,
        "operation": "images_to_videos",
        "labels": '{"show": "news"}',
        "last_sequence": 1,
        "request_id": "r",
        "fingerprint": b"f",
        "body": machine.job.SerializeToString(),
    }


@pytest.mark.parametrize("revision", ["0001", "0002"])
async def test_jobs_tasks_events_and_files_go_along(
    url: str, connect: Callable[[], Database], revision: str
) -> None:
    await asyncio.to_thread(migrations.upgrade, url, revision)
    spec = pictures("a", labels={"show": "news"})
    machine = JobMachine.create(spec, ids.job_name("j"), NOW)
    (event,) = machine.take_events()
    await insert(url, "jobs", job_row(machine))
    body = event.SerializeToString()
    await insert(url, "events", {"job_id": "j", "sequence": 1, "body": body})
    task = {"id": "t", "job_id": "j", "item_ids": '["a"]', "state": 0, "not_before": 0.5}
    done = {**task, "id": "done", "state": 2}
    for row in (task, done):
        await insert(url, "tasks", {**row, "attempts": 2} if revision == "0001" else row)
    file = {"id": "f", "filename": "a.mp4", "size_bytes": 2**40, "sha256": "", "job_id": "j"}
    await insert(url, "files", {**file, "create_time": NOW.timestamp()})

    store = Store(connect())
    await store.open()
    assert await store.get_job("j") == machine.job
    assert await store.events_after("j", 0, 10) == [JobEvent.FromString(body)]
    assert await store.claim_task("h", LEASE_S) == Task("t", "j", ["a"])
    assert await store.claim_task("h", LEASE_S) is None
    assert await store.get_file("f") == StoredFile(
        "f", "a.mp4", 2**40, "", datetime.fromtimestamp(NOW.timestamp(), UTC), "j", key="f"
    )
    page = await store.list_jobs(parse("labels.show = news"), NEWEST_FIRST, None, 10, DEFAULT_OWNER)
    assert page.jobs == [machine.job]
    await store.close()


async def test_uploads_and_jobs_of_0003_go_along(url: str, connect: Callable[[], Database]) -> None:
    await asyncio.to_thread(migrations.upgrade, url, "0003")
    file: dict[str, Any] = {"id": "f", "owner": "ann", "key": "f", "filename": "a.jpg"}
    file |= {"mime_type": "", "size_bytes": 5, "sha256": "", "create_time": NOW.timestamp()}
    await insert(url, "files", file)
    store = Store(connect())
    await store.open()
    assert [gone.id for gone in await store.delete_unused_uploads(60, 10)] == ["f"]
    assert await store.removed_keys(10) == ["f"]
    await store.close()


@pytest.mark.parametrize("revision", ["0004", "0005"])
async def test_what_is_still_to_be_removed_goes_along(
    url: str, connect: Callable[[], Database], revision: str
) -> None:
    await asyncio.to_thread(migrations.upgrade, url, revision)
    await insert(url, "removed_files", {"key": "f"})
    store = Store(connect())
    await store.open()
    assert await store.removed_keys(10) == ["f"]
    await store.close()


async def test_keys_and_webhooks_of_0006_go_along(
    url: str, connect: Callable[[], Database]
) -> None:
    await asyncio.to_thread(migrations.upgrade, url, "0006")
    key: dict[str, Any] = {"id": "k", "owner": "ann", "scopes": "files jobs.read", "title": "x"}
    key |= {"salt": b"s", "hash": b"h", "create_time": 1.0, "expire_time": None}
    await insert(url, "api_keys", {**key, "revoke_time": None, "last_use_time": 2.0})
    told: dict[str, Any] = {"id": "d", "job_id": "j", "sequence": 7, "owner": "ann", "url": "u"}
    told |= {"type": "job.finished", "payload": b"{}", "state": 1, "attempts": 1}
    told |= {"last_status": 500, "last_error": "e", "create_time": 1.0, "since": 1.0}
    await insert(url, "webhook_deliveries", {**told, "next_time": 1.0})
    store = Store(connect())
    await store.open()
    scopes = frozenset({"files", "jobs.read"})
    kept = StoredKey("k", "ann", scopes, "x", b"s", b"h", create_time=1.0, last_use_time=2.0)
    assert await store.get_key("k") == kept
    assert kept.limits == KeyLimits()
    claimed = await store.claim_delivery(LEASE_S)
    assert claimed is not None and (claimed.id, claimed.payload, claimed.attempts) == (
        "d",
        b"{}",
        2,
    )
    await store.close()


async def test_every_replica_finds_the_same_secrets(connect: Callable[[], Database]) -> None:
    one, other = Store(connect()), Store(connect())
    await one.open()
    await other.open()
    offers = [store.kept_secret("a", offer) for store, offer in ((one, b"1"), (other, b"2"))]
    first, second = await asyncio.gather(*offers)
    assert first == second in (b"1", b"2")
    assert await other.kept_secret("b", b"3") == b"3", "each name has one of its own"
    for store in (one, other):
        await store.close()


async def test_two_processes_may_bring_it_up_to_date_at_once(
    engine: str, connect: Callable[[], Database]
) -> None:
    databases = [connect() for _ in range(2 if engine == "postgres" else 1)]
    await asyncio.gather(*(database.open() for database in databases))
    await asyncio.gather(*(database.close() for database in databases))


async def test_a_migration_that_breaks_leaves_everything_as_it_was(url: str) -> None:
    await asyncio.to_thread(migrations.upgrade, url, "0002")
    machine = JobMachine.create(pictures("a"), ids.job_name("j"), NOW)
    await insert(url, "jobs", {**job_row(machine), "labels": "no JSON"})
    with pytest.raises(ValueError, match="Expecting value"):
        await asyncio.to_thread(migrations.upgrade, url)
    await insert(url, "jobs", {**job_row(machine), "id": "k", "request_id": "s"})


async def test_a_database_of_a_later_release_is_used_only_where_that_allows_it(
    url: str, connect: Callable[[], Database]
) -> None:
    await asyncio.to_thread(migrations.upgrade, url)
    await change(url, "UPDATE alembic_version SET version_num = '9998'")
    database = connect()
    await database.open()
    await database.close()
    await change(url, "UPDATE compatibility SET oldest = '9997'")
    with pytest.raises(ServiceError, match="is of a newer version"):
        await connect().open()


async def test_what_is_up_to_date_is_opened_without_what_migrates(url: str) -> None:
    """It takes long to load, and a service that comes back is waited for."""
    await asyncio.to_thread(migrations.upgrade, url)
    program = (
        "import sys; from orchestrator.store import migrations, postgres, sqlite;"
        "migrations.upgrade(sys.argv[1]);"
        "assert 'sqlalchemy' not in sys.modules"
    )
    again = await asyncio.create_subprocess_exec(sys.executable, "-c", program, url)
    assert await again.wait() == 0
