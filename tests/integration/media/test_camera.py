"""What the camera of a clip shows, measured in the file: where it looks, shapes and colours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from apigpu.video.v1 import operations_pb2
from google.protobuf import json_format
from PIL import Image

from tests.media_samples import plane, watch
from tests.stills import ZOOM, centre, dots, halves, order
from tests.studio import Studio


async def test_the_zoom_starts_on_the_whole_picture_and_closes_in_on_its_centre(
    studio: Studio,
) -> None:
    path = dots(studio.folder / "a.png", (1280, 720), [(0.3, 0.4), (0.7, 0.6)])
    made = await studio.animate(order(path)[0], item_id="it", batch=order(path)[1])
    seen = watch(made.path)
    (left, right) = halves(seen.gray(0))
    assert left == pytest.approx((0.3 * 640, 0.4 * 360), abs=0.3)
    assert right == pytest.approx((0.7 * 640, 0.6 * 360), abs=0.3)
    (left, right) = halves(seen.gray(-1))
    assert left == pytest.approx((320 - 0.2 * 640 * ZOOM, 180 - 0.1 * 360 * ZOOM), abs=0.4)
    assert right == pytest.approx((320 + 0.2 * 640 * ZOOM, 180 + 0.1 * 360 * ZOOM), abs=0.4)


async def test_the_motion_is_smooth_in_the_encoded_file(studio: Studio) -> None:
    path = dots(studio.folder / "a.png", (1280, 720), [(0.7, 0.6)])
    image, batch = order(path, 2.0)
    seen = watch((await studio.animate(image, item_id="it", batch=batch)).path)
    xs = np.array([centre(seen.gray(n))[0] for n in range(len(seen.frames))])
    straight = np.polyval(np.polyfit(np.arange(len(xs)), xs, 1), np.arange(len(xs)))
    assert np.abs(xs - straight).max() < 0.1, "the dot leaves its straight path"
    assert (np.diff(xs) > 0).all(), "the dot stops or turns back"


async def test_a_focal_point_keeps_its_place(studio: Studio) -> None:
    path = dots(studio.folder / "a.png", (1280, 720), [(0.75, 0.25)])
    motion = operations_pb2.Motion(zoom=2, focal_point=operations_pb2.FocalPoint(x=0.75, y=0.25))
    image, batch = order(path, motion=motion)
    seen = watch((await studio.animate(image, item_id="it", batch=batch)).path)
    for frame in (0, len(seen.frames) // 2, -1):
        assert centre(seen.gray(frame)) == pytest.approx((480, 90), abs=0.4)


async def test_a_picture_s_own_motion_goes_before_the_batch_s(studio: Studio) -> None:
    path = dots(studio.folder / "a.png", (1280, 720), [(0.25, 0.5), (0.75, 0.5)])
    image, batch = order(path, motion=operations_pb2.Motion(zoom=3))
    image.motion.zoom = 1
    seen = watch((await studio.animate(image, item_id="it", batch=batch)).path)
    assert halves(seen.gray(-1))[0] == pytest.approx((160, 180), abs=0.3)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ({"zoom": 2, "zoom_direction": "ZOOM_DIRECTION_OUT"}, (320, 180), (320, 180)),
        ({"zoom": 2, "pan": "PAN_DIRECTION_RIGHT"}, (640, 180), (0, 180)),
        ({"zoom": 2, "pan": "PAN_DIRECTION_UP_LEFT"}, (0, 0), (640, 360)),
        (
            {"zoom": 2, "pan": "PAN_DIRECTION_DOWN", "zoom_direction": "ZOOM_DIRECTION_IN"},
            (320, 180),
            (320, 0),
        ),
        (
            {
                "start": {"center": {"x": 0.25, "y": 0.5}, "zoom": 2},
                "end": {"center": {"x": 0.5, "y": 0.75}, "zoom": 2},
                "easing": "EASING_SMOOTH",
            },
            (640, 180),
            (320, 0),
        ),
    ],
    ids=["zoom out", "pan", "diagonal pan", "zoom and pan", "views"],
)
async def test_the_camera_moves_as_asked_in_the_encoded_file(
    studio: Studio,
    asked: dict[str, Any],
    first: tuple[float, float],
    last: tuple[float, float],
) -> None:
    """A cross through the picture's middle: where it is in the first and the last frame."""
    path = studio.folder / "cross.png"
    light = np.zeros((720, 1280), np.uint8)
    light[352:368] = light[:, 632:648] = 255
    Image.fromarray(light).save(path)
    motion = json_format.ParseDict(asked, operations_pb2.Motion())
    image, batch = order(path, motion=motion)
    seen = watch((await studio.animate(image, item_id="it", batch=batch)).path)
    for frame, expected in ((0, first), (-1, last)):
        gray = seen.gray(frame)
        # The arms' middles, away from where they meet; a corner shows a half of each.
        x, y = (int(np.median(np.argwhere(gray.mean(axis) > 100))) for axis in (0, 1))
        half_px = 8
        assert x == pytest.approx(expected[0], abs=half_px), frame
        assert y == pytest.approx(expected[1], abs=half_px), frame


