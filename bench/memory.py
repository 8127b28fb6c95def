"""What a clip costs in memory: bounded by its picture and size, not by its length."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from bench import zoom
from gpu_worker.media.clip import Clip, renderer
from gpu_worker.media.motion import Motion


def peak_mib(frames: int, work: Path) -> float:
    """Of the rendering child, for a clip of so many frames."""
    clip = Clip(str(zoom.photo(work)), "JPEG", *zoom.SIZE, frames, Motion(zoom.ZOOM), threads=2)
    process = subprocess.Popen(list(map(str, renderer(clip, work))), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024
