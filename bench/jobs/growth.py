"""What grows: the number of stored jobs, and the age of the process."""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.job_pb2 import Job

from bench.common import Bar
from bench.jobs.servers import Rate, Server, bare, create_rate, ours, rate
from orchestrator import ids
from tests import postgres, requests
from tests.scripted_worker import ScriptedWorker, Sender, do_all

STORED = (0, 10_000, 100_000, 1_000_000)
_CREATES, _LISTS, _PAGE = 1500, 300, 50
_BATCH = 10_000
# Where the rows of a job are, and by which column.
_TABLES = {"jobs": "id", "events": "job_id", "job_labels": "job_id", "files": "job_id"}


async def _never(task: object, sender: Sender) -> None:
    """A worker that is busy for good: what is created waits."""
    sender.start()
    await asyncio.Event().wait()


async def create() -> tuple[list[Bar], dict[str, Any]]:
    """PostgreSQL (its processes are not counted) is a figure without a bar."""
    with tempfile.TemporaryDirectory() as folder, _postgres() as url:
        worker = ScriptedWorker(_never)
        async with (
            ours(worker, Path(folder) / "sqlite") as on_sqlite,
            ours(worker, Path(folder) / "postgres", APIGPU_DATABASE_URL=url) as on_postgres,
            bare() as baseline,
        ):
            servers = {"ours": on_sqlite, "ours, PostgreSQL": on_postgres, "bare": baseline}
            rates: dict[str, list[Rate]] = {name: [] for name in servers}
            for server in servers.values():
                await create_rate(server, 200)
            for _ in range(5):  # they take turns
                for name, server in servers.items():
                    rates[name].append(await create_rate(server, _CREATES))
    middle = {name: _middle(found) for name, found in rates.items()}
    name = "CreateJob, durable on SQLite: rate, of a bare server's"
    return [Bar(name, middle["ours"].per_s / middle["bare"].per_s, 0.4, at_least=True)], {
        name: asdict(found) for name, found in middle.items()
    }


@contextmanager
def _postgres() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp())
    try:
        yield postgres.start(folder)
    finally:
        postgres.remove(folder)


def _middle(rates: list[Rate]) -> Rate:
    return Rate(
        statistics.median(each.per_s for each in rates),
        statistics.median(each.cpu_us for each in rates),
    )


async def stored() -> tuple[list[Bar], dict[str, Any]]:
    """The cost of a call in CPU of the server, which neighbours disturb least."""
    found: dict[str, Any] = {}
    creates, lists = [], []
    with tempfile.TemporaryDirectory() as folder:
        await _one_job(Path(folder))
        for count in STORED:
            _fill(Path(folder) / "jobs.sqlite3", count)
            async with ours(ScriptedWorker(_never), Path(folder)) as server:
                await create_rate(server, 200)
                creates.append(await create_rate(server, _CREATES))
                lists.append(await _list_rate(server))
            found[str(count)] = {"create": asdict(creates[-1]), "list": asdict(lists[-1])}
    name = f"from {STORED[0]} to {STORED[-1]} stored jobs: cost of"
    return [
        Bar(f"{name} CreateJob", creates[-1].cpu_us / creates[0].cpu_us, 1.3),
        Bar(f"{name} a page of ListJobs", lists[-1].cpu_us / lists[0].cpu_us, 1.3),
    ], found


async def _list_rate(server: Server) -> Rate:
    """Of the second page, which is found by its token."""
    request = video_service_pb2.ListJobsRequest(page_size=_PAGE)
    first = await server.stub.ListJobs(request)
    request.page_token = first.next_page_token
    return await rate(server, lambda: server.stub.ListJobs(request), _LISTS)


async def _one_job(data_dir: Path) -> None:
    """Done from beginning to end: what all the stored ones are copies of."""
    async with ours(ScriptedWorker(do_all), data_dir) as server:
        job = requests.pictures("a", labels={"bench": "jobs"})
        done = await requests.finished(server.stub.RunJob(requests.run(job)))
        assert done.state == Job.SUCCEEDED


def _fill(database: Path, count: int) -> None:
    """Leave no job that waits, and `count` that have ended (at least one), with all their rows."""
    with closing(sqlite3.connect(database)) as db, db:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("DELETE FROM jobs WHERE end_time IS NULL")
        have, model = db.execute("SELECT count(*), min(id) FROM jobs").fetchone()
        rows = {
            table: [
                dict(row) for row in db.execute(f"SELECT * FROM {table} WHERE {key} = ?", [model])
            ]
            for table, key in _TABLES.items()
        }
        (file,) = (row["id"] for row in rows["files"])
        for begin in range(have, count, _BATCH):
            names = [
                ({model: ids.new_id(), file: ids.new_id()}, time.time())
                for _ in range(begin, min(begin + _BATCH, count))
            ]
            for table, copied in rows.items():
                columns = list(copied[0])
                db.executemany(
                    f"INSERT INTO {table} ({', '.join(columns)})"
                    f" VALUES ({', '.join('?' * len(columns))})",
                    (_renamed(row, new, at) for new, at in names for row in copied),
                )


def _renamed(row: dict[str, Any], new: dict[str, str], at: float) -> list[Any]:
    """A copy with other ids. They have the same length: bodies stay whole."""

    def value(column: str) -> Any:
        found = row[column]
        for old_id, new_id in new.items():
            if isinstance(found, bytes):
                found = found.replace(old_id.encode(), new_id.encode())
            elif isinstance(found, str):
                found = found.replace(old_id, new_id)
        return at if column == "create_time" else found

    return [value(column) for column in row]


async def soak(seconds: float) -> tuple[list[Bar], dict[str, Any]]:
    """Jobs that are made, done, followed to their end, again and again."""
    worker = ScriptedWorker(do_all)
    worker.slots = 8
    samples: list[tuple[float, float]] = []
    jobs = 0

    async def customer(server: Server, until: float) -> None:
        nonlocal jobs
        while time.monotonic() < until:
            request = requests.run(requests.pictures("a", labels={"bench": "jobs"}))
            done = await requests.finished(server.stub.RunJob(request))
            assert done.state == Job.SUCCEEDED
            jobs += 1

    with tempfile.TemporaryDirectory() as folder:
        async with ours(worker, Path(folder)) as server:
            began = time.monotonic()
            customers = [
                asyncio.create_task(customer(server, began + seconds)) for _ in range(worker.slots)
            ]
            while not all(each.done() for each in customers):
                await asyncio.sleep(0.5)
                worker.tasks.clear()
                samples.append((time.monotonic() - began, server.memory_bytes / 2**20))
            await asyncio.gather(*customers)
            stored_mib = (Path(folder) / "jobs.sqlite3").stat().st_size / 2**20
    mib = [size for _, size in samples]
    half = statistics.median(_around(mib, 0.5))
    end = statistics.median(_around(mib, 0.95))
    return [Bar("memory at the end of the soak, of that in its middle", end / half, 1.1)], {
        "seconds": seconds,
        "jobs": jobs,
        "database, MiB": round(stored_mib, 1),
        "MiB": [(round(at, 1), round(size, 1)) for at, size in samples],
    }


def _around(values: list[float], part: float) -> Iterator[float]:
    middle, reach = int(len(values) * part), max(1, len(values) // 20)
    yield from values[max(0, middle - reach) : middle + reach]
