"""The renderer's geometry against the mathematics: what is drawn is where it should be.

The pictures are soft round spots whose centres are known exactly; where a spot lies in a frame
is measured by its centre of mass.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from gpu_worker.media import motion, render, render_child
from gpu_worker.media.clip import Clip
from gpu_worker.media.motion import EASINGS, Box, Motion, View
from gpu_worker.media.planes import Planes, to_planes
from gpu_worker.media.render import Level
from gpu_worker.media.resampler import plane

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


def image_of(data: bytes | memoryview, size: tuple[int, int]) -> Array:
    rows = np.frombuffer(data, np.uint8, size[0] * size[1])
    return rows.reshape(size[1], size[0]).astype(np.float64)


MOVES = [
    *(Motion(ZOOM, easing=easing) for easing in EASINGS),
    Motion(ZOOM, zoom_direction="out"),
    *(Motion(ZOOM, pan=pan) for pan in ((1, 0), (-1, 0), (0, 1), (0, -1))),
    *(Motion(ZOOM, pan=pan) for pan in ((1, 1), (1, -1), (-1, 1), (-1, -1))),
    Motion(ZOOM, zoom_direction="in", pan=(1, 0), easing="smooth"),
    Motion(ZOOM, focal=(0.2, 0.9)),
    Motion(views=(View((0.4, 0.45), 1.1), View((0.6, 0.5), 1.3)), easing="out"),
]


@pytest.mark.parametrize("move", MOVES, ids=str)
def test_every_frame_is_where_the_boxes_say_and_none_shakes(move: Motion) -> None:
    centres = [(x + 0.37, y + 0.61) for x in range(48, 600, 56) for y in range(48, 320, 52)]
    luma = np.round(235 * spots(SOURCE, centres, SPOT_PX)).astype(np.uint8)
    half = (SOURCE[0] // 2, SOURCE[1] // 2)
    gray = plane(bytes([128]) * (half[0] * half[1]), half)
    boxes = list(motion.boxes(*motion.ends(SOURCE, FRAME, move), 24, move.easing))
    levels = [Level(Planes(plane(luma.tobytes(), SOURCE), gray, gray), (1, 1))]
    shifts = positions(render.frames(levels, iter(boxes), FRAME, 2), boxes, centres)
    assert rms(shifts) <= MAX_POSITION_ERROR_PX
    assert rms(np.diff(shifts, axis=0)) <= MAX_JITTER_PX


def test_a_deep_zoom_changes_between_levels_without_a_jump(tmp_path: Path) -> None:
    """Through the whole child: from a picture that is ten times as large as its widest view."""
    size = (4800, 2700)
    centres = [(2400.3 + x * 300, 1350.7 + y * 300) for x in (-1, 0, 1) for y in (-1, 0, 1)]
    path = tmp_path / "spots.png"
    luma = np.round(235 * spots(size, centres, 25.0)).astype(np.uint8)
    Image.fromarray(luma).convert("RGB").save(path, compress_level=1)
    move = Motion(views=(View(), View(zoom=10)))
    boxes = list(motion.boxes(*motion.ends(size, FRAME, move), 24, move.easing))
    order = Clip(str(path), "PNG", *FRAME, 24, move)
    # Nine spots leave the frame one by one: those that are well inside are measured.
    shifts = positions(render_child.draw(order), boxes, centres, spot_px=25.0, black=16)
    assert rms(shifts) <= MAX_POSITION_ERROR_PX
    assert rms(np.diff(shifts, axis=0)) <= MAX_JITTER_PX


def rms(values: Array) -> float:
    return float(np.sqrt((values**2).mean()))


def positions(
    frames: Iterator[memoryview],
    boxes: list[Box],
    centres: list[tuple[float, float]],
    spot_px: float = SPOT_PX,
    black: int = 0,
) -> Array:
    """How far the spots are from where they should be, on average, in each frame: x and y."""
    shifts = []
    for box, raw in zip(boxes, frames, strict=True):
        frame = image_of(raw, FRAME) - black
        scale = FRAME[0] / box.width
        radius = 4 * spot_px * scale
        errors = []
        for cx, cy in centres:
            expected = ((cx - box.left) * scale, (cy - box.top) * scale)
            inside = all(
                radius + 2 < at < side - radius - 2
                for at, side in zip(expected, FRAME, strict=True)
            )
            if inside:
                found = centre_of_mass(frame, expected, radius)
                errors.append((found[0] - expected[0], found[1] - expected[1]))
        assert errors, "nothing to measure in this frame"
        shifts.append(np.mean(errors, axis=0))
    return np.array(shifts)


def test_colour_lies_where_players_expect_it_in_h264() -> None:
    """Left-sited 4:2:0: chroma sample n lies on luma column 2n, between two rows."""
    centre = (240.25, 135.5)
    redness = spots(FRAME, [centre], 6.0)
    rgb = np.stack([60 + 180 * redness, 60 + 0 * redness, 60 + 0 * redness], axis=-1)
    planes = to_planes(Image.fromarray(np.round(rgb).astype(np.uint8)))
    (frame,) = render.frames(
        [Level(planes, (1, 1))], iter([Box(0, 0, *map(float, FRAME))]), FRAME, 1
    )
    half = (FRAME[0] // 2, FRAME[1] // 2)
    red = image_of(frame[-half[0] * half[1] :], half) - 128
    # Column n of the plane has its middle at luma position 2n + 0.5, row n at 2n + 1.
    expected = ((centre[0] - 0.5) / 2 + 0.5, (centre[1] - 1.0) / 2 + 0.5)
    found = centre_of_mass(red, expected, 30)
    # Whole steps of 8 bits blur the measurement; the siting itself is worth 0.25.
    assert abs(found[0] - expected[0]) < 0.06
    assert abs(found[1] - expected[1]) < 0.06
