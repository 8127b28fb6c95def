"""One SQLite file: a single writer thread that commits in groups, and a few reader threads.

Commits cost a flush to disk; writes that arrive while one is under way share the next one,
so durable writes are cheap under load and prompt when alone. Knows no table.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from orchestrator.store import migrations
from orchestrator.store.database import Connection, T, Value, Work, busy, unavailable

log = logging.getLogger(__name__)

_BUSY_TIMEOUT_S = 3.0  # for others who have the file open, such as a copying tool
_MAX_GROUP = 256  # writes in one commit
_MAX_QUEUED = 4096  # writes waiting; beyond that callers are told to come back
_READERS = 2
_CACHED_STATEMENTS = 256
_PAGES_A_STEP = 1000  # given back to the system at a time, 4 KiB each
_MAX_IDLE_WAL_BYTES = 16 * 2**20
_CACHE_KIB = 64 * 1024  # room for the indexes of about a million jobs

_Write = tuple[Work[Any], "asyncio.Future[Any]"]
# What came of a write: its result, or why it failed.
_Outcome = tuple[Any, BaseException | None]


class SqliteConnection:
    """Implements `Connection`. Nothing here ever suspends, so a plain thread can drive it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.raw = connection

    async def fetch_all(self, sql: str, *values: Value) -> Sequence[sqlite3.Row]:
        return self.raw.execute(sql, values).fetchall()

    async def fetch_one(self, sql: str, *values: Value) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self.raw.execute(sql, values).fetchone()
        return row

    async def execute(self, sql: str, *values: Value) -> int:
        return self.raw.execute(sql, values).rowcount

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        self.raw.executemany(sql, rows)

    async def lock(self, name: str) -> None:
        """Only one transaction writes at a time anyway."""


class SqliteDatabase:
    """Implements `Database`. One process at a time may have the file open."""

    def __init__(self, path: Path, clock: Callable[[], float] | None = None) -> None:
        self._path = path
        self._clock = clock or _steady_clock()
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")
        self._local = threading.local()

    async def open(self) -> None:
        await asyncio.to_thread(self._open)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = self._connect()
        migrations.upgrade(f"sqlite:///{self._path}")
        self._writer = threading.Thread(
            target=self._write_loop, args=(connection,), name="store-writer", daemon=True
        )
        self._writer.start()

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        if self._writer is not None:
            self._queue.put(None)
            self._writer.join()
        self._readers.shutdown()

    def _connect(self) -> SqliteConnection:
        connection = sqlite3.connect(
            self._path,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_CACHED_STATEMENTS,
        )
        connection.row_factory = sqlite3.Row
        connection.create_function("clock", 0, self._clock)
        # Works for a new file only; in an older one, freed pages are used again.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        # A large transaction makes the log long: it is cut again at the next checkpoint.
        connection.execute(f"PRAGMA journal_size_limit = {_MAX_IDLE_WAL_BYTES}")
        # FULL: an acknowledged write survives a power cut, not only a crash of this process.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        return SqliteConnection(connection)

    async def write(self, work: Work[T]) -> T:
        if self._queue.qsize() >= _MAX_QUEUED:
            raise busy()
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put((work, done))
        # A caller that gives up stops waiting, not what it has begun.
        return await done

    async def read(self, work: Work[T]) -> T:
        def run() -> T:
            if not hasattr(self._local, "connection"):
                self._local.connection = self._connect()
            return _drive(work, self._local.connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, run)
        except sqlite3.OperationalError as error:
            raise unavailable(error) from error

    def subscribe(self, topic: str, subscriber: Callable[[str], None]) -> None:
        """There is no other process."""

    def tell(self, topic: str, about: str) -> None:
        """There is no other process."""

    def stand_for(self, name: str) -> None:
        """There is no other process."""

    async def absent(self, names: Collection[str]) -> set[str]:
        return set()

    async def tidy(self) -> None:
        async def work(db: Connection) -> None:
            row = await db.fetch_one("PRAGMA freelist_count")
            assert row is not None
            # Page by page: the driver takes one step of this statement, whatever it asks for.
            for _ in range(min(row["freelist_count"], _PAGES_A_STEP)):
                await db.execute("PRAGMA incremental_vacuum(1)")

        await self.write(work)

    def _write_loop(self, connection: SqliteConnection) -> None:
        with contextlib.closing(connection.raw):
            stopping = False
            while not stopping:
                group, stopping = self._next_group()
                if group:
                    _commit(connection, group)

    def _next_group(self) -> tuple[list[_Write], bool]:
        group: list[_Write] = []
        item = self._queue.get()
        while item is not None:
            group.append(item)
            if len(group) == _MAX_GROUP:
                return group, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True


def _steady_clock() -> Callable[[], float]:
    """Seconds since 1970 that go on evenly, even where somebody sets the machine's clock."""
    begin = time.time() - time.monotonic()
    return lambda: begin + time.monotonic()


def _drive(work: Work[T], connection: SqliteConnection) -> T:
    """Run a transaction to its end in this thread."""
    steps = work(connection).__await__()
    try:
        next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("a transaction may await nothing but its connection")


def _commit(connection: SqliteConnection, group: list[_Write]) -> None:
    """Store all of a group at once, and tell those who wait for it."""
    works, waiting = zip(*group, strict=True)
    try:
        outcomes = _store(connection, works)
    except sqlite3.Error as error:  # locked, disk full, ...: nothing of the group is stored
        log.error("a group of %d writes failed", len(group))
        outcomes = [(None, unavailable(error))] * len(group)
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        waiting[0].get_loop().call_soon_threadsafe(_tell, waiting, outcomes)


def _tell(waiting: Sequence[asyncio.Future[Any]], outcomes: Sequence[_Outcome]) -> None:
    """Once for a whole group: waking another thread costs as much as a write."""
    for done, (result, failure) in zip(waiting, outcomes, strict=True):
        if done.done():  # its caller has given up
            continue
        if failure is not None:
            done.set_exception(failure)
        else:
            done.set_result(result)


def _store(connection: SqliteConnection, works: Sequence[Work[Any]]) -> list[_Outcome]:
    """Run all of them in one transaction; where one fails, once more with each on its own."""
    try:
        with _transaction(connection):
            return [(_drive(work, connection), None) for work in works]
    except sqlite3.OperationalError:
        raise  # the database itself is in trouble: the whole group fails
    except Exception:  # of whatever kind: it is the one write's, and is told to its caller below
        with _transaction(connection):
            return [_in_savepoint(connection, work) for work in works]


@contextlib.contextmanager
def _transaction(connection: SqliteConnection) -> Iterator[None]:
    connection.raw.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.raw.execute("COMMIT")
    finally:
        if connection.raw.in_transaction:
            connection.raw.execute("ROLLBACK")


def _in_savepoint(connection: SqliteConnection, work: Work[Any]) -> _Outcome:
    """One write of a group: its failure takes back its own changes only."""
    connection.raw.execute("SAVEPOINT one")
    try:
        result = _drive(work, connection)
    except sqlite3.OperationalError:
        raise
    except Exception as error:
        connection.raw.execute("ROLLBACK TO one")
        connection.raw.execute("RELEASE one")
        return None, error
    connection.raw.execute("RELEASE one")
    return result, None
