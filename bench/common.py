"""What every benchmark needs: programs run and timed, and a bar that is met or missed."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from gpu_worker.media.cpu import available_cpus
from gpu_worker.media.encoders import EncodeOptions, bundled_ffmpeg
from gpu_worker.media.profiles import CODECS, profile

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "demo" / "media" / "01-mountain-path.jpg"
FFMPEG: tuple[str | Path, ...] = (bundled_ffmpeg(), "-v", "error", "-nostdin", "-y")
RATE = 24  # of every clip here
# What the worker encodes with where there is no GPU, and a file without loss to compare with.
X264 = EncodeOptions(profile(CODECS[0], hardware=False), available_cpus()).arguments(RATE)
# What the baselines encode with: the old product's own fallback, a stand-in for its NVENC.
OLD_X264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p")
LOSSLESS = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-qp", "0")
_TIMEOUT_S = 600
RUNS = 3

Command = Sequence[str | Path]


@dataclass(frozen=True)
class Bar:
    """A number that we promise. limit: what it is held to; None: it is only told. reach: the best
    that could be had on this machine, where something else than our work bounds it."""

    name: str
    value: float
    limit: float | None
    at_least: bool = False
    reach: float | None = None

    @property
    def met(self) -> bool | None:
        if self.limit is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def promises(bars: Sequence[Bar]) -> Table:
    """What was measured beside what it is held to."""
    table = Table("promise", "measured", "bar", "in reach here", "", title="Promises")
    for bar in bars:
        sign = "≥" if bar.at_least else "≤"
        verdict = {None: "", True: "[green]met[/]", False: "[red]missed[/]"}[bar.met]
        limit = "" if bar.limit is None else f"{sign} {bar.limit:g}"
        reach = "" if bar.reach is None else f"{bar.reach:.2f}"
        table.add_row(bar.name, f"{bar.value:.3f}", limit, reach, verdict)
    return table


@dataclass(frozen=True)
class Cost:
    """Wall-clock and CPU seconds of some work and all its processes."""

    wall_s: float
    cpu_s: float


def run(command: Command, **options: object) -> None:
    subprocess.run(list(map(str, command)), check=True, timeout=_TIMEOUT_S, **options)  # type: ignore[call-overload]


def cost(work: Callable[[], object]) -> Cost:
    """Of one run of `work`, whose processes it waits for."""

    def cpu_s() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in used)

    wall_before, cpu_before = time.perf_counter(), cpu_s()
    work()
    return Cost(time.perf_counter() - wall_before, cpu_s() - cpu_before)


def best(*works: Callable[[], object]) -> list[Cost]:
    """The quickest of several runs of each. They take turns, so that a noisy minute hits all."""
    found: list[list[Cost]] = [[] for _ in works]
    for _ in range(RUNS):
        for costs, work in zip(found, works, strict=True):
            costs.append(cost(work))
    return [min(costs, key=lambda each: each.wall_s) for costs in found]
