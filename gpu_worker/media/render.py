"""Draw the frames of a camera move: separable antialiased resampling of each plane with a
fractional crop box, so that the motion is as smooth as its numbers.

The resampler is several times faster down the columns than along the rows of a one-channel
picture, because it works on neighbouring bytes at once. Along the rows it does so only for
pixels of several channels. So rows are sampled in groups of four that stand in as channels.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from cykooz_resizer import CropBox, ImageData, PixelType, ResizeOptions, Resizer

from gpu_worker.media.motion import Box
from gpu_worker.media.picture import LANCZOS
from gpu_worker.media.planes import Plane, Planes

_LANCZOS_REACH_PX = 3
# Chroma is sampled up to this far left of its plane (see `_chroma_box`).
_MARGIN_PX = 4
_CHANNELS = 4

Frame = tuple[bytes, bytes, bytes]


class _Sampler:
    """Resamples parts of one or two planes of the same size, to one size."""

    def __init__(self, planes: list[Plane], size: tuple[int, int], margin_px: int = 0) -> None:
        self._planes = len(planes)
        self._rows = _CHANNELS // self._planes  # of each plane, in one group
        height = planes[0].shape[0]
        missing = -height % self._rows
        self._height = float(height)
        packed = np.stack(
            [np.pad(plane, ((0, missing), (margin_px, margin_px)), mode="edge") for plane in planes]
        )
        groups = packed.reshape(self._planes, -1, self._rows, packed.shape[2])
        self._groups, self._width = groups.shape[1], groups.shape[3]
        # From (plane, group, row, column) to (group, column, row, plane).
        pixels = groups.transpose(1, 3, 2, 0).tobytes()
        self._source = ImageData(self._width, self._groups, PixelType.U8x4, pixels)
        self._size = size
        self._margin_px = margin_px
        self._of_thread = threading.local()

    def sample(self, box: Box) -> bytes:
        """The box of each plane at the size: rows of all planes side by side."""
        left = max(0.0, box.left + self._margin_px)
        top = max(0.0, box.top)
        # Rounding may lead a hair beyond the edge, which the resizer refuses.
        width = min(box.width, self._width - left)
        height = min(box.height, self._height - top)
        reach = math.ceil(_LANCZOS_REACH_PX * max(1.0, height / self._size[1]))
        first = max(0, int(top - reach) // self._rows)
        last = min(self._groups, int(top + height + reach) // self._rows + 1)
        rows = self._across(CropBox(left, first, width, last - first))
        down = CropBox(0, top - first * self._rows, rows.width, height)
        result = self._result()
        Resizer().resize(rows, result, ResizeOptions(resize_alg=LANCZOS, crop_box=down))
        pixels: bytes = result.get_buffer()
        return pixels

    def _result(self) -> ImageData:
        """Where this thread's results go: one piece of memory, again and again."""
        if not hasattr(self._of_thread, "result"):
            width, height = self._size
            self._of_thread.result = ImageData(width * self._planes, height, PixelType.U8)
        result: ImageData = self._of_thread.result
        return result

    def _across(self, crop: CropBox) -> ImageData:
        """The rows in `crop` at their final width, as rows again; planes side by side."""
        count, width = int(crop.height), self._size[0]
        groups = ImageData(width, count, PixelType.U8x4)
        options = ResizeOptions(resize_alg=LANCZOS, crop_box=crop, use_alpha=False)
        Resizer().resize(self._source, groups, options)
        shape = (count, width, self._rows, self._planes)
        pixels = np.frombuffer(groups.get_buffer(), np.uint8).reshape(shape)
        rows = np.empty((count, self._rows, self._planes, width), np.uint8)
        for row in range(self._rows):
            for plane in range(self._planes):
                rows[:, row, plane] = pixels[:, :, row, plane]
        return ImageData(width * self._planes, count * self._rows, PixelType.U8, rows.tobytes())


def _chroma_box(box: Box, width: int) -> Box:
    """The box in the chroma planes. H.264 video has its chroma at the left pixel of each pair,
    ours lies in the middle: a quarter of an output step to the left. width: of the output."""
    shift = 0.25 * (box.width / 2) / (width // 2)
    return Box(box.left / 2 - shift, box.top / 2, box.width / 2, box.height / 2)


@dataclass(frozen=True)
class Level:
    """The picture at one size. scale: that size in parts of the boxes' (width, height)."""

    planes: Planes
    scale: tuple[float, float]


class _Drawer:
    """Draws frames of one level."""

    def __init__(self, level: Level, size: tuple[int, int]) -> None:
        half = (size[0] // 2, size[1] // 2)
        self._size = size
        self._scale = level.scale
        self._luma = _Sampler([level.planes.y], size)
        self._chroma = _Sampler([level.planes.u, level.planes.v], half, _MARGIN_PX)

    def steps(self, box: Box) -> float:
        """How many pixels of this level go into one of the frame's."""
        return box.width * self._scale[0] / self._size[0]

    def draw(self, box: Box) -> Frame:
        here = box.scaled(*self._scale)
        luma = self._luma.sample(here)
        chroma = self._chroma.sample(_chroma_box(here, self._size[0]))
        both = np.frombuffer(chroma, np.uint8).reshape(self._size[1] // 2, 2, -1)
        return luma, both[:, 0].tobytes(), both[:, 1].tobytes()


# Below it, a smaller level would look softer than a larger one does.
FINEST_STEP = 1.4


def frames(
    levels: Iterable[Level], boxes: Iterator[Box], size: tuple[int, int], threads: int
) -> Iterator[Frame]:
    """Y, U and V of each frame, in order.

    levels: the largest first; each frame is drawn from the smallest that is fine enough for
    it. size: even. threads: how many frames are drawn at the same time.
    """
    drawers = [_Drawer(level, size) for level in levels]

    def draw(box: Box) -> Frame:
        smallest_first = reversed(drawers[1:])
        fine = (drawer for drawer in smallest_first if drawer.steps(box) >= FINEST_STEP)
        return next(fine, drawers[0]).draw(box)

    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[Frame]] = deque()
        for box in boxes:
            ahead.append(pool.submit(draw, box))
            if len(ahead) > threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
