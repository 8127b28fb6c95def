"""What a worker finds out about its FFmpeg, with the real one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from apigpu_common.errors import InternalError
from gpu_worker.media.encoders import EncodeOptions, Toolbox, discover
from gpu_worker.media.profiles import ALL, CODECS, Profile, profile
from tests import media_samples
from tests.media_samples import watch


async def test_software_works_everywhere_and_nvenc_says_why_not(tools: Toolbox) -> None:
    found = {probe.name: probe for probe in tools.encoders}
    assert found["libx264"].works
    assert found["libx265"].works and found["libsvtav1"].works
    nvenc = found["h264_nvenc"]
    assert nvenc.works != bool(nvenc.reason)
    assert tools.ffmpeg_version[:1].isdigit() or tools.ffmpeg_version.startswith("n")


async def test_an_ffmpeg_on_the_path_is_not_taken_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impostor = tmp_path / "ffmpeg"
    impostor.write_text("#!/bin/sh\necho ffmpeg version impostor\n")
    impostor.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(impostor))
    assert (await discover(None)).ffmpeg_version != "impostor"


async def test_a_worker_has_the_cpus_of_its_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_CPU_COUNT", "1")
    assert (await discover(None)).cpus == 1


@pytest.mark.parametrize(
    "profile", [each for each in ALL if not each.hardware], ids=lambda profile: profile.name
)
async def test_a_machine_with_many_cpus_can_encode_too(profile: Profile) -> None:
    """x265 refuses more than 16 threads."""
    arguments = EncodeOptions(profile, 96).arguments(24)
    picture = ("-f", "lavfi", "-i", "testsrc2=size=256x256:rate=24:duration=0.2")
    process = await asyncio.create_subprocess_exec(
        media_samples.ffmpeg_path(),
        *("-loglevel", "error", *picture, *arguments, "-f", "null", "-"),
    )
    assert await asyncio.wait_for(process.wait(), 60) == 0


async def test_an_ffmpeg_that_does_not_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InternalError) as error:
        await discover(tmp_path / "nothing-here")
    assert error.value.reason == "NO_FFMPEG"


@pytest.mark.parametrize(
    "profile", [each for each in ALL if each.hardware], ids=lambda profile: profile.name
)
async def test_nvenc_s_own_option_parser_accepts_our_profiles(
    tools: Toolbox, profile: Profile
) -> None:
    """A wrong option fails before the driver is looked for, with another message."""
    probe = next(probe for probe in tools.encoders if probe.name == profile.name)
    if "Unknown encoder" in probe.reason:
        pytest.skip(f"FFmpeg {tools.ffmpeg_version} has no {profile.name}")

    async def complaint(*options: str) -> str:
        process = await asyncio.create_subprocess_exec(
            media_samples.ffmpeg_path(),
            *("-hide_banner", "-loglevel", "error", "-f", "lavfi"),
            *("-i", "testsrc2=size=256x256:rate=24:duration=0.2", "-c:v", profile.name),
            *(*options, "-pix_fmt", "yuv420p", "-f", "null", "-"),
            stderr=asyncio.subprocess.PIPE,
        )
        _, stderr = await asyncio.wait_for(process.communicate(), 60)
        return stderr.decode()

    ours = await complaint(*profile.options)
    assert not ours or "libcuda" in ours or "driver" in ours
    assert "libcuda" not in await complaint("-preset", "p99")
    assert "libcuda" not in await complaint("-no_such_option", "1")


PHOTO = Path(__file__).parents[3] / "demo" / "media" / "01-mountain-path.jpg"


def loss(profile: Profile, frames: Path, folder: Path) -> float:
    """What an encoder makes worse: RMS of luma."""
    encoded = folder / "encoded.mp4"
    media_samples.make("-i", frames, "-c:v", profile.name, *profile.options, encoded)
    before, after = watch(frames), watch(encoded)
    count = len(before.frames)
    assert len(after.frames) == count
    squares = [((before.gray(n) - after.gray(n)) ** 2).mean() for n in range(count)]
    return float(np.sqrt(np.mean(squares)))


def test_a_quality_means_the_same_for_each_codec(tmp_path: Path) -> None:
    """Half a second over a photograph: every codec loses about what x264 does."""
    frames = tmp_path / "frames.mkv"
    pan = "scale=640:-2,crop=480:270:x='20+3*n':y='40+2*n',format=yuv420p"
    media_samples.make("-loop", "1", "-t", "0.5", "-i", PHOTO, "-vf", pan, "-qp", "0", frames)
    for quality in (18, 23, 28):
        x264, *others = [
            loss(profile(codec, hardware=False, quality=quality), frames, tmp_path)
            for codec in CODECS
        ]
        for other in others:
            assert 0.6 * x264 < other < 1.3 * x264, f"at quality {quality}"
