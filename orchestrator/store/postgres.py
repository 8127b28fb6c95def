"""PostgreSQL, for several orchestrators: a pool of connections. Knows no table."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from itertools import count
from typing import Any

import asyncpg

from orchestrator.store import migrations
from orchestrator.store.database import T, Value, Work, busy, unavailable
from orchestrator.store.feed import Feed

_CONNECTIONS = 8
_MAX_WRITES = 4096  # under way or waiting; beyond that callers are told to come back
_CONNECT_TIMEOUT_S = 5.0
_ACQUIRE_TIMEOUT_S = 10.0
_STATEMENT_TIMEOUT_S = 10.0
_TRIES = 3  # of a transaction that another one was in the way of
_CACHED_STATEMENTS = 256

# The server is away, stopping, full, or does not answer.
_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
)
_IN_THE_WAY = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


class PostgresConnection:
    """Implements `Connection`."""

    def __init__(self, connection: Any) -> None:
        self.raw = connection

    async def fetch_all(self, sql: str, *values: Value) -> Sequence[asyncpg.Record]:
        rows: Sequence[asyncpg.Record] = await self.raw.fetch(_numbered(sql), *values)
        return rows

    async def fetch_one(self, sql: str, *values: Value) -> asyncpg.Record | None:
        row: asyncpg.Record | None = await self.raw.fetchrow(_numbered(sql), *values)
        return row

    async def execute(self, sql: str, *values: Value) -> int:
        status: str = await self.raw.execute(_numbered(sql), *values)
        return int(status.rpartition(" ")[2])  # such as "UPDATE 3"

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        await self.raw.executemany(_numbered(sql), rows)

    async def lock(self, name: str) -> None:
        await self.raw.execute("SELECT pg_advisory_xact_lock($1)", zlib.crc32(name.encode()))


class PostgresDatabase:
    """Implements `Database`. url: as libpq takes it, "postgresql://user:password@host/name"."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: Any = None
        self._feed = Feed(url)
        self._writes: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        await asyncio.to_thread(migrations.upgrade, self._url)
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=1,
            max_size=_CONNECTIONS,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=_STATEMENT_TIMEOUT_S,
            statement_cache_size=_CACHED_STATEMENTS,
            reset=_nothing_to_reset,
        )
        await self._feed.open()

    async def close(self) -> None:
        await self._feed.close()
        if self._writes:
            await asyncio.wait(self._writes)
        if self._pool is not None:
            await self._pool.close()

    def subscribe(self, topic: str, subscriber: Callable[[str], None]) -> None:
        self._feed.subscribe(topic, subscriber)

    def tell(self, topic: str, about: str) -> None:
        self._feed.tell(topic, about)

    def stand_for(self, name: str) -> None:
        self._feed.stand_for(name)

    async def absent(self, names: Collection[str]) -> set[str]:
        async with self._connection() as connection:
            return await self._feed.absent(connection.raw, names)

    async def tidy(self) -> None:
        """Autovacuum does it."""

    async def write(self, work: Work[T]) -> T:
        if len(self._writes) >= _MAX_WRITES:
            raise busy()
        task = asyncio.create_task(self._write(work))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        # Shielded, as on SQLite: a caller that gives up does not stop what it has begun.
        return await asyncio.shield(task)

    async def _write(self, work: Work[T]) -> T:
        for left in range(_TRIES - 1, -1, -1):
            try:
                async with self._connection() as connection, connection.raw.transaction():
                    return await work(connection)
            except _IN_THE_WAY as error:
                if not left:
                    raise unavailable(error) from error
        raise AssertionError("not reached")

    async def read(self, work: Work[T]) -> T:
        async with self._connection() as connection:
            return await work(connection)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[PostgresConnection]:
        try:
            async with self._pool.acquire(timeout=_ACQUIRE_TIMEOUT_S) as connection:
                yield PostgresConnection(connection)
        except _AWAY as error:
            raise unavailable(error) from error


async def _nothing_to_reset(connection: Any) -> None:
    """Our transactions leave nothing behind in their session: spare a round trip."""


@lru_cache(maxsize=1024)
def _numbered(sql: str) -> str:
    """The statement with its `?` as PostgreSQL wants them: $1, $2, ..."""
    numbers = count(1)
    parts = sql.split("?")
    return parts[0] + "".join(f"${next(numbers)}{part}" for part in parts[1:])
