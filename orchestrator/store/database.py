"""What a database engine is to the store: transactions as coroutines over a tiny connection.

SQL is written once for all engines: `?` marks a value, `clock()` is the store's own time in
seconds since 1970.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from google.rpc import code_pb2

from apigpu_common.errors import ServiceError, Unavailable

log = logging.getLogger(__name__)

AWAY, BUSY = "STORE_UNAVAILABLE", "STORE_BUSY"  # reasons of errors

T = TypeVar("T")
Value = str | int | float | bytes | None


class Row(Protocol):
    """A row of a result, its columns by name."""

    def __getitem__(self, column: str, /) -> Any: ...


class Connection(Protocol):
    """A connection within a transaction. Its methods are all that a transaction may await."""

    async def fetch_all(self, sql: str, *values: Value) -> Sequence[Row]: ...

    async def fetch_one(self, sql: str, *values: Value) -> Row | None: ...

    async def execute(self, sql: str, *values: Value) -> int:
        """Returns how many rows were changed."""
        ...

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None: ...

    async def lock(self, name: str) -> None:
        """One transaction at a time goes on from here, among all processes."""
        ...


Work = Callable[[Connection], Awaitable[T]]


class Database(Protocol):
    """One database, its schema up to date once it is open."""

    async def open(self) -> None: ...

    async def close(self) -> None:
        """Finish the writes that are under way, then stop."""
        ...

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction; returns when it is on disk. All of it or nothing.

        `work` may be run again, on a fresh transaction. A caller that gives up does not
        stop it.
        """
        ...

    async def read(self, work: Work[T]) -> T:
        """Run `work`, which writes nothing; it sees everything that was written before."""
        ...

    def subscribe(self, topic: str, subscriber: Callable[[str], None]) -> None:
        """Call it with what other processes tell about `topic`, and with "" whenever it may
        have missed something. Before `open`."""
        ...

    def tell(self, topic: str, about: str) -> None:
        """Tell the other processes that have this database open, soon."""
        ...

    def stand_for(self, name: str) -> None:
        """Be seen by other processes under `name` as long as this one lives. Before `open`."""
        ...

    async def absent(self, names: Collection[str]) -> set[str]:
        """Those of the other processes that are surely not seen now."""
        ...

    async def tidy(self) -> None:
        """Give some of the space that was freed back to the system, where that is ours to do."""
        ...


def marks(values: Sequence[object]) -> str:
    """As many placeholders as there are values: "?, ?, ?"."""
    return ", ".join("?" * len(values))


def unavailable(error: BaseException) -> Unavailable:
    """The database is in trouble, not the caller: it is told to come back."""
    log.error("database error: %s: %s", type(error).__name__, error)
    return Unavailable(AWAY, "The job store cannot be reached; try again shortly.")


def busy() -> ServiceError:
    return ServiceError(
        code_pb2.RESOURCE_EXHAUSTED,
        BUSY,
        "The service has too many writes waiting; try again shortly.",
        retryable=True,
        retry_after_s=1.0,
    )
