"""Where the camera looks, frame by frame."""

from __future__ import annotations

from dataclasses import astuple, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_worker.media import canvas
from gpu_worker.media.motion import (
    EASINGS,
    Box,
    EasingName,
    Motion,
    View,
    boxes,
    ends,
    exact_rate,
    frame_count,
)

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


pictures = st.tuples(sides, sides)
points = st.tuples(parts, parts)
easings = st.sampled_from(sorted(EASINGS))
moves = st.builds(
    Motion,
    zoom=st.floats(1, 4),
    zoom_direction=st.sampled_from(["in", "out", "hold"]),
    pan=st.tuples(st.integers(-1, 1), st.integers(-1, 1)),
    focal=points,
    easing=easings,
    views=st.none() | st.tuples(*2 * [st.builds(View, center=points, zoom=st.floats(1, 10))]),
)


def path(picture: tuple[int, int], frame: tuple[int, int], frames: int, move: Motion) -> list[Box]:
    return list(boxes(*ends(picture, frame, move), frames, move.easing))


def almost(box: Box) -> Any:
    return pytest.approx(astuple(box), rel=1e-9, abs=EPSILON_PX)


@given(picture=pictures, frame=frames_px, frames=st.integers(1, 50), move=moves)
def test_every_view_of_every_move_has_the_frames_shape_and_lies_in_the_picture(
    picture: tuple[int, int], frame: tuple[int, int], frames: int, move: Motion
) -> None:
    found = path(picture, frame, frames, move)
    assert len(found) == frames
    slack = EPSILON_PX * max(picture)
    for box in found:
        assert box.width / box.height == pytest.approx(frame[0] / frame[1])
        assert box.left >= -slack and box.top >= -slack
        assert box.left + box.width <= picture[0] + slack
        assert box.top + box.height <= picture[1] + slack


@given(picture=pictures, frame=frames_px, frames=st.integers(2, 50), move=moves)
def test_a_move_begins_and_ends_where_it_should_and_never_turns_back(
    picture: tuple[int, int], frame: tuple[int, int], frames: int, move: Motion
) -> None:
    first, last = ends(picture, frame, move)
    found = path(picture, frame, frames, move)
    assert astuple(found[0]) == almost(first)
    assert astuple(found[-1]) == almost(last)
    for values in zip(*map(astuple, found), strict=True):
        steps = [later - earlier for earlier, later in pairwise(values)]
        slack = EPSILON_PX * max(picture)
        assert all(step >= -slack for step in steps) or all(step <= slack for step in steps)


@given(
    picture=pictures,
    frame=frames_px,
    frames=st.integers(2, 50),
    zoom=st.floats(1, 4),
    focal=points,
    easing=easings,
)
def test_a_zoom_begins_whole_ends_at_its_factor_and_holds_its_focal_point(
    picture: tuple[int, int],
    frame: tuple[int, int],
    frames: int,
    zoom: float,
    focal: tuple[float, float],
    easing: EasingName,
) -> None:
    found = path(picture, frame, frames, Motion(zoom, focal=focal, easing=easing))
    assert found[0].width == pytest.approx(picture[0]) or found[0].height == pytest.approx(
        picture[1]
    )
    assert found[0].width / found[-1].width == pytest.approx(zoom)
    for box in found:
        x = (focal[0] * picture[0] - box.left) / box.width
        y = (focal[1] * picture[1] - box.top) / box.height
        assert x == pytest.approx(
            (focal[0] * picture[0] - found[0].left) / found[0].width, abs=1e-6
        )
        assert y == pytest.approx(
            (focal[1] * picture[1] - found[0].top) / found[0].height, abs=1e-6
        )
        assert -1e-6 <= x <= 1 + 1e-6
        assert -1e-6 <= y <= 1 + 1e-6


