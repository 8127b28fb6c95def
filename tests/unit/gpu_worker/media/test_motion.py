"""Where the camera looks, frame by frame."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_worker.media.motion import cover, exact_rate, frame_count, zoom_in

sides = st.integers(1, 12_000)
frames_px = st.tuples(st.integers(8, 3840), st.integers(8, 3840))
parts = st.floats(0, 1)
EPSILON_PX = 1e-6


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        (23.976, Fraction(24000, 1001)),
        (23.98, Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (119.88, Fraction(120000, 1001)),
        (24.0, Fraction(24)),
        (30.0, Fraction(30)),
        (12.5, Fraction(25, 2)),
    ],
)
def test_written_rates_mean_the_exact_ones(asked: float, meant: Fraction) -> None:
    assert exact_rate(asked) == meant


@pytest.mark.parametrize(
    ("duration_s", "rate", "frames"),
    [
        (Fraction(5), Fraction(24), 120),
        (Fraction(10), Fraction(30000, 1001), 300),  # 299.7
        (Fraction(1, 48), Fraction(24), 1),  # half a frame counts
        (Fraction(1, 1000), Fraction(1), 1),  # never none
        (Fraction(600), Fraction(120000, 1001), 71928),
    ],
)
def test_the_number_of_frames_is_the_rounded_product(
    duration_s: Fraction, rate: Fraction, frames: int
) -> None:
    assert frame_count(duration_s, rate) == frames


@given(picture=st.tuples(sides, sides), frame=frames_px, focal=st.tuples(parts, parts))
def test_the_picture_is_cropped_and_never_stretched(
    picture: tuple[int, int], frame: tuple[int, int], focal: tuple[float, float]
) -> None:
    box = cover(picture, frame, focal)
    assert box.width / box.height == pytest.approx(frame[0] / frame[1])
    assert box.left >= -EPSILON_PX
    assert box.top >= -EPSILON_PX
    assert box.left + box.width <= picture[0] + EPSILON_PX
    assert box.top + box.height <= picture[1] + EPSILON_PX
    assert box.width == pytest.approx(picture[0]) or box.height == pytest.approx(picture[1])


@given(
    picture=st.tuples(sides, sides),
    frame=frames_px,
    frames=st.integers(2, 50),
    zoom=st.floats(1, 4),
    focal=st.tuples(parts, parts),
)
def test_a_zoom_begins_whole_ends_at_its_factor_and_holds_its_focal_point(
    picture: tuple[int, int],
    frame: tuple[int, int],
    frames: int,
    zoom: float,
    focal: tuple[float, float],
) -> None:
    boxes = zoom_in(picture, frame, frames, zoom, focal)
    assert len(boxes) == frames
    assert boxes[0].width == pytest.approx(cover(picture, frame, focal).width)
    assert boxes[0].width / boxes[-1].width == pytest.approx(zoom)
    places = [
        ((focal[0] * picture[0] - b.left) / b.width, (focal[1] * picture[1] - b.top) / b.height)
        for b in boxes
    ]
    for x, y in places:
        assert x == pytest.approx(places[0][0], abs=1e-6)
        assert y == pytest.approx(places[0][1], abs=1e-6)
        assert -1e-6 <= x <= 1 + 1e-6
        assert -1e-6 <= y <= 1 + 1e-6
    for box in boxes:
        assert box.left >= -EPSILON_PX
        assert box.left + box.width <= picture[0] + EPSILON_PX


def test_one_frame_shows_the_whole_picture() -> None:
    (box,) = zoom_in((1920, 1080), (1920, 1080), 1, 1.324)
    assert (box.left, box.top, box.width, box.height) == (0, 0, 1920, 1080)
