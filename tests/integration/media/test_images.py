"""Clips of still pictures, measured in the files: frames, colours, and where the camera looks."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apigpu.video.v1 import job_pb2, operations_pb2
from google.protobuf import json_format
from PIL import Image

from apigpu_common.errors import InvalidInput, PreconditionFailed
from gpu_worker.media.encoder_choice import EncoderProbe
from tests.media_samples import Gray, plane, watch
from tests.requests import seconds
from tests.studio import Studio, source

ZOOM = 1.324
DOT_PX = 12
BT709 = (1, 1, 1, 1)  # limited range; space, primaries and transfer of BT.709


def dots(
    path: Path, size: tuple[int, int], centres: list[tuple[float, float]], radius: int = DOT_PX
) -> Path:
    """Soft-edged white dots on black, at parts of the picture's width and height."""
    y, x = np.indices((size[1], size[0])) + 0.5
    light = np.zeros((size[1], size[0]))
    for cx, cy in centres:
        distance = np.hypot(x - cx * size[0], y - cy * size[1])
        light = np.maximum(light, np.clip(radius - distance + 0.5, 0, 1))
    Image.fromarray(np.round(255 * light).astype(np.uint8)).save(path)
    return path


def order(
    path: Path,
    duration_s: float = 1.0,
    *,
    size: tuple[int, int] = (640, 360),
    rate: float | None = None,
    motion: operations_pb2.Motion | None = None,
) -> tuple[operations_pb2.Image, operations_pb2.ImagesToVideos]:
    image = operations_pb2.Image(id="it", image=source(path), duration=seconds(duration_s))
    batch = operations_pb2.ImagesToVideos(
        width=size[0], height=size[1], frame_rate=rate, motion=motion
    )
    return image, batch


def centre(gray: Gray) -> tuple[float, float]:
    """Centre of mass of what is bright, in pixels from the left and top edges."""
    weight = np.clip(gray - 30, 0, None)
    y, x = np.indices(weight.shape)
    total = weight.sum()
    return float((weight * (x + 0.5)).sum() / total), float((weight * (y + 0.5)).sum() / total)


