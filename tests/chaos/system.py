"""The system under fire: replicas with their workers, a database, and what is left of them."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.files.arrivals import ARRIVALS
from tests import postgres, processes
from tests.chaos import clock
from tests.chaos.clock import Clock
from tests.chaos.disk import Disk
from tests.runpod_jobs import Emulator
from tests.services import free_port

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 60.0


class Replica:
    """One orchestrator with its worker child, at the same address whenever it is started."""

    def __init__(self, logs: Path, environment: dict[str, str]) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._process: asyncio.subprocess.Process | None = None
        self._log_path = logs / f"replica-{self.address.rpartition(':')[2]}.log"
        self._environment = {
            **os.environ,
            "APIGPU_LISTEN": self.address,
            "APIGPU_HTTP_LISTEN": f"127.0.0.1:{free_port()}",
            "APIGPU_LEASE_S": "5",
            "APIGPU_MAX_ATTEMPTS": "20",
            "APIGPU_SWEEP_INTERVAL_S": "2",
            # The disk is small, and is to be really full.
            "APIGPU_MIN_FREE_DISK_BYTES": "0",
            **environment,
        }

    async def start(self) -> None:
        with self._log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "orchestrator"),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._environment,
            )
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), START_TIMEOUT_S)
        if not line.startswith(b"ready "):
            raise RuntimeError(
                f"an orchestrator did not start: {self._log_path.read_text()[-2000:]}"
            )

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "it was never started"
        return self._process

    async def kill(self) -> None:
        """Also where it has ended, or was never started."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> int:
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_S)


class Postgres:
    """PostgreSQL as a process tree that can be killed and started again."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._environment = clock.environment
        self.url = postgres.start(folder, self._environment)

    async def kill_and_restart(self, away_s: float) -> None:
        await postgres.crash(self._folder)
        await asyncio.sleep(away_s)
        await asyncio.to_thread(postgres.start, self._folder, self._environment)

    async def started_again(self) -> bool:
        """Start it where it has ended by itself."""
        if postgres.tree(self._folder):
            return False
        await self.kill_and_restart(0)
        return True

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """It neither answers nor hangs up."""
        tree = postgres.tree(self._folder)
        for pid in tree:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in tree:
                os.kill(pid, signal.SIGCONT)

    def stop(self) -> None:
        postgres.remove(self._folder)


class System:
    """Replicas that share a folder, or one alone with SQLite. Each is as on a machine with a
    clock of its own, and so is PostgreSQL. runpod: who does the work; else their own worker
    children do."""

    def __init__(self, folder: Path, runpod: Emulator | None, *, with_postgres: bool) -> None:
        self.folder = folder
        self.disk = Disk(folder / "disk")
        self.data = self.disk.folder / "data"
        self.arrivals = self.data / "files" / ARRIVALS
        library = clock.build(folder)
        names = ("one", "two", "database") if with_postgres else ("one",)
        self.clocks = [Clock(library, folder / f"clock-{name}") for name in names]
        machines = self.clocks
        self._runpod = runpod
        environment = {"APIGPU_DATA_DIR": str(self.data)}
        environment |= runpod.environment if runpod else {}
        self.postgres: Postgres | None = None
        if with_postgres:
            *machines, database = self.clocks
            self.postgres = Postgres(self.disk.folder / "postgres", database)
            environment["APIGPU_DATABASE_URL"] = self.postgres.url
        self.replicas = [Replica(folder, {**environment, **c.environment}) for c in machines]

    def working(self, dice: random.Random, named: bytes) -> list[int]:
        """Processes that do the work, those whose command line has `named` in it."""
        place = self._runpod.pid if self._runpod else self.any_replica(dice).process.pid
        return processes.named(place, named)

    async def start(self) -> None:
        await asyncio.gather(*(replica.start() for replica in self.replicas))

    async def stop(self) -> list[int]:
        """Ask all to stop; returns their exit codes."""
        return list(await asyncio.gather(*(replica.stop() for replica in self.replicas)))

    async def end(self) -> None:
        """Nothing of it runs any more, whatever state it is in."""
        for replica in self.replicas:
            await replica.kill()
        if self.postgres is not None:
            self.postgres.stop()

    def check_alive(self) -> None:
        """Raise if a replica has ended by itself."""
        for replica in self.replicas:
            if replica.process.returncode is not None:
                raise RuntimeError(f"an orchestrator ended with {replica.process.returncode}")

    def any_replica(self, dice: random.Random) -> Replica:
        return dice.choice(self.replicas)
