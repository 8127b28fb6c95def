"""Open a picture file and bring it into the planes that the renderer samples: upright, opaque,
sRGB, BT.709 limited range, 4:2:0. Runs in the rendering child only."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps

from gpu_worker.media.refusal import Refused

MAX_PIXELS = 100_000_000
_ROWS_AT_ONCE = 256  # bounds the memory of the conversion
_KR, _KB = 0.2126, 0.0722  # BT.709
_KG = 1 - _KR - _KB

Plane = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Planes:
    """A picture in 4:2:0: y has full size, u and v half; chroma lies between the pixels."""

    y: Plane
    u: Plane
    v: Plane


def open_picture(path: Path, pillow_format: str, longest_px: int) -> Image.Image:
    """The picture, upright and in RGB. Raises Refused.

    longest_px: the longer side that it will be shown with, at most. A much larger JPEG is
    decoded at a half, a quarter or an eighth of its size, which loses nothing for this.
    """
    Image.MAX_IMAGE_PIXELS = None  # checked here, before any pixel is decoded
    try:
        with Image.open(path, formats=[pillow_format]) as image:
            _check_size(*image.size)
            # Both sides, because the orientation is not known yet.
            image.draft("RGB", (longest_px, longest_px))
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except Refused:
        raise
    except Exception as error:  # whatever a decoder stumbles over, it is the picture
        raise Refused(
            "MEDIA_UNREADABLE", "The picture cannot be read: it is damaged, or cut off."
        ) from error


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Refused(
            "TOO_MANY_PIXELS",
            f"The picture has {width}x{height} pixels; at most {MAX_PIXELS} are taken.",
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB: 16 bits to 8, palettes and CMYK by Pillow, transparency over black."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        scale = 255 / 65535 if values.max(initial=0) > 255 else 1.0
        image = Image.fromarray((values * scale).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        backdrop = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(backdrop, image)
    return _to_srgb(image)


def _to_srgb(image: Image.Image) -> Image.Image:
    """Phones and cameras embed wider colour spaces: shown as sRGB, their colours would shift."""
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            converted = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile: take the numbers as they are, as browsers do
    return image.convert("RGB")


def shrink(image: Image.Image, scale: float) -> Image.Image:
    """The picture at `scale` (at most 1) of its size, antialiased, with even sides."""
    width, height = image.size
    size = (max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2))
    if size == image.size:
        return image
    return image.resize(size, Image.Resampling.LANCZOS)


def to_planes(image: Image.Image) -> Planes:
    """RGB with even sides to BT.709 limited range."""
    rgb = np.asarray(image)
    height, width, _ = rgb.shape
    y = np.empty((height, width), np.uint8)
    u = np.empty((height // 2, width // 2), np.uint8)
    v = np.empty_like(u)
    for top in range(0, height, _ROWS_AT_ONCE):
        rows = rgb[top : top + _ROWS_AT_ONCE].astype(np.float32)
        red, green, blue = rows[..., 0], rows[..., 1], rows[..., 2]
        luma = _KR * red + _KG * green + _KB * blue
        y[top : top + rows.shape[0]] = _round(16 + luma * (219 / 255))
        half = slice(top // 2, (top + rows.shape[0]) // 2)
        scale = 224 / 255
        u[half] = _round(128 + _quarter(blue - luma) * (scale / (2 * (1 - _KB))))
        v[half] = _round(128 + _quarter(red - luma) * (scale / (2 * (1 - _KR))))
    return Planes(y, u, v)


def _quarter(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The mean of each 2x2 block."""
    height, width = values.shape
    mean: npt.NDArray[np.float32] = values.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
    return mean


def _round(values: npt.NDArray[np.float32]) -> Plane:
    return (values + 0.5).astype(np.uint8)
