"""Camera moves over a still picture, as fractional crop boxes. Pure mathematics.

Every move is a first box, a last box and an easing; the renderer only ever sees the boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

Size = tuple[float, float]
Point = tuple[float, float]  # in parts of the picture's width and height
EasingName = Literal["linear", "smooth", "in", "out"]

_NTSC_BASES = (24, 30, 48, 60, 120)
_NTSC_TOLERANCE = 0.005  # people write 23.976, 23.98, 29.97 ...
_CENTER: Point = (0.5, 0.5)

# Part of the time to part of the way; all begin at 0 and end at 1.
EASINGS: Mapping[EasingName, Callable[[float], float]] = {
    "linear": lambda t: t,
    "smooth": lambda t: t * t * (3 - 2 * t),
    "in": lambda t: t * t,
    "out": lambda t: t * (2 - t),
}


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


@dataclass(frozen=True)
class View:
    """A view that the caller has chosen: its middle, and how much closer it is than the widest."""

    center: Point = _CENTER
    zoom: float = 1.0


@dataclass(frozen=True)
class Motion:
    """A move as the contract's message of this name describes it.

    pan: -1, 0 or 1 along x and y. views: first and last; if given, they stand for all else
    but the easing.
    """

    zoom: float = 1.324
    zoom_direction: Literal["in", "out", "hold"] = "in"
    pan: tuple[int, int] = (0, 0)
    focal: Point = _CENTER
    easing: EasingName = "linear"
    views: tuple[View, View] | None = None

    @property
    def closest(self) -> float:
        """How much closer the closest view is than the widest."""
        return max(view.zoom for view in self.views) if self.views else self.zoom

    def within(self, part: Box) -> Motion:
        """The same move on a canvas that holds the picture in `part` (in parts of the canvas)."""

        def point(of_picture: Point) -> Point:
            x, y = of_picture
            return part.left + x * part.width, part.top + y * part.height

        views = self.views
        if views is not None:
            first, last = (replace(view, center=point(view.center)) for view in views)
            views = (first, last)
        return replace(self, focal=point(self.focal), views=views)


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


def view(picture: Size, frame: Size, zoom: float, center: Point) -> Box:
    """The part of the picture that has the frame's shape and is `zoom` times smaller than the
    largest such part, as close around `center` as the edges allow. Nothing is ever stretched."""
    scale = min(picture[0] / frame[0], picture[1] / frame[1]) / zoom
    width, height = frame[0] * scale, frame[1] * scale
    left = min(max(center[0] * picture[0] - width / 2, 0.0), picture[0] - width)
    top = min(max(center[1] * picture[1] - height / 2, 0.0), picture[1] - height)
    return Box(left, top, width, height)


def ends(picture: Size, frame: Size, motion: Motion) -> tuple[Box, Box]:
    """The first and the last box of a move."""
    if motion.views is not None:
        first, last = motion.views
        return (
            view(picture, frame, first.zoom, first.center),
            view(picture, frame, last.zoom, last.center),
        )
    widest = view(picture, frame, 1, motion.focal)
    closest = _closer(widest, picture, motion)
    first_box, last_box = {
        "in": (widest, closest),
        "out": (closest, widest),
        "hold": (closest, closest),
    }[motion.zoom_direction]
    if motion.pan == (0, 0):
        return first_box, last_box
    backwards = (-motion.pan[0], -motion.pan[1])
    return _at_edge(first_box, picture, backwards), _at_edge(last_box, picture, motion.pan)


def _closer(widest: Box, picture: Size, motion: Motion) -> Box:
    """The closest view. The focal point has the same place in it as in the widest one."""
    focus_x, focus_y = motion.focal[0] * picture[0], motion.focal[1] * picture[1]
    part = 1 / motion.zoom
    return Box(
        focus_x - (focus_x - widest.left) * part,
        focus_y - (focus_y - widest.top) * part,
        widest.width * part,
        widest.height * part,
    )


def _at_edge(box: Box, picture: Size, side: tuple[int, int]) -> Box:
    """The box moved to the picture's edge or corner at `side`; 0 leaves a coordinate alone."""
    left = {-1: 0.0, 0: box.left, 1: picture[0] - box.width}[side[0]]
    top = {-1: 0.0, 0: box.top, 1: picture[1] - box.height}[side[1]]
    return replace(box, left=left, top=top)


def boxes(first: Box, last: Box, frames: int, easing: EasingName) -> Iterator[Box]:
    """One box a frame, from the first to the last.

    The magnification grows by the same amount with each step of the easing, and every point
    of the frame moves along a straight line: what has the same place in the first and the
    last box never leaves it.
    """
    for index in range(frames):
        step = EASINGS[easing](index / (frames - 1) if frames > 1 else 0.0)
        # Of the way from the first box to the last, so that 1 / width is linear in `step`.
        part = step * first.width / (last.width + (first.width - last.width) * step)
        yield Box(
            first.left + (last.left - first.left) * part,
            first.top + (last.top - first.top) * part,
            first.width + (last.width - first.width) * part,
            first.height + (last.height - first.height) * part,
        )