async def test_a_picture_between_bars_is_shown_whole(studio: Studio) -> None:
    path = studio.folder / "portrait.png"
    Image.new("RGB", (300, 900), (255, 255, 255)).save(path)
    still = operations_pb2.Motion(zoom=1)
    image, batch = order(path, 0.2, motion=still)
    batch.fit, batch.bar_color = operations_pb2.FIT_CONTAIN_COLOR, "#0000FF"
    frame = watch((await studio.animate(image, item_id="it", batch=batch)).path).frames[0]
    rgb = frame.to_ndarray(format="rgb24").astype(int)
    # 900 rows become 360, so 300 columns become 120, in the middle of 640.
    assert np.abs(rgb[5:-5, 270:370] - 255).max() < 12
    for columns in (slice(0, 250), slice(390, 640)):
        assert np.abs(rgb[:, columns] - (0, 0, 255)).max() < 25


async def test_a_blurred_backdrop_has_the_pictures_colours_and_none_of_its_edges(
    studio: Studio,
) -> None:
    path = studio.folder / "portrait.png"
    stripes = np.zeros((900, 300, 3), np.uint8)
    stripes[::2, :, 0] = 200  # one bright row, one dark row
    Image.fromarray(stripes).save(path)
    image, batch = order(path, 0.2, motion=operations_pb2.Motion(zoom=1))
    image.fit, batch.fit = operations_pb2.FIT_CONTAIN_BLUR, operations_pb2.FIT_COVER
    frame = watch((await studio.animate(image, item_id="it", batch=batch)).path).frames[0]
    rgb = frame.to_ndarray(format="rgb24").astype(float)
    backdrop = rgb[40:-40, :220]
    assert backdrop[..., 0].mean() == pytest.approx(100, abs=15)
    assert backdrop[..., 1:].mean() < 15
    assert backdrop[..., 0].std() < 6, "not blurred"


async def test_transparent_parts_show_the_bars_colour(studio: Studio) -> None:
    path = studio.folder / "logo.png"
    Image.new("RGBA", (400, 400), (255, 0, 0, 0)).save(path)
    image, batch = order(path, 0.2)
    batch.fit, batch.bar_color = operations_pb2.FIT_CONTAIN_COLOR, "#FFFFFF"
    gray = watch((await studio.animate(image, item_id="it", batch=batch)).path).gray(0)
    assert gray.min() > 230


async def test_a_clip_in_4k_at_60_frames_a_second(studio: Studio) -> None:
    path = dots(studio.folder / "a.png", (1280, 720), [(0.3, 0.5)])
    image, batch = order(path, 0.1, size=(3840, 2160), rate=60)
    seen = watch((await studio.animate(image, item_id="it", batch=batch)).path)
    assert len(seen.frames) == 6
    assert (seen.frames[0].width, seen.frames[0].height) == (3840, 2160)
    assert centre(seen.gray(0)) == pytest.approx((0.3 * 3840, 1080), abs=1)


@pytest.mark.parametrize("size", [(600, 1200), (1400, 300), (13, 9), (4001, 2251)])
async def test_a_circle_stays_a_circle_whatever_the_shape_of_the_picture(
    studio: Studio, size: tuple[int, int]
) -> None:
    radius = min(size) // 6
    path = dots(studio.folder / "a.png", size, [(0.5, 0.5)], radius)
    image, batch = order(path, 0.5)
    seen = watch((await studio.animate(image, item_id="it", batch=batch)).path)
    for frame in (0, -1):
        bright = seen.gray(frame) > 125
        width, height = bright.any(0).sum(), bright.any(1).sum()
        assert width == pytest.approx(height, rel=0.02, abs=2)
        assert bright.any()


async def test_colours_come_through(studio: Studio) -> None:
    path = studio.folder / "colours.png"
    wanted = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (128, 128, 128)]
    picture = Image.new("RGB", (640, 360))
    for n, color in enumerate(wanted):
        picture.paste(color, (n * 160, 0, (n + 1) * 160, 360))
    picture.save(path)
    image, batch = order(path, motion=operations_pb2.Motion(zoom=1))
    frame = watch((await studio.animate(image, item_id="it", batch=batch)).path).frames[0]
    for n, color in enumerate(wanted):
        x, y = n * 160 + 80, 180
        luma, *chroma = (plane(frame, p) for p in range(3))
        found = to_rgb(luma[y, x], *(c[y // 2, x // 2] for c in chroma))
        assert found == pytest.approx(color, abs=5)


def to_rgb(y: float, u: float, v: float) -> tuple[float, float, float]:
    """BT.709, limited range, by the textbook."""
    y, u, v = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    rgb = (y + 1.5748 * v, y - 0.1873 * u - 0.4681 * v, y + 1.8556 * u)
    return (rgb[0] * 255, rgb[1] * 255, rgb[2] * 255)
