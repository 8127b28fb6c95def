"""The resampling kernel against Pillow's, which works in floating point and shares no code with
it."""

from __future__ import annotations

import platform
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from gpu_worker.media import resampler
from gpu_worker.media.motion import Box
from gpu_worker.media.resampler import Plane, Target, plane

VARIANTS = ("v2", "v3") if platform.machine() == "x86_64" else ("neon",)
runs = [name for name in VARIANTS if name != "v3" or resampler._variant() == "v3"]


@pytest.fixture(params=runs, autouse=True)
def variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every variant that this CPU can run, not only the one that it would take."""
    monkeypatch.setattr(resampler, "_variant", lambda: request.param)
    resampler._kernel.cache_clear()
    yield
    resampler._kernel.cache_clear()


def sampled(source: Plane, box: Box, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    target = Target(size[0] * size[1] + 16)
    target.view[-16:] = b"\xaa" * 16
    resampler.sample(source, box, size, target)
    assert bytes(target.view[-16:]) == b"\xaa" * 16, "written behind the result"
    return np.frombuffer(target.view, np.uint8, size[0] * size[1]).reshape(size[::-1])


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, size[::-1], np.uint8)
    return Image.fromarray(values)


sides = st.integers(1, 300)


@given(st.data())
def test_any_box_of_any_picture_is_what_pillow_makes_of_it(data: st.DataObject) -> None:
    picture = data.draw(st.tuples(sides, sides), "picture")
    size = data.draw(st.tuples(sides, sides), "size")
    part = st.floats(0.01, 1)
    width, height = (side * data.draw(part) for side in picture)
    left = (picture[0] - width) * data.draw(st.floats(0, 1))
    top = (picture[1] - height) * data.draw(st.floats(0, 1))
    box = Box(left, top, min(width, picture[0] - left), min(height, picture[1] - top))
    image = noise(picture)
    found = sampled(plane(image.tobytes(), picture), box, size)
    area = (box.left, box.top, box.left + box.width, box.top + box.height)
    expected = np.asarray(image.convert("F").resize(size, Image.Resampling.LANCZOS, area))
    # Half a step from rounding, and a little for weights in whole numbers.
    assert np.abs(found - expected.clip(0, 255)).max() < 1.0


@given(st.integers(0, 255), st.floats(0.1, 0.9))
def test_what_is_flat_stays_flat(value: int, part: float) -> None:
    size = (97, 61)
    source = plane(bytes([value]) * (size[0] * size[1]), size)
    assert (sampled(source, Box(0.3, 0.7, size[0] * part, size[1] * part), (50, 34)) == value).all()


@given(st.integers(0, 255), st.tuples(sides, sides), st.tuples(sides, sides))
@example(7, (541, 420), (38, 3))
@example(166, (686, 744), (29, 5))
@example(255, (400, 400), (7, 7))
def test_what_is_flat_stays_flat_at_any_size(
    value: int, size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    source = plane(bytes([value]) * (size[0] * size[1]), size)
    assert (sampled(source, Box(0, 0, *size), wanted) == value).all()


def test_a_hard_edge_does_not_wrap_around() -> None:
    """Lanczos overshoots: what is whiter than white is white, not black."""
    values = np.zeros((64, 64), np.uint8)
    values[:, 32:] = 255
    found = sampled(plane(values.tobytes(), (64, 64)), Box(0, 0, 64, 64), (151, 64))
    assert (found[:, :70] < 30).all() and (found[:, -70:] > 225).all()


def test_a_shift_of_a_tenth_of_a_pixel_is_one() -> None:
    """No short cut for boxes that are almost as large as the frame."""
    x = np.arange(128) + 0.5
    wave = np.round(128 + 100 * np.sin(2 * np.pi * x / 16)).astype(np.uint8)
    source = plane(np.tile(wave, (16, 1)).tobytes(), (128, 16))
    found = sampled(source, Box(0.1, 0, 127.9, 16), (128, 16))[8, 16:112]
    expected = 128 + 100 * np.sin(2 * np.pi * (0.1 + x[16:112] * 127.9 / 128) / 16)
    assert np.abs(found - expected).max() < 1.5
    assert np.abs(found - wave[16:112]).max() > 3


def test_rows_that_are_no_plane_are_refused() -> None:
    with pytest.raises(ValueError, match="not a plane of 3x3"):
        plane(bytes(8), (3, 3))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        resampler.sample(plane(bytes(64), (8, 8)), Box(0, 0, 8, 8), (8, 8), Target(80), 17)
