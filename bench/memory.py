"""What a clip costs in memory: bounded by its picture and size, not by its length."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from bench import zoom


def peak_mib(frames: int, work: Path) -> float:
    """Of the rendering child, for a clip of so many frames."""
    command = zoom.render_command(zoom.photo(work), work, frames=frames)
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024
