"""The renderer's geometry against the mathematics: what is drawn is where it should be.

The pictures are soft round spots whose centres are known exactly; where a spot lies in a frame
is measured by its centre of mass.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from gpu_worker.media import picture, render
from gpu_worker.media.motion import Box, zoom_in
from gpu_worker.media.picture import Planes

ZOOM = 1.324
FRAME = (480, 270)
SOURCE = (636, 358)  # about FRAME x ZOOM, as the renderer's child prepares it
SPOT_PX = 5.0
MAX_POSITION_ERROR_PX = 0.01
MAX_JITTER_PX = 0.01

Array = npt.NDArray[np.float64]


def spots(size: tuple[int, int], centres: list[tuple[float, float]], sigma_px: float) -> Array:
    """Soft spots from 0 to 1. Positions are continuous: the middle of the first pixel is 0.5."""
    x = np.arange(size[0]) + 0.5
    y = (np.arange(size[1]) + 0.5)[:, None]
    field = np.zeros((size[1], size[0]))
    for cx, cy in centres:
        field += np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma_px**2))
    return field


def centre_of_mass(
    values: Array, expected: tuple[float, float], radius_px: float
) -> tuple[float, float]:
    """Where the spot around `expected` really is."""
    left, top = (max(0, round(e - radius_px)) for e in expected)
    right, bottom = (round(e + radius_px) for e in expected)
    window = values[top:bottom, left:right]
    x = np.arange(left, left + window.shape[1]) + 0.5
    y = np.arange(top, top + window.shape[0]) + 0.5
    total = window.sum()
    return float((window.sum(0) * x).sum() / total), float((window.sum(1) * y).sum() / total)


def image_of(data: bytes, size: tuple[int, int]) -> Array:
    return np.frombuffer(data, np.uint8).reshape(size[1], size[0]).astype(np.float64)


def test_every_frame_is_where_the_boxes_say_and_none_shakes() -> None:
    centres = [(x + 0.37, y + 0.61) for x in range(160, 500, 56) for y in range(100, 280, 52)]
    luma = np.round(235 * spots(SOURCE, centres, SPOT_PX)).astype(np.uint8)
    gray = np.full((SOURCE[1] // 2, SOURCE[0] // 2), 128, np.uint8)
    boxes = zoom_in(SOURCE, FRAME, 48, ZOOM)

    shifts = []
    planes = render.frames(Planes(luma, gray, gray), iter(boxes), FRAME)
    for box, (y, _, _) in zip(boxes, planes, strict=True):
        frame = image_of(y, FRAME)
        scale = FRAME[0] / box.width
        errors = []
        for cx, cy in centres:
            expected = ((cx - box.left) * scale, (cy - box.top) * scale)
            found = centre_of_mass(frame, expected, 4 * SPOT_PX * scale)
            errors.append((found[0] - expected[0], found[1] - expected[1]))
        shifts.append(np.mean(errors, axis=0))

    positions = np.array(shifts)
    jitter = np.diff(positions, axis=0)
    assert np.abs(positions).max() <= MAX_POSITION_ERROR_PX
    assert np.sqrt((jitter**2).mean()) <= MAX_JITTER_PX


def test_colour_lies_where_players_expect_it_in_h264() -> None:
    """Left-sited 4:2:0: chroma sample n lies on luma column 2n, between two rows."""
    centre = (240.25, 135.5)
    redness = spots(FRAME, [centre], 6.0)
    rgb = np.stack([60 + 180 * redness, 60 + 0 * redness, 60 + 0 * redness], axis=-1)
    planes = picture.to_planes(Image.fromarray(np.round(rgb).astype(np.uint8)))
    ((_, _, v),) = render.frames(planes, iter([Box(0, 0, *map(float, FRAME))]), FRAME)
    half = (FRAME[0] // 2, FRAME[1] // 2)
    red = image_of(v, half) - 128
    # Column n of the plane has its middle at luma position 2n + 0.5, row n at 2n + 1.
    expected = ((centre[0] - 0.5) / 2 + 0.5, (centre[1] - 1.0) / 2 + 0.5)
    found = centre_of_mass(red, expected, 30)
    # Whole steps of 8 bits blur the measurement; the siting itself is worth 0.25.
    assert abs(found[0] - expected[0]) < 0.06
    assert abs(found[1] - expected[1]) < 0.06
