"""Open a picture file: upright, opaque, sRGB. Runs in the rendering child only."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageOps

from gpu_worker.media import resampler
from gpu_worker.media.refusal import Refused

MAX_PIXELS = 100_000_000
BLACK = "#000000"


def open_picture(
    path: Path, pillow_format: str, longest_px: int, backdrop: str = BLACK
) -> Image.Image:
    """The picture, upright and in RGB. Raises Refused.

    backdrop: "#RRGGBB", what is seen through a picture that is not opaque.
    longest_px: the longer side that it will be shown with, at most. A much larger JPEG is
    decoded at a half, a quarter or an eighth of its size, which loses nothing for this.
    """
    Image.MAX_IMAGE_PIXELS = None  # checked here, before any pixel is decoded
    if pillow_format == "HEIF":
        _learn_heif()
    try:
        with Image.open(path, formats=[pillow_format]) as image:
            _check_size(*image.size)
            # Both sides, because the orientation is not known yet.
            image.draft("RGB", (longest_px, longest_px))
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image, backdrop)
    except Refused:
        raise
    except Exception as error:  # whatever a decoder stumbles over, it is the picture
        raise Refused(
            "MEDIA_UNREADABLE", "The picture cannot be read: it is damaged, or cut off."
        ) from error


def _learn_heif() -> None:
    import pi_heif  # not in Pillow; seldom needed

    pi_heif.register_heif_opener()


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Refused(
            "TOO_MANY_PIXELS",
            f"The picture has {width}x{height} pixels; at most {MAX_PIXELS} are taken.",
        )


def _to_rgb(image: Image.Image, backdrop: str) -> Image.Image:
    """Any mode to RGB: 16 bits to 8, palettes and CMYK by Pillow, transparency over `backdrop`."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = _to_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, backdrop), image)
    return _to_srgb(image)


def _to_8_bits(image: Image.Image) -> Image.Image:
    import numpy as np  # rarely needed, and slow to load

    values = np.asarray(image, dtype=np.float64)
    if image.mode.startswith("I;16"):
        return Image.fromarray((values // 256).astype(np.uint8))
    scale = 255 / 65535 if values.max(initial=0) > 255 else 1.0
    return Image.fromarray((values * scale).clip(0, 255).astype(np.uint8))


def _to_srgb(image: Image.Image) -> Image.Image:
    """Phones and cameras embed wider colour spaces: shown as sRGB, their colours would shift."""
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        from PIL import ImageCms  # most pictures have no profile

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
    return image if image.mode == "RGB" else image.convert("RGB")


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The RGB picture at that size, antialiased."""
    if size == image.size:
        return image
    bands = [resampler.plane(band.tobytes(), image.size) for band in image.split()]
    small = [resampler.resized(band, size).rows for band in bands]
    return Image.merge("RGB", [Image.frombytes("L", size, rows) for rows in small])
