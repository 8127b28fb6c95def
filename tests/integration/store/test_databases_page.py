"""What docs/databases.md shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from orchestrator.store.database import Connection, Database
from orchestrator.store.postgres import PostgresDatabase
from orchestrator.store.store import Store
from tests.integration.store.stored import LEASE_S, add_job

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "databases.md").read_text()
SET_UP, QUESTIONS = (
    [line.partition(";")[0] for line in block.splitlines()]
    for block in re.findall(r"```sql\n(.*?)```", PAGE, flags=re.S)
)


async def test_the_owner_that_the_page_makes_needs_no_more_rights(postgres_server: str) -> None:
    administrator = await asyncpg.connect(postgres_server)
    try:
        for statement in SET_UP:
            await administrator.execute(statement)
        place = urlsplit(postgres_server)
        url = place._replace(netloc=f"apigpu:choose-one@{place.hostname or ''}", path="/apigpu")
        store = Store(PostgresDatabase(url.geturl()))
        store.stand_for("one-1")
        await store.open()
        await add_job(store)
        assert await store.claim_task("one-1", LEASE_S) is not None
        assert await store.absent_holders() == set()
        await store.close()
    finally:
        await administrator.execute("DROP DATABASE IF EXISTS apigpu WITH (FORCE)")
        await administrator.execute("DROP ROLE IF EXISTS apigpu")
        await administrator.close()


async def test_both_databases_answer_what_the_page_asks(database: Database) -> None:
    store = Store(database)
    await add_job(store, tasks=3)
    await store.claim_task("one-1", LEASE_S)

    async def ask(db: Connection) -> list[list[tuple[object, ...]]]:
        return [[tuple(row) for row in await db.fetch_all(sql)] for sql in QUESTIONS]  # type: ignore[arg-type]

    answers = await database.read(ask)
    assert sorted(answers[0]) == [(0, 2), (1, 1)]
    assert answers[1:] == [[("one-1", 1)], [("ann", 1)], [(1,)]]
