"""The system under fire: replicas with their workers, a database, and what is left of them."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from tests import postgres, processes
from tests.runpod_jobs import Emulator
from tests.services import free_port

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0


class Replica:
    """One orchestrator with its worker child, at the same address whenever it is started."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._log_path = folder / f"replica-{self.address.rpartition(':')[2]}.log"
        self._environment = {
            **os.environ,
            "APIGPU_LISTEN": self.address,
            "APIGPU_HTTP_LISTEN": f"127.0.0.1:{free_port()}",
            "APIGPU_DATA_DIR": str(folder / "data"),
            "APIGPU_LEASE_S": "5",
            "APIGPU_MAX_ATTEMPTS": "20",
            **environment,
        }

    async def start(self) -> None:
        with self._log_path.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
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

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_S)


class Postgres:
    """PostgreSQL as a process tree that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = postgres.start(folder)

    async def kill_and_restart(self, away_s: float) -> None:
        await postgres.crash(self._folder)
        await asyncio.sleep(away_s)
        await asyncio.to_thread(postgres.start, self._folder)

    def stop(self) -> None:
        postgres.remove(self._folder)


class System:
    """Replicas that share a folder, or one alone with SQLite. runpod: who does the work; else their
    own worker children do."""

    def __init__(
        self, folder: Path, postgres: Postgres | None, replicas: int, runpod: Emulator | None
    ) -> None:
        self.folder = folder
        self.postgres = postgres
        self._runpod = runpod
        more = {"APIGPU_DATABASE_URL": postgres.url} if postgres else {}
        more |= runpod.environment if runpod else {}
        self.replicas = [Replica(folder, more) for _ in range(replicas)]

    def working(self, dice: random.Random, named: bytes) -> list[int]:
        """Processes that do the work, those whose command line has `named` in it."""
        place = self._runpod.pid if self._runpod else self.any_replica(dice).process.pid
        return processes.named(place, named)

    async def start(self) -> None:
        await asyncio.gather(*(replica.start() for replica in self.replicas))

    async def stop(self) -> list[int]:
        """Ask all to stop; returns their exit codes."""
        return list(await asyncio.gather(*(replica.stop() for replica in self.replicas)))

    def any_replica(self, dice: random.Random) -> Replica:
        return dice.choice(self.replicas)
