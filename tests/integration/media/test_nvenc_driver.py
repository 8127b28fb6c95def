"""What reaches NVIDIA's driver, shown without one: FFmpeg meets a driver of ours that writes down
how the encoder is to be initialised, and refuses. It proves options, nothing about encoding."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_worker.media.encoders import Toolbox
from gpu_worker.media.profiles import ALL, Profile
from tests import media_samples

SOURCE = Path(__file__).with_name("nvenc_driver.c")
HIGH_QUALITY, VBR = 1, 1  # as nvEncodeAPI.h numbers them
QUALITY = {"h264": 23, "hevc": 23, "av1": 28}
HARDWARE = [each for each in ALL if each.hardware]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="NVIDIA's driver is a .so here")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with libcuda and libnvidia-encode: every function that this FFmpeg looks for."""
    folder = tmp_path_factory.mktemp("driver")
    own = set(re.findall(r"^int (\w+)\(", SOURCE.read_text(), re.MULTILINE))
    wanted = set(re.findall(rb"\bcu[A-Z]\w{3,60}(?=\0)", library().read_bytes()))
    others = sorted({name.decode() for name in wanted} - own)
    assert others, "an FFmpeg without CUDA"
    command: list[str | Path] = [
        *(sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", "-O1"),
        "-DOTHERS=" + " ".join(f"X({name})" for name in others),
        *("-o", folder / "libcuda.so.1", SOURCE),
    ]
    subprocess.run(command, check=True, timeout=60)
    (folder / "libnvidia-encode.so.1").symlink_to("libcuda.so.1")
    return folder


def library() -> Path:
    """What holds FFmpeg's encoders: the program itself, or the library that it is linked with."""
    program = media_samples.ffmpeg_path()
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=20).stdout
    found = re.search(r"libavutil\S* => (\S+)", linked)
    return Path(found[1]) if found else program


@pytest.mark.parametrize("profile", HARDWARE, ids=lambda profile: profile.name)
async def test_the_driver_is_asked_for_p4_high_quality_vbr_and_our_quality(
    driver: Path, tools: Toolbox, profile: Profile
) -> None:
    probe = next(probe for probe in tools.encoders if probe.name == profile.name)
    if "Unknown encoder" in probe.reason:
        pytest.skip(f"FFmpeg {tools.ffmpeg_version} has no {profile.name}")
    asked = await what_is_asked_for(driver, profile.name, *profile.options)
    assert asked == {
        "codec": profile.codec_name,
        "preset": "p4",
        "tuning": str(HIGH_QUALITY),
        "mode": str(VBR),
        "cq": f"{QUALITY[profile.codec_name]}+0/256",
        "bitrate": "0",
        "size": "320x180",
    }


async def test_the_driver_of_ours_tells_other_options_apart(driver: Path) -> None:
    asked = await what_is_asked_for(
        driver, "h264_nvenc", "-preset", "p1", "-tune", "ll", "-rc", "cbr", "-b:v", "3M"
    )
    assert (asked["preset"], asked["tuning"], asked["mode"]) == ("other", "2", "2")
    assert asked["bitrate"] == "3000000"


async def what_is_asked_for(driver: Path, encoder: str, *options: str) -> dict[str, str]:
    process = await asyncio.create_subprocess_exec(
        media_samples.ffmpeg_path(),
        *("-hide_banner", "-nostdin", "-f", "lavfi"),
        *("-i", "testsrc2=size=320x180:rate=24:duration=0.2", "-c:v", encoder),
        *(*options, "-pix_fmt", "yuv420p", "-f", "null", "-"),
        stderr=asyncio.subprocess.PIPE,
        env={"LD_LIBRARY_PATH": str(driver), "PATH": "/usr/bin:/bin"},
    )
    _, stderr = await asyncio.wait_for(process.communicate(), 60)
    told = re.search(r"^driver: (.*)$", stderr.decode(), re.MULTILINE)
    assert told, f"the driver was asked for nothing: {stderr.decode()[-2000:]}"
    return dict(part.split("=", 1) for part in told[1].split())
