"""One worker: a process of its own under the unmodified SDK, with all that it starts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu_worker.media import launch
from tests import processes

WORKER_KEY = "worker-key"
PING_INTERVAL_S = 1.0
# One whose work a test scripts, at the address RELAY_TO.
RELAY = (sys.executable, "-m", "tests.runpod_emulator.relay_worker")
HANDLER = (sys.executable, "-m", "gpu_worker.runpod_handler")


def die_with_us() -> tuple[str, ...]:
    """In front of a command: should the tests be killed, it is too. The SDK would ask a cloud that
    is gone for jobs, as fast as it can, for ever. No limits."""
    return (sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), *"0000", "--")


@dataclass
class Worker:
    """state: initializing (until it asks for work), ready, paused (by flash boot), stopping.

    since: when it came into that state, by the platform's clock. In real time:
    started_at: its process; ready_at: its first poll for work; heard_at: its last ping.
    unhealthy: what its own checks found wrong.
    """

    name: str
    state: str
    since: float
    process: asyncio.subprocess.Process | None = None
    started_at: float = 0.0
    ready_at: float = 0.0
    heard_at: float = 0.0
    unhealthy: str = ""
    polls: int = 0  # for jobs, that are held for it now
    pings: int = 0  # that came from it

    @property
    def pid(self) -> int:
        assert self.process is not None, "it has no process yet"
        return self.process.pid

    async def start(
        self, command: Sequence[str], work_dir: Path, environment: dict[str, str]
    ) -> None:
        self.started_at = self.heard_at = time.monotonic()
        with (work_dir / f"{self.name}.log").open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                *die_with_us(),
                *command,
                start_new_session=True,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
            )

    def is_ready(self, now: float) -> None:
        """It asked for work for the first time. now: by the platform's clock."""
        self.state, self.since, self.ready_at = "ready", now, time.monotonic()

    def silent_s(self) -> float:
        return time.monotonic() - self.heard_at

    def terminate(self) -> None:
        """Send it SIGTERM."""
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()

    def pause(self) -> None:
        """Stop its clockwork, as a snapshot of the container does."""
        self.state = "paused"
        for pid in self._tree():
            _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        self.heard_at = time.monotonic()
        self.state = "ready"
        for pid in self._tree():
            _signal(pid, signal.SIGCONT)

    async def kill(self) -> None:
        """Without a word, with all that it has started. The platform does not know yet."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()

    async def wait(self) -> int:
        assert self.process is not None
        return await self.process.wait()

    def _tree(self) -> set[int]:
        return {self.pid, *processes.descendants(self.pid)}


def environment(name: str, base: str, endpoint: str, work_dir: Path) -> dict[str, str]:
    """What the platform sets for a worker. base: the endpoint's address."""
    query = "?gpu=NVIDIA+L4"
    return {
        "HOME": str(work_dir / name),
        "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID{query}",
        "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID{query}",
        "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID{query}",
        "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID{query}",
        "RUNPOD_PING_INTERVAL": str(int(PING_INTERVAL_S * 1000)),
        "RUNPOD_AI_API_KEY": WORKER_KEY,
        "RUNPOD_POD_ID": name,
        "RUNPOD_ENDPOINT_ID": endpoint,
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
        "RUNPOD_SKIP_GPU_CHECK": "true",
        "RUNPOD_LOG_LEVEL": "WARN",
        "APIGPU_WORKER_WORK_DIR": str(work_dir / name / "work"),
    }


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
