"""What is done to the system, at random points, one thing after the other."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress

from tests.chaos.system import System

# Between two faults, so that work gets done at all.
_PAUSE_S = (0.3, 2.5)
_AWAY_S = (0.2, 2.0)


class Faults:
    """Chooses and does faults until it is told to stop; counts them."""

    def __init__(self, system: System, dice: random.Random) -> None:
        self._system = system
        self._dice = dice
        self.done: Counter[str] = Counter()
        self.enough = False
        self._kinds: list[Callable[[], Awaitable[str]]] = [
            self._kill_orchestrator,
            self._kill_worker,
            self._kill_ffmpeg,
            self._freeze_orchestrator,
            self._kill_postgres if system.postgres else self._lock_sqlite,
        ]

    async def run(self) -> None:
        while not self.enough:
            await asyncio.sleep(self._dice.uniform(*_PAUSE_S))
            fault = await self._dice.choice(self._kinds)()
            self.done[fault] += 1

    async def _kill_orchestrator(self) -> str:
        replica = self._system.any_replica(self._dice)
        await replica.kill()
        await asyncio.sleep(self._dice.uniform(*_AWAY_S))
        await replica.start()
        return "orchestrators killed"

    async def _kill_worker(self) -> str:
        return "workers killed" if self._kill_one(b"gpu_worker\0--listen") else "nothing to kill"

    async def _kill_ffmpeg(self) -> str:
        return "FFmpegs killed" if self._kill_one(b"ffmpeg") else "nothing to kill"

    def _kill_one(self, named: bytes) -> bool:
        pids = self._system.working(self._dice, named)
        if pids:
            with suppress(ProcessLookupError):
                os.kill(self._dice.choice(pids), signal.SIGKILL)
        return bool(pids)

    async def _freeze_orchestrator(self) -> str:
        """As a machine that hangs longer than a lease: others may have taken over meanwhile."""
        process = self._system.any_replica(self._dice).process
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(self._dice.uniform(1.0, 8.0))
        process.send_signal(signal.SIGCONT)
        return "orchestrators frozen"

    async def _kill_postgres(self) -> str:
        assert self._system.postgres is not None
        await self._system.postgres.kill_and_restart(self._dice.uniform(*_AWAY_S))
        return "PostgreSQL killed"

    async def _lock_sqlite(self) -> str:
        with closing(sqlite3.connect(self._system.folder / "data" / "jobs.sqlite3")) as database:
            database.execute("PRAGMA busy_timeout = 10000")
            database.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(self._dice.uniform(*_AWAY_S))
            database.execute("ROLLBACK")
        return "databases locked"
