"""Clips of still pictures: frames, form, progress, codecs, and what goes wrong."""

from __future__ import annotations

import shutil
from fractions import Fraction

import pytest
from apigpu.video.v1 import job_pb2, operations_pb2
from PIL import Image

from apigpu_common.errors import InvalidInput, PreconditionFailed
from gpu_worker.media.encoder_choice import EncoderProbe
from tests.media_samples import watch
from tests.requests import seconds
from tests.stills import BT709, ZOOM, centre, dots, halves, order
from tests.studio import Studio, source


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
