"""RGB pictures as the planes that the renderer samples: BT.709 limited range, 4:2:0. Runs in the
rendering child only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

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

Plane = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Planes:
    """A picture in 4:2:0: y has full size, u and v half (rounded up).

    Chroma lies between the pixels."""

    y: Plane
    u: Plane
    v: Plane


def to_planes(image: Image.Image) -> Planes:
    """RGB to BT.709 limited range."""
    y = image.convert("L", _Y)
    chroma = np.asarray(image.reduce(2).convert("RGB", _YUV))
    return Planes(np.asarray(y), chroma[..., 1], chroma[..., 2])
