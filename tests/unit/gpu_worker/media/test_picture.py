"""Pictures of every kind come out upright, opaque and in the right colours."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from gpu_worker.media import picture
from gpu_worker.media.planes import to_planes
from gpu_worker.media.refusal import Refused

SIZE = (64, 48)
TOLERANCE = 3
LONGEST_PX = 4000


def open_saved(image: Image.Image, path: Path, **how: object) -> Image.Image:
    image.save(path, **how)  # type: ignore[arg-type]
    with Image.open(path) as saved:
        name = saved.format
    assert name is not None
    return picture.open_picture(path, name, LONGEST_PX)


def color(image: Image.Image, x: int = 32, y: int = 24) -> tuple[int, ...]:
    assert image.mode == "RGB"
    value = image.getpixel((x, y))
    assert isinstance(value, tuple)
    return value


def near(found: tuple[int, ...], wanted: tuple[int, ...], tolerance: int = TOLERANCE) -> bool:
    return all(abs(f - w) <= tolerance for f, w in zip(found, wanted, strict=True))


def test_a_phone_s_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", SIZE, (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 32, 48))  # the left half is red
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise
    upright = open_saved(image, tmp_path / "phone.png", exif=exif)
    assert upright.size == (48, 64)
    assert near(color(upright, 24, 8), (255, 0, 0)), "the left edge belongs on top"
    assert near(color(upright, 24, 56), (0, 0, 255))


def test_what_is_transparent_becomes_black(tmp_path: Path) -> None:
    clear = Image.new("RGBA", SIZE, (255, 0, 0, 0))
    assert color(open_saved(clear, tmp_path / "clear.png")) == (0, 0, 0)
    half = Image.new("RGBA", SIZE, (200, 100, 50, 128))
    assert near(color(open_saved(half, tmp_path / "half.png")), (100, 50, 25))


def test_a_transparent_palette_becomes_black_too(tmp_path: Path) -> None:
    image = Image.new("P", SIZE, 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    assert color(open_saved(image, tmp_path / "palette.gif", transparency=0)) == (0, 0, 0)
    assert color(open_saved(image, tmp_path / "opaque.gif")) == (255, 0, 0)


def test_gray_and_sixteen_bits_keep_their_brightness(tmp_path: Path) -> None:
    gray = Image.new("L", SIZE, 120)
    assert color(open_saved(gray, tmp_path / "gray.png")) == (120, 120, 120)
    deep = Image.fromarray(np.full((48, 64), 120 * 257, np.uint16))
    assert near(color(open_saved(deep, tmp_path / "deep.png")), (120, 120, 120), 1)


def test_a_phone_s_heic_is_shown_in_its_colours() -> None:
    path = Path(__file__).with_name("red-and-blue.heic")  # 96x64, red on the left
    opened = picture.open_picture(path, "HEIF", LONGEST_PX)
    assert opened.size == (96, 64)
    assert near(color(opened.crop((0, 0, 40, 64))), (200, 30, 30), 6)
    assert near(color(opened.crop((56, 0, 96, 64))), (30, 30, 200), 6)


def test_a_heic_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    whole = Path(__file__).with_name("red-and-blue.heic").read_bytes()
    path = tmp_path / "cut.heic"
    for length in (20, 300, len(whole) - 60):
        path.write_bytes(whole[:length])
        with pytest.raises(Refused) as refused:
            picture.open_picture(path, "HEIF", LONGEST_PX)
        assert refused.value.reason == "MEDIA_UNREADABLE"


def test_cmyk_from_print_is_shown_in_its_colours(tmp_path: Path) -> None:
    image = Image.new("CMYK", SIZE, (0, 255, 255, 0))
    assert near(color(open_saved(image, tmp_path / "print.jpg", quality=95)), (255, 0, 0), 10)


def test_an_embedded_profile_is_converted_and_a_broken_one_does_no_harm(tmp_path: Path) -> None:
    linear_like = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.new("RGB", SIZE, (100, 150, 200))
    for number, profile in enumerate((srgb, b"not a profile", linear_like[:40])):
        opened = open_saved(image, tmp_path / f"{number}.png", icc_profile=profile)
        assert near(color(opened), (100, 150, 200)), number


def test_a_huge_picture_is_refused_by_its_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    small = io.BytesIO()
    Image.new("L", (8, 8)).save(small, "PNG")
    data = bytearray(small.getvalue())
    data[16:24] = (30_000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(Refused) as refused:
        picture.open_picture(path, "PNG", LONGEST_PX)
    assert refused.value.reason == "TOO_MANY_PIXELS"
    assert "30000x30000" in str(refused.value)


def test_a_picture_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    Image.effect_noise((640, 480), 60).save(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(Refused) as refused:
        picture.open_picture(path, "JPEG", LONGEST_PX)
    assert refused.value.reason == "MEDIA_UNREADABLE"


@pytest.mark.parametrize(
    ("rgb", "yuv"),
    [
        ((0, 0, 0), (16, 128, 128)),
        ((255, 255, 255), (235, 128, 128)),
        ((255, 0, 0), (63, 102, 240)),
        ((0, 255, 0), (173, 42, 26)),
        ((0, 0, 255), (32, 240, 118)),
    ],
)
def test_colours_become_those_of_bt709_in_limited_range(
    rgb: tuple[int, int, int], yuv: tuple[int, int, int]
) -> None:
    planes = to_planes(Image.new("RGB", SIZE, rgb))
    found = tuple(each.rows[len(each.rows) // 2] for each in (planes.y, planes.u, planes.v))
    assert found == yuv
    assert planes.u.size == (32, 24)
