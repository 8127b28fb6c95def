"""What SQLite's own engine promises: groups that do not hurt each other, and durability."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from apigpu_common.errors import Unavailable
from orchestrator.jobs.filter_text import parse
from orchestrator.jobs.orders import NEWEST_FIRST
from orchestrator.jobs.orders import parse as parse_order
from orchestrator.store import filter_sql
from orchestrator.store.database import Connection, Work
from orchestrator.store.sqlite import SqliteDatabase
from orchestrator.store.store import Store
from tests.integration.store.stored import LEASE_S, add_job


async def execute(database: SqliteDatabase, statement: str) -> None:
    await database.write(lambda db: db.execute(statement))


async def test_a_write_that_fails_takes_no_other_along(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "x.sqlite3")
    await database.open()
    await execute(database, "CREATE TABLE t (n INTEGER PRIMARY KEY)")

    def insert_two(first: int, second: int) -> Work[None]:
        async def work(db: Connection) -> None:
            await db.execute("INSERT INTO t VALUES (?)", first)
            await db.execute("INSERT INTO t VALUES (?)", second)

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
    rows = await database.read(lambda db: db.fetch_all("SELECT n FROM t ORDER BY n"))
    assert [row["n"] for row in rows] == [1, 2, 3, 4, 6, 7]
    await database.close()


async def test_a_full_disk_is_told_and_nothing_is_half_written(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "x.sqlite3")
    await database.open()
    await execute(database, "CREATE TABLE t (body BLOB)")
    await execute(database, "PRAGMA max_page_count = 20")
    with pytest.raises(Unavailable):
        await execute(database, "INSERT INTO t VALUES (zeroblob(1000000))")
    await execute(database, "INSERT INTO t VALUES (x'01')")
    (row,) = await database.read(lambda db: db.fetch_all("SELECT count(*) AS n FROM t"))
    assert row["n"] == 1
    await database.close()


@pytest.mark.parametrize("set_by_s", [-86400, -1200])
async def test_a_clock_that_is_set_back_makes_no_lease_and_no_pause_longer(
    set_by_s: float, tmp_path: Path
) -> None:
    now = 2_000_000_000.0
    database = SqliteDatabase(tmp_path / "x.sqlite3", lambda: now)
    await database.open()
    store = Store(database)
    await add_job(store, tasks=3)
    dead, pausing, alive = [await store.claim_task(name, LEASE_S) for name in ("d", "p", "a")]
    assert dead is not None and pausing is not None and alive is not None
    await store.requeue_task("p", pausing.id, 30)
    now += set_by_s
    assert await store.claim_task("next", LEASE_S) is None
    now += LEASE_S - 1
    assert await store.renew_leases("a", [alive.id], LEASE_S) == {alive.id}
    now += 2
    next_ones = [await store.claim_task("next", LEASE_S) for _ in range(3)]
    assert next_ones == [dead, pausing, None]
    await database.close()


@pytest.mark.parametrize("owner", ["ann", None])
@pytest.mark.parametrize("oldest", [False, True])
@pytest.mark.parametrize(
    "text", ["", "state = RUNNING", "labels.show = news", "labels.show = news AND priority > 5"]
)
async def test_a_page_is_found_by_its_index_and_not_by_looking_at_all_jobs(
    text: str, oldest: bool, owner: str | None, tmp_path: Path
) -> None:
    order = parse_order("create_time") if oldest else NEWEST_FIRST
    statement, values = filter_sql.select(parse(text), order, ("f" * 32,), owner)
    database = SqliteDatabase(tmp_path / "x.sqlite3")
    await database.open()
    rows = await database.read(
        lambda db: db.fetch_all(f"EXPLAIN QUERY PLAN {statement} LIMIT 1", *values)
    )
    await database.close()
    plan = "; ".join(row["detail"] for row in rows)
    assert "SCAN" not in plan and "TEMP B-TREE" not in plan, plan
    if "state" in text:
        assert "state=?" in plan


WRITER = """
import asyncio, sys
from pathlib import Path
from orchestrator.store.sqlite import SqliteDatabase

async def main():
    database = SqliteDatabase(Path(sys.argv[1]))
    await database.open()
    await database.write(lambda db: db.execute("CREATE TABLE t (n INTEGER)"))
    n = 0
    while True:
        await database.write(lambda db: db.execute("INSERT INTO t VALUES (?)", n))
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
