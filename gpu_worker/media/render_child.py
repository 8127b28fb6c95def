"""Run as a program: write the frames of one clip to standard output, raw yuv420p.

python -m gpu_worker.media.render_child ORDER.json
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from gpu_worker.media import clip, motion, picture, refusal, render
from gpu_worker.media.clip import Clip

_PIPE_BYTES = 1024 * 1024


def main() -> int:
    try:
        frames = draw(clip.read(Path(sys.argv[1])))
    except refusal.Refused as refused:
        return refusal.tell(refused)
    enlarge_pipe(sys.stdout.fileno())
    for planes in frames:
        write_all(sys.stdout.fileno(), planes)
    return 0


def draw(order: Clip) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Y, U and V of every frame. Raises Refused, before the first, where the picture is bad."""
    longest_px = int(max(order.size) * order.zoom) + 1
    image = picture.open_picture(Path(order.path), order.format, longest_px)
    boxes = motion.zoom_in(image.size, order.size, order.frames, order.zoom, order.focal)
    # More pixels than the closest view shows are only noise to the sampler: shrink once.
    scale = min(1.0, order.zoom * order.width / boxes[0].width)
    small = picture.shrink(image, scale)
    # Sides are rounded to even numbers, so width and height may differ in scale by a hair.
    factors = (small.width / image.width, small.height / image.height)
    return render.frames(
        picture.to_planes(small), (box.scaled(*factors) for box in boxes), order.size
    )


def enlarge_pipe(descriptor: int) -> None:
    """A pipe of a few rows makes writer and reader take turns; let it hold more."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError:
            return  # not a pipe, or not allowed: slower, not wrong


def write_all(descriptor: int, planes: tuple[bytes, ...]) -> None:
    for plane in planes:
        view = memoryview(plane)
        while view:
            view = view[os.write(descriptor, view) :]


if __name__ == "__main__":
    sys.exit(main())
