"""Run as a program: write the frames of one clip to standard output, raw yuv420p.

python -m gpu_worker.media.render_child ORDER.json
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from gpu_worker.media import canvas, clip, motion, picture, refusal, render
from gpu_worker.media.clip import Clip
from gpu_worker.media.motion import Box, Size
from gpu_worker.media.planes import Planes, to_planes
from gpu_worker.media.render import Level

_PIPE_BYTES = 1024 * 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 32 * 1024 * 1024  # the most that glibc takes


def main() -> int:
    keep_memory()
    try:
        frames = draw(clip.read(Path(sys.argv[1])))
    except refusal.Refused as refused:
        return refusal.tell(refused)
    enlarge_pipe(sys.stdout.fileno())
    for frame in frames:
        write_all(sys.stdout.fileno(), frame)
    return 0


def draw(order: Clip) -> Iterator[memoryview]:
    """Every frame, raw yuv420p. Raises Refused, before the first, where the picture is bad."""
    longest_px = int(max(order.size) * order.motion.closest) + 1
    backdrop = (order.bars and order.bars.color) or picture.BLACK
    image = picture.open_picture(Path(order.path), order.format, longest_px, backdrop)
    first, last, stage = _ends(order, image.size)
    # More pixels than the closest view shows are only noise to the sampler: shrink once.
    finest = min(1.0, order.width / min(first.width, last.width))
    size = canvas.whole((stage[0] * finest, stage[1] * finest))
    if order.bars is not None:
        image = canvas.draw(image, size, order.size, order.bars)
    largest = to_planes(image).resized(size)
    widest_step = max(first.width, last.width) * finest / order.width
    levels = _levels(largest, stage, widest_step)
    boxes = motion.boxes(first, last, order.frames, order.motion.easing)
    return render.frames(levels, boxes, order.size, order.threads)


def _ends(order: Clip, size: Size) -> tuple[Box, Box, Size]:
    """The first view, the last view, and the size of what they are views of: the picture, or
    the canvas that holds it."""
    if order.bars is None:
        return *motion.ends(size, order.size, order.motion), size
    stage = canvas.around(size, order.size)
    move = order.motion.within(canvas.part_of(size, order.size))
    return *motion.ends(stage, order.size, move), stage


def _levels(largest: Planes, stage: Size, widest_step: float) -> list[Level]:
    """What is drawn at its full size, and at a half, a quarter ... of it, as far as it is of use.

    widest_step: how many pixels of the largest go into one of a frame's in the widest view.
    """
    levels = []
    planes = largest
    while True:
        width, height = planes.y.size
        # Sides are rounded to whole pixels, so width and height may differ in scale by a hair.
        levels.append(Level(planes, (width / stage[0], height / stage[1])))
        widest_step /= 2
        if widest_step < render.FINEST_STEP:
            return levels
        planes = planes.resized(canvas.whole((width / 2, height / 2)))


def keep_memory() -> None:
    """Do not give back to the system what the next frame needs again (glibc)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, 8 * _KEPT_BYTES)


def enlarge_pipe(descriptor: int) -> None:
    """A pipe of a few rows makes writer and reader take turns; let it hold more."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError:
            return  # not a pipe, or not allowed: slower, not wrong


def write_all(descriptor: int, frame: memoryview) -> None:
    while frame:
        frame = frame[os.write(descriptor, frame) :]


if __name__ == "__main__":
    sys.exit(main())
