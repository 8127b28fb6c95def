"""Pictures between bars, whatever their shape."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from gpu_worker.media import canvas
from gpu_worker.media.clip import Bars

sides = st.tuples(st.integers(1, 400), st.integers(1, 400))


@given(picture=sides, frame=sides, color=st.none() | st.just("#0000ff"))
@example(picture=(1992, 2988), frame=(1920, 1080), color=None)
@example(picture=(1, 400), frame=(400, 1), color=None)
def test_every_picture_is_whole_in_the_middle_of_a_canvas_of_the_frames_shape(
    picture: tuple[int, int], frame: tuple[int, int], color: str | None
) -> None:
    stage = canvas.around(picture, frame)
    assert stage[0] / stage[1] == pytest.approx(frame[0] / frame[1])
    assert stage[0] >= picture[0] - 1e-6 and stage[1] >= picture[1] - 1e-6
    part = canvas.part_of(picture, frame)
    assert part.left + part.width / 2 == pytest.approx(0.5)
    scale = min(1.0, 500 / max(stage))
    size = canvas.whole((stage[0] * scale, stage[1] * scale))
    drawn = canvas.draw(Image.new("RGB", picture, "#ff0000"), size, frame, Bars(color))
    assert drawn.size == size
    # A picture of one pixel can only be next to the middle of an even canvas.
    x, y = size[0] // 2, size[1] // 2
    middle = drawn.crop((x - 1, y - 1, x + 2, y + 2))
    assert middle.getchannel("R").getextrema()[1] == 255


def test_a_backdrop_whose_box_is_as_high_as_the_picture_but_for_rounding() -> None:
    drawn = canvas.draw(Image.new("RGB", (1992, 2988)), (2542, 1430), (1920, 1080), Bars(None))
    assert drawn.size == (2542, 1430)
