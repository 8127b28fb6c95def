"""What a worker finds out about its FFmpeg, with the real one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from apigpu_common.errors import InternalError
from gpu_worker.media.encoders import Toolbox, discover
from gpu_worker.media.profiles import ALL, Profile
from tests import media_samples


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
