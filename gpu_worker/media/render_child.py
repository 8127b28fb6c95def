"""Run as a program: write the frames of one clip to standard output, raw yuv420p.

    python -m gpu_worker.media.render_child SPEC.json

Ends with code 65 and a JSON line on standard error where the picture is to blame.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from pathlib import Path

from gpu_worker.media import motion, picture, render

BAD_PICTURE_CODE = 65  # EX_DATAERR
_PIPE_BYTES = 1024 * 1024


def main() -> int:
    spec = json.loads(Path(sys.argv[1]).read_text())
    size = (int(spec["width"]), int(spec["height"]))
    zoom = float(spec["zoom"])
    focal = (float(spec["focal_x"]), float(spec["focal_y"]))
    largest = (int(size[0] * zoom) + 1, int(size[1] * zoom) + 1)
    try:
        image = picture.open_picture(Path(spec["path"]), spec["format"], largest)
    except picture.BadPicture as error:
        print(json.dumps({"reason": error.reason, "message": str(error)}), file=sys.stderr)  # noqa: T201
        return BAD_PICTURE_CODE
    # More pixels than the closest view shows are only noise to the sampler: shrink once.
    whole = motion.cover(image.size, size, focal)
    image = picture.shrink(image, min(1.0, zoom * size[0] / whole.width))
    boxes = motion.zoom_in(image.size, size, int(spec["frames"]), zoom, focal)
    planes = picture.to_planes(image)
    with_large_pipe(sys.stdout.fileno())
    for parts in render.frames(planes, iter(boxes), size):
        write_all(sys.stdout.fileno(), parts)
    return 0


def with_large_pipe(descriptor: int) -> None:
    """A pipe of a few rows makes writer and reader take turns; let it hold more."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError:
            return  # not a pipe, or not allowed: slower, not wrong


def write_all(descriptor: int, parts: tuple[bytes, ...]) -> None:
    for part in parts:
        view = memoryview(part)
        while view:
            view = view[os.write(descriptor, view) :]


if __name__ == "__main__":
    sys.exit(main())
