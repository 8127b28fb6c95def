"""Where a video with a new soundtrack ends, what fills the rest, and how loud it is."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from apigpu_common.errors import PreconditionFailed
from gpu_worker.media import loudness
from tests.media_samples import Heard, listen, make, tone, video, watch
from tests.studio import Studio

HZ = 880


def level(heard: Heard, start_s: float, end_s: float) -> float:
    """RMS of a part of the sound."""
    part = heard.samples[round(start_s * heard.rate) : round(end_s * heard.rate)]
    return float(np.sqrt((part**2).mean()))


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


async def test_silence_follows_a_sound_that_is_shorter_than_its_video(studio: Studio) -> None:
    picture = video(studio.folder / "v.mp4", duration_s=3)
    sound = tone(studio.folder / "a.wav", HZ, 1)
    made = await studio.add_audio(picture, sound, end="END_POLICY_VIDEO")
    heard = listen(made.path)
    assert made.output.encoder.used == "copy"
    assert len(watch(made.path).frames) == 72
    assert heard.duration_s == pytest.approx(3, abs=1024 / 48000)
    assert level(heard, 0.1, 0.9) > 0.05
    assert level(heard, 1.05, 2.95) < 0.001


async def test_a_sound_that_loops_has_no_gap(studio: Studio) -> None:
    picture = video(studio.folder / "v.mp4", duration_s=3)
    sound = tone(studio.folder / "a.mp3", HZ, 1)
    made = await studio.add_audio(picture, sound, end="END_POLICY_VIDEO", fill="FILL_LOOP")
    heard = listen(made.path)
    assert heard.duration_s == pytest.approx(3, abs=1024 / 48000)
    steps = [level(heard, at / 100, at / 100 + 0.02) for at in range(5, 290)]
    assert min(steps) > 0.5 * max(steps), "there is a gap"


async def test_the_last_picture_is_held_until_the_sound_ends(studio: Studio) -> None:
    picture = video(studio.folder / "v.mp4", duration_s=1)
    sound = tone(studio.folder / "a.wav", HZ, 2.5)
    made = await studio.add_audio(picture, sound, end="END_POLICY_AUDIO")
    seen = watch(made.path)
    assert len(seen.frames) == 60 == made.output.frame_count
    assert listen(made.path).duration_s == pytest.approx(2.5, abs=1024 / 48000)
    assert np.abs(seen.gray(23) - seen.gray(59)).mean() < 1.5
    assert np.abs(seen.gray(23) - seen.gray(10)).mean() > 3, "the picture never moves"
    assert "goes on after its end" in made.output.encoder.reason


async def test_a_video_that_loops_starts_again_at_once(studio: Studio) -> None:
    # Its own sound is longer than its picture, which must not leave a hole in the loop.
    picture = video(studio.folder / "v.mp4", duration_s=1, tone_hz=300, tone_s=1.4)
    sound = tone(studio.folder / "a.wav", HZ, 2.5)
    made = await studio.add_audio(picture, sound, end="END_POLICY_AUDIO", fill="FILL_LOOP")
    seen = watch(made.path)
    assert len(seen.frames) == 60
    assert np.diff(seen.times_s) == pytest.approx(1 / 24, abs=0.001)
    for first, again in ((2, 26), (12, 36), (5, 53)):
        assert np.abs(seen.gray(first) - seen.gray(again)).mean() < 2


async def test_a_picture_that_must_be_copied_is_not_encoded_behind_the_callers_back(
    studio: Studio,
) -> None:
    picture = video(studio.folder / "v.mp4", duration_s=1)
    sound = tone(studio.folder / "a.wav", HZ, 2)
    with pytest.raises(PreconditionFailed) as error:
        await studio.add_audio(picture, sound, end="END_POLICY_AUDIO", videoMode="VIDEO_MODE_COPY")
    assert error.value.reason == "CANNOT_COPY_PICTURE"
    assert error.value.field == "add_audio.video_mode"


async def test_a_picture_is_encoded_where_that_was_asked_for(studio: Studio) -> None:
    picture = video(studio.folder / "v.mp4", duration_s=1)
    sound = tone(studio.folder / "a.wav", HZ, 2)
    made = await studio.add_audio(
        picture,
        sound,
        videoMode="VIDEO_MODE_ENCODE",
        encoding={"codec": "VIDEO_CODEC_HEVC", "encoder": "ENCODER_KIND_SOFTWARE"},
    )
    assert (made.output.video_codec, made.output.encoder.used) == ("hevc", "libx265")
    assert made.output.encoder.reason == ""
    assert len(watch(made.path).frames) == 24


async def test_aac_that_fits_is_copied_and_starts_on_time(studio: Studio) -> None:
    picture = video(studio.folder / "v.mp4", duration_s=1)
    sound = tone(studio.folder / "a.m4a", HZ, 2)
    made = await studio.add_audio(picture, sound)
    kept = packets(made.path, "audio")
    assert kept == packets(sound, "audio")[: len(kept)]
    heard, source = listen(made.path), listen(sound)
    assert heard.duration_s == pytest.approx(1, abs=1024 / 48000)
    start = slice(0, 20_000)
    assert heard.samples[start] == pytest.approx(source.samples[start], abs=1e-6)


async def test_a_loudness_is_reached_by_one_gain_and_told(studio: Studio) -> None:
    picture = video(studio.folder / "v.mp4", duration_s=4)
    sound = tone(studio.folder / "a.wav", HZ, 4)
    plain = (await studio.add_audio(picture, sound)).output.loudness
    assert not plain.HasField("gain")
    studio.workspace.rename(studio.folder / "before")
    made = await studio.add_audio(picture, sound, loudness={"integrated": -16})
    told = made.output.loudness
    assert told.integrated == pytest.approx(-16, abs=0.3)
    assert told.gain == pytest.approx(-16 - plain.integrated, abs=0.3)
    assert told.true_peak == pytest.approx(plain.true_peak + told.gain, abs=1)
    assert not made.output.warnings


async def test_the_loudness_told_is_that_of_the_finished_file(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = video(studio.folder / "v.mp4", duration_s=4)
    sound = studio.folder / "a.wav"
    # Quiet, then loud; hard edges that AAC drives beyond their own peaks.
    make("-f", "lavfi", "-i", "aevalsrc='(0.05+0.5*gt(t,2))*sgn(sin(440*2*PI*t))':d=4", sound)
    made = await studio.add_audio(picture, sound)
    assert made.output.encoder.used == "copy"
    told = made.output.loudness
    studio.workspace.rename(studio.folder / "in one run")
    monkeypatch.setattr(loudness, "alongside", lambda version, stream: [])
    heard = (await studio.add_audio(picture, sound)).output.loudness
    assert told.integrated == pytest.approx(heard.integrated, abs=0.1)
    assert told.true_peak == pytest.approx(heard.true_peak, abs=0.1)
    assert told.range == pytest.approx(heard.range, abs=0.1)


async def test_a_picture_is_still_copied_where_the_loudness_cannot_be_measured_beside(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ["-filter_complex", "[nothing]ebur128[heard]", "-map", "[heard]", "-f", "null", "-"]
    monkeypatch.setattr(loudness, "alongside", lambda version, stream: broken)
    picture = video(studio.folder / "v.mp4", duration_s=1)
    made = await studio.add_audio(picture, tone(studio.folder / "a.wav", HZ, 1))
    assert made.output.encoder.used == "copy"
    assert made.output.loudness.HasField("integrated")


async def test_a_loudness_that_would_clip_is_not_reached_and_that_is_told(
    studio: Studio,
) -> None:
    picture = video(studio.folder / "v.mp4", duration_s=4)
    sound = tone(studio.folder / "a.wav", HZ, 4)
    made = await studio.add_audio(picture, sound, loudness={"integrated": -5, "truePeak": -3})
    # A tone that begins at once makes AAC overshoot, which is told, too.
    assert made.output.loudness.true_peak == pytest.approx(-3, abs=1)
    assert made.output.loudness.integrated < -5.5
    assert {warning.reason for warning in made.output.warnings} == {
        "LOUDNESS_TARGET_NOT_REACHED",
        "TRUE_PEAK_EXCEEDED",
    }


async def test_silence_has_no_loudness_and_cannot_be_made_louder(studio: Studio) -> None:
    picture = video(studio.folder / "v.mp4", duration_s=2)
    sound = studio.folder / "a.wav"
    make("-f", "lavfi", "-i", "anullsrc=duration=2", sound)
    made = await studio.add_audio(picture, sound, loudness={"integrated": -16})
    assert not made.output.loudness.HasField("integrated")
    assert made.output.warnings[0].reason == "LOUDNESS_TARGET_NOT_REACHED"


async def test_the_highest_tones_that_people_hear_stay(studio: Studio) -> None:
    picture = video(studio.folder / "v.mp4", duration_s=2)
    sound = studio.folder / "a.wav"
    # With noise: of a tone alone no encoder drops anything.
    high = "0.05*(2*random(0)-1)+0.1*sin(19000*2*PI*t)"
    make("-f", "lavfi", "-i", f"aevalsrc='{high}|{high}':d=2:s=48000", sound)
    made = await studio.add_audio(picture, sound)
    assert listen(made.path).codec == "aac"
    assert listen(made.path).pitch_hz() == pytest.approx(19000, abs=5)
