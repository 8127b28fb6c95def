"""`make bench-coldstart`: how long a RunPod worker of ours takes from the start of its process
to its first poll for work, its encoder process serving; against the bare SDK alone."""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.common import Bar
from tests.runpod_emulator import Policy, running
from tests.runpod_emulator.worker import HANDLER

RUNS = 5
_TIMEOUT_S = 60
_BARE = (
    sys.executable,
    "-c",
    """
import runpod

async def handler(job):
    yield {}

runpod.serverless.start({"handler": handler, "return_aggregate_stream": True})
""",
)


async def start_s(command: Sequence[str], work_dir: Path) -> float:
    """From the start of the process to its first poll."""
    async with running(work_dir, policy=Policy(workers_min=1)) as cloud:
        cloud.fleet.command = command

        def is_ready() -> bool:
            return any(worker.ready_at for worker in cloud.workers.values())

        if not await cloud.clock.until(is_ready, _TIMEOUT_S):
            raise TimeoutError("the worker does not ask for work")
        (worker,) = cloud.workers.values()
        return worker.ready_at - worker.started_at


async def measure() -> tuple[list[float], list[float]]:
    """Ours and the bare SDK's. They take turns; the first of each warms the disk's cache."""
    ours, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(RUNS + 1):
            ours.append(await start_s(HANDLER, Path(folder)))
            bare.append(await start_s(_BARE, Path(folder)))
    return ours[1:], bare[1:]


def bar(ours: list[float], bare: list[float]) -> Bar:
    ratio = statistics.median(ours) / statistics.median(bare)
    return Bar("RunPod worker: start over the bare SDK's", ratio, 1.0)


def main() -> int:
    ours, bare = asyncio.run(measure())
    for name, times in (("ours", ours), ("bare SDK", bare)):
        print(
            f"{name:9} {statistics.median(times):.2f} s"
            f" ({min(times):.2f} to {max(times):.2f}, {len(times)} runs)"
        )
    found = bar(ours, bare)
    print(f"{found.name}: {found.value:.2f} (at most {found.limit})")
    return 0 if found.met else 1


if __name__ == "__main__":
    sys.exit(main())
