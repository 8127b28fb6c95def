"""What the camera moves over: the picture itself, or the picture between bars. Runs in the
rendering child only."""

from __future__ import annotations

from PIL import Image, ImageFilter

from gpu_worker.media.clip import Bars
from gpu_worker.media.motion import Box, Size
from gpu_worker.media.picture import resized

# The backdrop is blurred at a small size, where it costs nothing.
_BACKDROP_PX = 160
_BLUR_PX = 6


def whole(size: Size) -> tuple[int, int]:
    """The nearest whole sides, at least 1."""
    return max(1, round(size[0])), max(1, round(size[1]))


def around(picture: Size, frame: Size) -> Size:
    """The size of the smallest canvas of the frame's shape that holds all of the picture."""
    scale = max(picture[0] / frame[0], picture[1] / frame[1])
    return frame[0] * scale, frame[1] * scale


def part_of(picture: Size, frame: Size) -> Box:
    """Where the picture lies on its canvas, in parts of the canvas."""
    stage = around(picture, frame)
    width, height = picture[0] / stage[0], picture[1] / stage[1]
    return Box((1 - width) / 2, (1 - height) / 2, width, height)


def draw(image: Image.Image, size: tuple[int, int], frame: Size, bars: Bars) -> Image.Image:
    """The picture between bars. size: of the canvas, of the shape of `frame`."""
    part = part_of(image.size, frame)
    width, height = max(1, round(part.width * size[0])), max(1, round(part.height * size[1]))
    canvas = _backdrop(image, size) if bars.color is None else Image.new("RGB", size, bars.color)
    small = resized(image, (width, height))
    canvas.paste(small, (round((size[0] - width) / 2), round((size[1] - height) / 2)))
    return canvas


def _backdrop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture, filling the canvas and blurred."""
    scale = min(image.width / size[0], image.height / size[1])
    width, height = size[0] * scale, size[1] * scale
    # Rounding may lead a hair beyond the edge, which Pillow refuses.
    left, top = max(0.0, (image.width - width) / 2), max(0.0, (image.height - height) / 2)
    factor = _BACKDROP_PX / max(size)
    small = image.resize(
        (max(1, round(size[0] * factor)), max(1, round(size[1] * factor))),
        Image.Resampling.LANCZOS,
        box=(left, top, min(left + width, image.width), min(top + height, image.height)),
        reducing_gap=2,
    )
    blurred = small.filter(ImageFilter.GaussianBlur(_BLUR_PX))
    return blurred.resize(size, Image.Resampling.BICUBIC)
