"""What is done to the system, at random points, one thing after the other."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress

from tests.chaos.system import System

# Between two faults, so that work gets done at all.
_PAUSE_S = (0.3, 2.5)
_AWAY_S = (0.2, 2.0)
# How long a process is waited for that is to be killed.
_LOOKS, _LOOK_S = 100, 0.1
_FULL_S = (1.0, 6.0)
# In a round, quick faults come so often, those that take long once.
_QUICK = 3

Fault = Callable[[], Awaitable[str]]


class Faults:
    """Does faults until it is told to stop, and each kind once at least; counts them.

    outage_s: how long the database is away at its worst.
    """

    def __init__(self, system: System, dice: random.Random, outage_s: float) -> None:
        self._system = system
        self._dice = dice
        self._outage_s = outage_s
        self.done: Counter[str] = Counter()
        self.enough = False
        self.each_was_done = asyncio.Event()
        self._quick: list[Fault] = [
            self._kill_orchestrator,
            self._kill_worker,
            self._kill_ffmpeg,
            self._kill_postgres if system.postgres else self._lock_sqlite,
        ]
        self._slow: list[Fault] = [
            self._freeze_orchestrator,
            self._set_a_clock,
            self._lose_the_database,
            *([self._fill_the_disk] if system.disk.is_own else []),
        ]

    async def run(self) -> None:
        kinds = [*self._quick, *self._slow]
        while not self.enough:
            for fault in self._dice.sample(kinds, len(kinds)):
                await asyncio.sleep(self._dice.uniform(*_PAUSE_S))
                if self.enough:
                    return
                self.done[await fault()] += 1
                self._system.check_alive()
            self.each_was_done.set()
            kinds = self._quick * _QUICK + self._slow

    async def _kill_orchestrator(self) -> str:
        replica = self._system.any_replica(self._dice)
        await replica.kill()
        await asyncio.sleep(self._dice.uniform(*_AWAY_S))
        await replica.start()
        return "orchestrators killed"

    async def _kill_worker(self) -> str:
        return await self._kill_one("workers", b"gpu_worker\0--listen")

    async def _kill_ffmpeg(self) -> str:
        return await self._kill_one("FFmpegs", b"ffmpeg")

    async def _kill_one(self, what: str, named: bytes) -> str:
        """The next one that is seen."""
        for _ in range(_LOOKS):
            pids = self._system.working(self._dice, named)
            if pids:
                with suppress(ProcessLookupError):
                    os.kill(self._dice.choice(pids), signal.SIGKILL)
                return f"{what} killed"
            await asyncio.sleep(_LOOK_S)
        return f"no {what} to kill"

    async def _freeze_orchestrator(self) -> str:
        """As a machine that hangs longer than a lease: others may have taken over meanwhile."""
        process = self._system.any_replica(self._dice).process
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(self._dice.uniform(1.0, 8.0))
        finally:
            process.send_signal(signal.SIGCONT)
        return "orchestrators frozen"

    async def _set_a_clock(self) -> str:
        clock = self._dice.choice(self._system.clocks)
        before_s = clock.ahead_s
        clock.jump(self._dice)
        return f"clocks set {'forward' if clock.ahead_s > before_s else 'back'}"

    async def _fill_the_disk(self) -> str:
        disk = self._system.disk
        try:
            await asyncio.to_thread(disk.fill)
            await asyncio.sleep(self._dice.uniform(*_FULL_S))
        finally:
            disk.free()
        if self._system.postgres is not None and await self._system.postgres.started_again():
            return "disks filled, until PostgreSQL gave up"
        return "disks filled"

    async def _kill_postgres(self) -> str:
        assert self._system.postgres is not None
        await self._system.postgres.kill_and_restart(self._dice.uniform(*_AWAY_S))
        return "PostgreSQL killed"

    async def _lock_sqlite(self) -> str:
        async with self._locked():
            await asyncio.sleep(self._dice.uniform(*_AWAY_S))
        return "databases locked"

    async def _lose_the_database(self) -> str:
        """For longer than anybody waits for one statement."""
        if self._system.postgres is not None:
            async with self._system.postgres.frozen():
                await asyncio.sleep(self._outage_s)
            return f"PostgreSQL frozen for {self._outage_s:g} s"
        async with self._locked():
            await asyncio.sleep(self._outage_s)
        return f"databases locked for {self._outage_s:g} s"

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """This process has SQLite's file, and nobody else can write."""
        with closing(sqlite3.connect(self._system.data / "jobs.sqlite3")) as database:
            database.execute("PRAGMA busy_timeout = 10000")
            database.execute("BEGIN EXCLUSIVE")
            yield
