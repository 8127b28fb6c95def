"""Camera moves over a still picture, as lists of fractional crop boxes. Pure mathematics.

Whatever the move, the renderer only ever sees the boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

_NTSC_BASES = (24, 30, 48, 60, 120)
_NTSC_TOLERANCE = 0.005  # people write 23.976, 23.98, 29.97 ...


@dataclass(frozen=True)
class Box:
    """A part of a picture: position and size in its pixels, fractions included."""

    left: float
    top: float
    width: float
    height: float

    def scaled(self, x: float, y: float) -> Box:
        """The same part of the picture when its width is `x` and its height `y` times as large."""
        return Box(self.left * x, self.top * y, self.width * x, self.height * y)


def exact_rate(frames_per_s: float) -> Fraction:
    """The frame rate that is meant: 29.97 is 30000/1001."""
    for base in _NTSC_BASES:
        ntsc = Fraction(base * 1000, 1001)
        if abs(frames_per_s - ntsc) < _NTSC_TOLERANCE:
            return ntsc
    return Fraction(frames_per_s).limit_denominator(1001)


def frame_count(duration_s: Fraction, rate: Fraction) -> int:
    """round(duration x rate), halves up, at least 1: the one count that all else follows."""
    return max(1, int(duration_s * rate + Fraction(1, 2)))


def cover(picture: tuple[int, int], frame: tuple[int, int], focal: tuple[float, float]) -> Box:
    """The largest part of the picture that has the frame's shape, as close around the focal
    point (in parts of the picture) as the edges allow. Nothing is ever stretched."""
    width, height = picture
    scale = min(width / frame[0], height / frame[1])
    box_width, box_height = frame[0] * scale, frame[1] * scale
    left = min(max(focal[0] * width - box_width / 2, 0.0), width - box_width)
    top = min(max(focal[1] * height - box_height / 2, 0.0), height - box_height)
    return Box(left, top, box_width, box_height)


def zoom_in(
    picture: tuple[int, int],
    frame: tuple[int, int],
    frames: int,
    zoom: float,
    focal: tuple[float, float] = (0.5, 0.5),
) -> list[Box]:
    """One box a frame: the first is the whole covering part, the last is `zoom` times smaller.

    The magnification grows by the same amount each frame, and the focal point keeps its
    place in the frame: with the default, the centre.
    """
    whole = cover(picture, frame, focal)
    focus_x, focus_y = focal[0] * picture[0], focal[1] * picture[1]
    place_x = (focus_x - whole.left) / whole.width
    place_y = (focus_y - whole.top) / whole.height
    boxes = []
    for index in range(frames):
        magnification = 1 + (zoom - 1) * (index / (frames - 1) if frames > 1 else 0.0)
        width, height = whole.width / magnification, whole.height / magnification
        boxes.append(Box(focus_x - place_x * width, focus_y - place_y * height, width, height))
    return boxes
