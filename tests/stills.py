"""Still pictures whose marks can be found again in the frames of a clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from apigpu.video.v1 import operations_pb2
from PIL import Image

from tests.media_samples import Gray
from tests.requests import seconds
from tests.studio import source

ZOOM = 1.324
DOT_PX = 12
BT709 = (1, 1, 1, 1)  # limited range; space, primaries and transfer of BT.709


def dots(
    path: Path, size: tuple[int, int], centres: list[tuple[float, float]], radius: int = DOT_PX
) -> Path:
    """Soft-edged white dots on black, at parts of the picture's width and height."""
    y, x = np.indices((size[1], size[0])) + 0.5
    light = np.zeros((size[1], size[0]))
    for cx, cy in centres:
        distance = np.hypot(x - cx * size[0], y - cy * size[1])
        light = np.maximum(light, np.clip(radius - distance + 0.5, 0, 1))
    Image.fromarray(np.round(255 * light).astype(np.uint8)).save(path)
    return path


def order(
    path: Path,
    duration_s: float = 1.0,
    *,
    size: tuple[int, int] = (640, 360),
    rate: float | None = None,
    motion: operations_pb2.Motion | None = None,
) -> tuple[operations_pb2.Image, operations_pb2.ImagesToVideos]:
    image = operations_pb2.Image(id="it", image=source(path), duration=seconds(duration_s))
    batch = operations_pb2.ImagesToVideos(
        width=size[0], height=size[1], frame_rate=rate, motion=motion
    )
    return image, batch


def centre(gray: Gray) -> tuple[float, float]:
    """Centre of mass of what is bright, in pixels from the left and top edges."""
    weight = np.clip(gray - 30, 0, None)
    y, x = np.indices(weight.shape)
    total = weight.sum()
    return float((weight * (x + 0.5)).sum() / total), float((weight * (y + 0.5)).sum() / total)


def halves(gray: Gray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Centres of a dot in the left half and one in the right half."""
    middle = gray.shape[1] // 2
    left, right = centre(gray[:, :middle]), centre(gray[:, middle:])
    return left, (right[0] + middle, right[1])
