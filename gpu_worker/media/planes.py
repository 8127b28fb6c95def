"""RGB pictures as the planes that the renderer samples: BT.709 limited range, 4:2:0. Runs in the
rendering child only."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from gpu_worker.media.resampler import Plane, Size, plane, resized

_KR, _KB = 0.2126, 0.0722  # BT.709
_KG = 1 - _KR - _KB
_LUMA = 219 / 255
_BLUE = 224 / 255 / (2 * (1 - _KB))
_RED = 224 / 255 / (2 * (1 - _KR))
_Y = (_LUMA * _KR, _LUMA * _KG, _LUMA * _KB, 16.0)
# For Pillow a matrix has as many rows as the picture has channels.
_YUV = (
    *_Y,
    *(-_KR * _BLUE, -_KG * _BLUE, (1 - _KB) * _BLUE, 128.0),
    *((1 - _KR) * _RED, -_KG * _RED, -_KB * _RED, 128.0),
)


@dataclass(frozen=True)
class Planes:
    """A picture in 4:2:0: y has full size, u and v half (rounded up).

    Chroma lies between the pixels."""

    y: Plane
    u: Plane
    v: Plane

    def resized(self, size: Size) -> Planes:
        half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
        return Planes(resized(self.y, size), resized(self.u, half), resized(self.v, half))


def to_planes(image: Image.Image) -> Planes:
    """RGB to BT.709 limited range."""
    y = image.convert("L", _Y)
    small = image.reduce(2).convert("RGB", _YUV)
    u, v = small.getchannel(1), small.getchannel(2)
    return Planes(*(plane(each.tobytes(), each.size) for each in (y, u, v)))
