"""Find out what the cage holds on this machine, by trying it from inside."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from apigpu_common.errors import InternalError
from gpu_worker.cage import trial
from gpu_worker.cage.rules import only_inputs
from gpu_worker.media.process import READING, ChildFailed, child

_TIMEOUT_S = 30.0
# What the cage is to prevent, in the words of the trial.
HOLDS = ("network", "files", "processes", "signals")


@dataclass(frozen=True)
class CageReport:
    """What children cannot reach on this machine, and what they still can."""

    held: frozenset[str] = frozenset()

    @property
    def open(self) -> list[str]:
        return [name for name in HOLDS if name not in self.held]


async def check() -> CageReport:
    """Raises InternalError where children cannot even be started."""
    with tempfile.TemporaryDirectory(prefix="apigpu-cage-") as name:
        own, foreign = Path(name) / "own", Path(name) / "foreign"
        own.mkdir()
        foreign.write_text("of another job")
        command: list[str | Path] = [sys.executable, "-I", "-S", trial.__file__, foreign]
        try:
            with only_inputs():
                async with (
                    asyncio.timeout(_TIMEOUT_S),
                    child(command, cwd=own, limits=READING) as running,
                ):
                    told = "".join([line async for line in running.lines()])
                    await running.wait()
        except (ChildFailed, TimeoutError) as error:
            raise InternalError(
                "CAGE_BROKEN",
                f"Child processes cannot be shut in here ({error}): see what is wrong, or set"
                " APIGPU_WORKER_CAGE=off.",
            ) from None
    return CageReport(frozenset(told.split()))