def halves(gray: Gray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Centres of a dot in the left half and one in the right half."""
    middle = gray.shape[1] // 2
    left, right = centre(gray[:, :middle]), centre(gray[:, middle:])
    return left, (right[0] + middle, right[1])


@pytest.mark.parametrize(
    ("duration_s", "rate", "frames", "told"),
    [
        (1.0, None, 24, Fraction(24)),
        (2.02, 29.97, 61, Fraction(30000, 1001)),  # 60.54
        (0.01, 25.0, 1, Fraction(25)),
    ],
)
async def test_a_clip_has_exactly_the_frames_and_the_form_that_was_asked_for(
    studio: Studio, duration_s: float, rate: float | None, frames: int, told: Fraction
) -> None:
    path = dots(studio.folder / "a.png", (800, 600), [(0.5, 0.5)])
    image, batch = order(path, duration_s, rate=rate)
    made = await studio.animate(image, item_id="it", batch=batch)
    seen = watch(made.path)
    assert len(seen.frames) == frames == made.output.frame_count
    assert (seen.frames[0].width, seen.frames[0].height) == (640, 360)
    assert (seen.codec, seen.pixel_format, seen.colors) == ("h264", "yuv420p", BT709)
    assert made.output.video_profile == "High"
    assert made.output.color == job_pb2.Color(
        primaries="bt709", transfer="bt709", matrix="bt709", range="tv"
    )
    expected_s = frames / told
    assert made.output.duration.ToNanoseconds() == pytest.approx(expected_s * 10**9, rel=0.001)
    assert made.output.frame_rate == pytest.approx(float(told))
    assert made.output.size_bytes == made.path.stat().st_size
    assert not made.output.audio_codec


async def test_defaults_are_full_hd_with_24_frames_a_second(studio: Studio) -> None:
    path = dots(studio.folder / "a.png", (1920, 1080), [(0.3, 0.5), (0.7, 0.5)])
    image = operations_pb2.Image(id="it", image=source(path), duration=seconds(0.5))
    made = await studio.animate(image, item_id="it", batch=operations_pb2.ImagesToVideos())
    seen = watch(made.path)
    assert (seen.frames[0].width, seen.frames[0].height) == (1920, 1080)
    assert len(seen.frames) == 12
    first, last = halves(seen.gray(0)), halves(seen.gray(-1))
    grown = (last[1][0] - last[0][0]) / (first[1][0] - first[0][0])
    assert grown == pytest.approx(ZOOM, rel=0.002)


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


async def test_every_stage_is_told_and_the_percent_never_falls(studio: Studio) -> None:
    path = studio.folder / "noise.png"
    Image.effect_noise((1280, 720), 90).save(path)
    made = await studio.animate(order(path)[0], item_id="it", batch=order(path, 4.0)[1])
    stages = [p.stage for p in made.progress]
    assert stages == sorted(stages)
    assert set(stages) == {
        job_pb2.STAGE_PROBING,
        job_pb2.STAGE_ENCODING,
        job_pb2.STAGE_VERIFYING,
    }
    percents = [p.percent for p in made.progress]
    assert percents == sorted(percents)
    assert percents[-1] < 100, "what is not delivered yet is not finished"
    assert max(p.frames_done for p in made.progress) == 24


@pytest.mark.parametrize(
    ("codec", "name", "encoder", "tag"),
    [
        (operations_pb2.VIDEO_CODEC_HEVC, "hevc", "libx265", "hvc1"),
        (operations_pb2.VIDEO_CODEC_AV1, "av1", "libsvtav1", "av01"),
    ],
)
async def test_other_codecs_are_made_with_the_same_frames_and_colours(
    studio: Studio,
    codec: operations_pb2.VideoCodec.ValueType,
    name: str,
    encoder: str,
    tag: str,
) -> None:
    path = dots(studio.folder / "a.png", (1280, 720), [(0.3, 0.4)])
    image, batch = order(path, motion=operations_pb2.Motion(zoom=1))
    batch.encoding.codec = codec
    made = await studio.animate(image, item_id="it", batch=batch)
    assert (made.output.video_codec, made.output.encoder.used) == (name, encoder)
    assert made.output.encoder.reason, "hardware was preferred, and is not here"
    assert tag.encode() in made.path.read_bytes()
    seen = watch(made.path)
    assert len(seen.frames) == 24
    assert seen.colors == BT709
    assert centre(seen.gray(0)) == pytest.approx((0.3 * 640, 0.4 * 360), abs=0.5)


@pytest.mark.parametrize("codec", operations_pb2.VideoCodec.values()[1:])
async def test_a_better_quality_makes_a_larger_file(
    studio: Studio, codec: operations_pb2.VideoCodec.ValueType
) -> None:
    path = studio.folder / "noise.png"
    Image.effect_noise((640, 360), 60).convert("RGB").save(path)
    sizes = []
    for quality in (15, 23, 40):
        image, batch = order(path, 0.3)
        batch.encoding.codec, batch.encoding.quality = codec, quality
        made = await studio.animate(image, item_id="it", batch=batch)
        sizes.append(made.output.size_bytes)
        shutil.rmtree(studio.workspace)
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 3


async def test_hardware_that_was_insisted_on_and_is_not_here_is_refused(studio: Studio) -> None:
    path = dots(studio.folder / "a.png", (320, 180), [(0.5, 0.5)])
    broken = EncoderProbe("h264_nvenc", False, "Cannot load libcuda.so.1")
    image, batch = order(path, 0.2)
    batch.encoding.encoder = operations_pb2.ENCODER_KIND_HARDWARE
    with pytest.raises(PreconditionFailed) as error:
        await studio.with_tools(encoders=(broken,)).animate(image, item_id="it", batch=batch)
    assert error.value.reason == "ENCODER_NOT_AVAILABLE"
    assert error.value.field == "images_to_videos.encoding.encoder"
    assert "libcuda" in error.value.message


async def test_without_nvenc_the_output_says_what_ran_instead(studio: Studio) -> None:
    path = dots(studio.folder / "a.png", (320, 180), [(0.5, 0.5)])
    broken = EncoderProbe("h264_nvenc", False, "Cannot load libcuda.so.1")
    works = EncoderProbe("libx264", True, "")
    image, batch = order(path, 0.2)
    other = studio.with_tools(encoders=(broken, works))
    made = await other.animate(image, item_id="it", batch=batch)
    encoder = made.output.encoder
    assert (encoder.requested, encoder.used) == ("h264_nvenc", "libx264")
    assert "libcuda" in encoder.reason


async def test_nvenc_that_fails_on_an_item_is_replaced_for_this_item(studio: Studio) -> None:
    """Here NVENC has no driver, so believing in it makes every item fail on it."""
    if studio.tools.encoders[0].works:
        pytest.skip("NVENC works on this machine")
    path = dots(studio.folder / "a.png", (320, 180), [(0.5, 0.5)])
    believed = EncoderProbe("h264_nvenc", True, "")
    image, batch = order(path, 0.2)
    other = studio.with_tools(encoders=(believed, EncoderProbe("libx264", True, "")))
    made = await other.animate(image, item_id="it", batch=batch)
    assert made.output.encoder.used == "libx264"
    assert "failed on this item" in made.output.encoder.reason
    assert len(watch(made.path).frames) == 5


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"this is a letter, not a picture", "NOT_AN_IMAGE"),
        (b"", "NOT_AN_IMAGE"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "MEDIA_UNREADABLE"),
        (b"GIF89a" + bytes(20), "MEDIA_UNREADABLE"),
    ],
)
async def test_a_bad_picture_is_blamed_on_its_own_field(
    studio: Studio, content: bytes, reason: str
) -> None:
    good = dots(studio.folder / "good.png", (64, 64), [(0.5, 0.5)])
    bad = studio.folder / "bad.jpg"
    bad.write_bytes(content)
    image, batch = order(bad)
    other = operations_pb2.Image(id="other", image=source(good), duration=seconds(1))
    with pytest.raises(InvalidInput) as error:
        await studio.animate(other, image, item_id="it", batch=batch)
    assert error.value.reason == reason
    assert error.value.field == "images_to_videos.images[1].image"
    assert str(studio.folder) not in error.value.message
