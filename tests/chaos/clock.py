"""Clocks of machines that can be set while processes go by them.

A small library is preloaded into a process and adds to its CLOCK_REALTIME what stands in a file;
CLOCK_MONOTONIC goes on evenly, as on a machine whose time is set.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

_SOURCE = Path(__file__).with_name("clock.c")
# How far a clock may be off, either way.
_MOST_S = 3 * 3600


def build(folder: Path) -> Path:
    """Compile the library with the compiler that the project builds its resampler with."""
    library = folder / "clock.so"
    compiler = (sys.executable, "-m", "ziglang", "cc", "-O2", "-shared", "-fPIC")
    subprocess.run((*compiler, "-Wall", "-Wextra", "-Werror", "-o", library, _SOURCE), check=True)
    return library


class Clock:
    """The clock of one machine."""

    def __init__(self, library: Path, file: Path) -> None:
        self._file = file
        self.ahead_s = 0
        self._set(0)
        self.environment = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(file)}

    def jump(self, dice: random.Random) -> None:
        """By minutes or hours, forwards or backwards."""
        self._set(dice.randint(-_MOST_S, _MOST_S))

    def _set(self, ahead_s: int) -> None:
        self.ahead_s = ahead_s
        # In place: whoever goes by this clock has the file mapped.
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(ahead_s.to_bytes(8, sys.byteorder, signed=True))