@given(picture=pictures, frame=frames_px, frames=st.integers(2, 50), move=moves)
def test_zooming_out_is_zooming_in_backwards(
    picture: tuple[int, int], frame: tuple[int, int], frames: int, move: Motion
) -> None:
    into = replace(move, zoom_direction="in", pan=(0, 0), easing="linear", views=None)
    out = replace(into, zoom_direction="out")
    for there, back in zip(
        path(picture, frame, frames, into), reversed(path(picture, frame, frames, out)), strict=True
    ):
        assert astuple(there) == almost(back)


@given(
    picture=pictures,
    frame=frames_px,
    zoom=st.floats(1, 4),
    pan=st.tuples(st.integers(-1, 1), st.integers(-1, 1)).filter(lambda pan: pan != (0, 0)),
    direction=st.sampled_from(["in", "out", "hold"]),
)
def test_a_pan_leads_from_one_edge_to_the_opposite_one(
    picture: tuple[int, int],
    frame: tuple[int, int],
    zoom: float,
    pan: tuple[int, int],
    direction: Any,
) -> None:
    first, last = ends(picture, frame, Motion(zoom, zoom_direction=direction, pan=pan))
    for side, size, before, after, first_px, last_px in (
        (pan[0], picture[0], first.left, last.left, first.width, last.width),
        (pan[1], picture[1], first.top, last.top, first.height, last.height),
    ):
        slack = EPSILON_PX * size
        if side == 1:
            assert before == pytest.approx(0, abs=slack)
            assert after + last_px == pytest.approx(size, abs=slack)
        elif side == -1:
            assert before + first_px == pytest.approx(size, abs=slack)
            assert after == pytest.approx(0, abs=slack)
        else:  # passes through the middle
            assert before + first_px / 2 == pytest.approx(size / 2, abs=slack)
            assert after + last_px / 2 == pytest.approx(size / 2, abs=slack)


@given(picture=pictures, frame=frames_px, frames=st.integers(3, 50), zoom=st.floats(1.01, 4))
def test_a_zoom_magnifies_by_the_same_amount_with_each_frame(
    picture: tuple[int, int], frame: tuple[int, int], frames: int, zoom: float
) -> None:
    found = path(picture, frame, frames, Motion(zoom))
    steps = [found[0].width * (1 / b.width - 1 / a.width) for a, b in pairwise(found)]
    assert steps == pytest.approx([(zoom - 1) / (frames - 1)] * (frames - 1), rel=1e-6)


@pytest.mark.parametrize(
    ("easing", "at_a_quarter"),
    [("linear", 0.25), ("smooth", 0.15625), ("in", 0.0625), ("out", 0.4375)],
)
def test_an_easing_changes_the_speed_and_not_the_way(
    easing: EasingName, at_a_quarter: float
) -> None:
    found = path((4000, 1000), (1000, 1000), 5, Motion(1, pan=(1, 0), easing=easing))
    assert [found[0].left, found[1].left, found[4].left] == pytest.approx(
        [0, 3000 * at_a_quarter, 3000]
    )


def test_a_chosen_view_is_moved_inwards_where_it_would_leave_the_picture() -> None:
    views = (View((0.0, 1.0), 2), View((0.5, 0.25), 4))
    first, last = ends((1600, 900), (1920, 1080), Motion(views=views))
    assert astuple(first) == almost(Box(0, 450, 800, 450))
    assert astuple(last) == almost(Box(600, 112.5, 400, 225))


def test_one_frame_shows_the_whole_picture() -> None:
    (box,) = path((1920, 1080), (1920, 1080), 1, Motion())
    assert astuple(box) == almost(Box(0, 0, 1920, 1080))


def test_a_focal_point_of_a_picture_between_bars_is_the_same_spot_of_the_picture() -> None:
    part = canvas.part_of((900, 1600), (1600, 900))
    move = Motion(focal=(1, 0)).within(part)
    assert move.focal == pytest.approx((0.5 + 900 / 1600 / (1600 / 900) / 2, 0))
