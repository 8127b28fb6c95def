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
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from google.rpc import code_pb2

from apigpu_common.errors import ServiceError, Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")
_BUSY_TIMEOUT_S = 10.0
_MAX_GROUP = 256  # writes in one commit
_MAX_QUEUED = 4096  # writes waiting; beyond that callers are told to come back
_READERS = 2

_Write = tuple[Callable[[sqlite3.Connection], Any], "Future[Any]"]


class Database:
    """Runs functions on connections of one database file, off the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: queue.Queue[_Write | None] = queue.Queue(_MAX_QUEUED)
        self._writer: threading.Thread | None = None
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")
        self._local = threading.local()

    def open(self) -> None:
        connection = self.connect()
        self._writer = threading.Thread(
            target=self._write_loop, args=(connection,), name="store-writer", daemon=True
        )
        self._writer.start()

    def close(self) -> None:
        """Finish the queued writes, then stop."""
        if self._writer is not None:
            self._queue.put(None)
            self._writer.join()
        self._readers.shutdown()

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL: an acknowledged write survives a power cut, not only a crash of this process.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction; returns when it is on disk. All of it or nothing."""
        done: Future[T] = Future()
        try:
            self._queue.put_nowait((work, done))
        except queue.Full:
            raise ServiceError(
                code_pb2.RESOURCE_EXHAUSTED,
                "STORE_BUSY",
                "The service has too many writes waiting; try again shortly.",
                retryable=True,
                retry_after_s=1.0,
            ) from None
        # Shielded: a caller that gives up must not undo what the group has committed.
        return await asyncio.shield(asyncio.wrap_future(done))

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on a connection that sees everything written so far."""

        def run() -> T:
            if not hasattr(self._local, "connection"):
                self._local.connection = self.connect()
            connection: sqlite3.Connection = self._local.connection
            return work(connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, run)
        except sqlite3.OperationalError as error:
            raise _unavailable(error) from error

    def _write_loop(self, connection: sqlite3.Connection) -> None:
        with contextlib.closing(connection):
            stopping = False
            while not stopping:
                group, stopping = self._next_group()
                if group:
                    self._commit(connection, group)

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

    def _commit(self, connection: sqlite3.Connection, group: list[_Write]) -> None:
        outcomes: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for work, done in group:
                outcomes.append((done, *_in_savepoint(connection, work)))
            connection.execute("COMMIT")
        except sqlite3.Error as error:  # locked, disk full, ...: nothing of the group is stored
            log.error("a group of %d writes failed: %s", len(group), error)
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            outcomes = [(done, None, _unavailable(error)) for _, done in group]
        for done, result, failure in outcomes:
            if failure is not None:
                done.set_exception(failure)
            else:
                done.set_result(result)


def _in_savepoint(
    connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], Any]
) -> tuple[Any, BaseException | None]:
    """One write of a group: its failure takes back its own changes only."""
    connection.execute("SAVEPOINT one")
    try:
        result = work(connection)
    except sqlite3.OperationalError:
        raise  # the database itself is in trouble: the whole group fails
    except Exception as error:
        connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")
        return None, error
    connection.execute("RELEASE one")
    return result, None


def _unavailable(error: sqlite3.Error) -> Unavailable:
    log.error("database error: %s", error)
    return Unavailable("STORE_UNAVAILABLE", "The job store cannot be reached; try again shortly.")
