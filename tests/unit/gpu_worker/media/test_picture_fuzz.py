"""Damaged pictures: whatever a decoder stumbles over, the picture is refused by name, or shown."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gpu_worker.media import picture
from gpu_worker.media.refusal import Refused

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "HEIF")


@cache
def sample(name: str) -> bytes:
    if name == "HEIF":
        return Path(__file__).with_name("red-and-blue.heic").read_bytes()
    file = io.BytesIO()
    Image.linear_gradient("L").resize((60, 44)).convert("RGB").save(file, name)
    return file.getvalue()


damage = st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), max_size=6)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=damage, kept=st.floats(0, 1))
def test_a_damaged_picture_is_refused_or_shown(
    tmp_path: Path, name: str, damage: list[tuple[float, bytes]], kept: float
) -> None:
    data = bytearray(sample(name))
    for part, junk in damage:
        place = int(part * (len(data) - 1))
        data[place : place + len(junk)] = junk
    path = tmp_path / "damaged"
    path.write_bytes(data[: int(len(data) * max(kept, 0.3))])
    try:
        image = picture.open_picture(path, name, 1920)
    except Refused as refused:
        assert refused.reason in {"MEDIA_UNREADABLE", "TOO_MANY_PIXELS"}
    else:
        assert image.mode == "RGB" and min(image.size) >= 1
