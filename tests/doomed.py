"""The orchestrator as a process that is killed at a chosen point: `python -m tests.doomed POINT`.

The kill is a real one (SIGKILL to itself); only its moment is chosen, which cannot be done
from outside.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

from orchestrator.__main__ import main
from orchestrator.dispatch.grpc_workers import GrpcDispatcher
from orchestrator.dispatch.runpod import RunpodDispatcher
from orchestrator.files.places import Places
from orchestrator.jobs.machine import is_final
from orchestrator.running.ledger import Ledger
from orchestrator.store.records import Change
from orchestrator.store.store import Store


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dispatch() -> None:
    """The attempt is on the record, the worker has not heard of it."""

    async def execute(*_: Any) -> AsyncIterator[Any]:
        die()
        yield

    for dispatcher in (GrpcDispatcher, RunpodDispatcher):
        dispatcher.execute = execute  # type: ignore[method-assign,assignment]


def follow() -> None:
    """Progress was stored, and nobody told of it."""
    save = Store.save

    async def saved(self: Store, change: Change) -> None:
        await save(self, change)
        if any(item.progress.percent > 0 for item in change.job.items):
            die()

    Store.save = saved  # type: ignore[method-assign,assignment]


def arrive() -> None:
    """A result is there, and nobody has looked at it."""

    async def accepted(*_: Any) -> None:
        die()

    Places.accept = accepted  # type: ignore[method-assign,assignment]


def accept() -> None:
    """A result was accepted into the storage, and is not on the record."""
    step = Ledger.step

    async def stepped(self: Ledger, job_id: str, change: Any, files: Any = ()) -> Any:
        if files:
            die()
        return await step(self, job_id, change, files)

    Ledger.step = stepped  # type: ignore[method-assign,assignment]


def record() -> None:
    """One of two results is on the record."""
    save = Store.save

    async def saved(self: Store, change: Change) -> None:
        await save(self, change)
        if change.files:
            die()

    Store.save = saved  # type: ignore[method-assign,assignment]


def finish() -> None:
    """The job has ended, its task has not."""

    async def finished(*_: Any) -> None:
        die()

    Store.finish_task = finished  # type: ignore[method-assign,assignment]


def tell() -> None:
    """The job's end is on the record, with what its webhook is to be told; nobody was."""
    save = Store.save

    async def saved(self: Store, change: Change) -> None:
        await save(self, change)
        if is_final(change.job):
            die()

    Store.save = saved  # type: ignore[method-assign,assignment]


POINTS: dict[str, Callable[[], None]] = {
    point.__name__: point for point in (dispatch, follow, arrive, accept, record, finish, tell)
}

if __name__ == "__main__":
    POINTS[sys.argv[1]]()
    sys.exit(main())
