"""Draw the frames of a camera move: separable antialiased resampling of each plane with a
fractional crop box, so that the motion is as smooth as its numbers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from gpu_worker.media.motion import Box
from gpu_worker.media.planes import Planes
from gpu_worker.media.resampler import Target, sample

Size = tuple[int, int]


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

    def steps(self, box: Box, size: Size) -> float:
        """How many pixels of this level go into one of the frame's."""
        return box.width * self.scale[0] / size[0]

    def draw(self, box: Box, size: Size, frame: Target) -> None:
        """Y, U and V of the box, one behind the other."""
        here = box.scaled(*self.scale)
        half = (size[0] // 2, size[1] // 2)
        luma_bytes, chroma_bytes = size[0] * size[1], half[0] * half[1]
        chroma = _chroma_box(here, size[0])
        sample(self.planes.y, here, size, frame)
        sample(self.planes.u, chroma, half, frame, luma_bytes)
        sample(self.planes.v, chroma, half, frame, luma_bytes + chroma_bytes)


# Below it, a smaller level would look softer than a larger one does.
FINEST_STEP = 1.4


def frames(
    levels: Iterable[Level], boxes: Iterator[Box], size: Size, threads: int
) -> Iterator[memoryview]:
    """Each frame in order, raw yuv420p. A frame is valid until the next one is asked for.

    levels: the largest first; each frame is drawn from the smallest that is fine enough for
    it. size: even. threads: how many frames are drawn at the same time.
    """
    largest, *smaller = levels
    # One is in use by the caller, and one more waits to be.
    spare = deque(Target(size[0] * size[1] * 3 // 2) for _ in range(threads + 2))

    def draw(box: Box, frame: Target) -> Target:
        fine = (level for level in reversed(smaller) if level.steps(box, size) >= FINEST_STEP)
        next(fine, largest).draw(box, size, frame)
        return frame

    def shown(drawing: Future[Target]) -> Iterator[memoryview]:
        frame = drawing.result()
        yield frame.view
        spare.append(frame)

    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[Target]] = deque()
        for box in boxes:
            ahead.append(pool.submit(draw, box, spare.popleft()))
            if len(ahead) > threads:
                yield from shown(ahead.popleft())
        while ahead:
            yield from shown(ahead.popleft())
