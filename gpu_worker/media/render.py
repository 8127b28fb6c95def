"""Draw the frames of a camera move: separable antialiased resampling of each plane with a
fractional crop box, so that the motion is as smooth as its numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from cykooz_resizer import (
    CropBox,
    FilterType,
    ImageData,
    PixelType,
    ResizeAlg,
    ResizeOptions,
    Resizer,
)

from gpu_worker.media.motion import Box
from gpu_worker.media.picture import Plane, Planes

_LANCZOS = ResizeAlg.convolution(FilterType.lanczos3)
# Chroma is sampled up to this far left of its plane (see `frames`).
_MARGIN_PX = 4


class _Sampler:
    """Resamples parts of one plane to one size."""

    def __init__(self, plane: Plane, size: tuple[int, int], margin_px: int = 0) -> None:
        padded = np.pad(plane, ((0, 0), (margin_px, margin_px)), mode="edge")
        height, width = padded.shape
        self._source = ImageData(width, height, PixelType.U8, padded.tobytes())
        self._limit = (float(width), float(height))
        self._target = ImageData(size[0], size[1], PixelType.U8)
        self._margin_px = margin_px
        self._resizer = Resizer()

    def sample(self, box: Box) -> bytes:
        left = max(0.0, box.left + self._margin_px)
        top = max(0.0, box.top)
        # Rounding may lead a hair beyond the edge, which the resizer refuses.
        crop = CropBox(
            left, top, min(box.width, self._limit[0] - left), min(box.height, self._limit[1] - top)
        )
        self._resizer.resize(
            self._source, self._target, ResizeOptions(resize_alg=_LANCZOS, crop_box=crop)
        )
        pixels: bytes = self._target.get_buffer()
        return pixels


def frames(
    planes: Planes, boxes: Iterator[Box], size: tuple[int, int]
) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Y, U and V of each frame. boxes: in pixels of `planes.y`. size: even."""
    half = (size[0] // 2, size[1] // 2)
    luma = _Sampler(planes.y, size)
    blue = _Sampler(planes.u, half, _MARGIN_PX)
    red = _Sampler(planes.v, half, _MARGIN_PX)
    for box in boxes:
        # H.264 video has its chroma at the left pixel of each pair, ours lies in the middle:
        # a quarter of an output chroma step to the left.
        shift = 0.25 * (box.width / 2) / half[0]
        chroma = Box(box.left / 2 - shift, box.top / 2, box.width / 2, box.height / 2)
        yield luma.sample(box), blue.sample(chroma), red.sample(chroma)
