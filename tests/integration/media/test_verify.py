"""A file that is not what it should be is never called done."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from apigpu.video.v1.job_pb2 import Output

from gpu_worker.media import verify as verifying
from gpu_worker.media.probe import ColorTags, TextTrack, prober
from gpu_worker.media.verify import Expected, VerificationFailed
from tests import media_samples


async def verify(path: Path, expected: Expected) -> Output:
    async with prober() as ready:
        return await verifying.verify(path, expected, ready)


async def test_a_good_file_is_measured(tmp_path: Path) -> None:
    path = media_samples.video(tmp_path / "v.mp4", tone_hz=440)
    output = await verify(path, Expected(2.0, 2.0, frames=48))
    assert output.frame_count == 48
    assert output.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert output.size_bytes == path.stat().st_size
    assert (output.width, output.height) == (320, 180)
    assert (output.video_codec, output.audio_codec) == ("h264", "aac")
    assert output.mime_type == "video/mp4"
    assert output.video_profile == "Constrained Baseline" or output.video_profile == "Main"
    assert output.audio_video_difference.ToMilliseconds() == pytest.approx(0, abs=25)


@pytest.mark.parametrize(
    "expected",
    [
        Expected(2.0, 2.0, frames=47),
        Expected(1.9, 2.0),
        Expected(2.0, 1.9),
        Expected(2.0, None),
        Expected(2.0, 2.0, codec="hevc"),
        Expected(2.0, 2.0, color=ColorTags("bt709", "bt709", "bt709", "tv")),
    ],
)
async def test_a_file_of_another_length_or_with_other_streams_fails(
    tmp_path: Path, expected: Expected
) -> None:
    path = media_samples.video(tmp_path / "v.mp4", tone_hz=440)
    with pytest.raises(VerificationFailed) as error:
        await verify(path, expected)
    assert error.value.retryable


@pytest.mark.parametrize(
    "promised",
    [
        (),
        (TextTrack("mov_text", "por", 3),),
        (TextTrack("mov_text", "eng", 2),),
        (TextTrack("subrip", "por", 2),),
        (TextTrack("mov_text", "por", 2),) * 2,
    ],
)
async def test_captions_that_are_not_those_promised_fail(
    tmp_path: Path, promised: tuple[TextTrack, ...]
) -> None:
    cues = tmp_path / "c.srt"
    cues.write_text("1\n00:00:00,100 --> 00:00:00,500\na\n\n2\n00:00:01,0 --> 00:00:01,5\nb\n")
    path = tmp_path / "v.mp4"
    text = ("-i", cues, "-c:s", "mov_text", "-metadata:s:s:0", "language=por", "-c:v", "copy")
    media_samples.make("-i", media_samples.video(tmp_path / "plain.mp4"), *text, path)
    await verify(path, Expected(2.0, text=(TextTrack("mov_text", "por", 2),)))
    with pytest.raises(VerificationFailed, match="captions"):
        await verify(path, Expected(2.0, text=promised))


async def test_a_silent_file_fails_where_sound_was_promised(tmp_path: Path) -> None:
    path = media_samples.video(tmp_path / "v.mp4")
    with pytest.raises(VerificationFailed):
        await verify(path, Expected(2.0, 2.0))


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.97])
async def test_a_file_that_is_not_complete_fails(tmp_path: Path, keep: float) -> None:
    path = media_samples.video(tmp_path / "v.mp4", more=("-movflags", "+faststart"))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(VerificationFailed):
        await verify(path, Expected(2.0, frames=48))


async def test_a_file_that_is_not_there_fails(tmp_path: Path) -> None:
    with pytest.raises(VerificationFailed):
        await verify(tmp_path / "nothing.mp4", Expected(2.0))
