"""Which encoder is used, and what is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from apigpu_common.errors import InternalError
from gpu_worker.media.cpu import available_cpus
from gpu_worker.media.encoders import EncoderProbe, Profile, Toolbox
from gpu_worker.media.process import ChildFailed, SourceFailed

NO_GPU = EncoderProbe("h264_nvenc", False, "Cannot load libcuda.so.1")
GPU = EncoderProbe("h264_nvenc", True, "")
SOFTWARE = EncoderProbe("libx264", True, "")
NO_SOFTWARE = EncoderProbe("libx264", False, "Unknown encoder 'libx264'")


def tools(*probes: EncoderProbe) -> Toolbox:
    return Toolbox(Path("/usr/bin/ffmpeg"), "9.0", probes, threads=2)


class Run:
    """Fails for the encoders it is told to, and remembers what it was asked for."""

    def __init__(self, **failures: ChildFailed) -> None:
        self.failures = failures
        self.tried: list[str] = []

    async def __call__(self, profile: Profile) -> None:
        self.tried.append(profile.name)
        if profile.name in self.failures:
            raise self.failures[profile.name]


async def test_a_working_gpu_is_used() -> None:
    run = Run()
    use = await tools(GPU, SOFTWARE).encode(run)
    assert run.tried == ["h264_nvenc"]
    assert (use.requested, use.used, use.reason) == ("h264_nvenc", "h264_nvenc", "")


async def test_without_a_gpu_software_is_used_and_the_reason_told() -> None:
    run = Run()
    use = await tools(NO_GPU, SOFTWARE).encode(run)
    assert run.tried == ["libx264"]
    assert (use.requested, use.used) == ("h264_nvenc", "libx264")
    assert "libcuda.so.1" in use.reason


async def test_an_item_on_which_the_gpu_fails_is_done_again_in_software() -> None:
    stderr = "[h264_nvenc @ 0x55d] OpenEncodeSessionEx failed: out of memory (10)"
    run = Run(h264_nvenc=ChildFailed("ffmpeg", 187, stderr))
    use = await tools(GPU, SOFTWARE).encode(run)
    assert run.tried == ["h264_nvenc", "libx264"]
    assert use.used == "libx264"
    assert "out of memory" in use.reason
    assert "0x55d" not in use.reason


async def test_a_bad_picture_is_not_tried_again_in_software() -> None:
    run = Run(h264_nvenc=SourceFailed("python", 65, "{}"))
    with pytest.raises(SourceFailed):
        await tools(GPU, SOFTWARE).encode(run)
    assert run.tried == ["h264_nvenc"]


async def test_software_that_fails_is_not_tried_again() -> None:
    run = Run(libx264=ChildFailed("ffmpeg", 1, ""))
    with pytest.raises(ChildFailed):
        await tools(NO_GPU, SOFTWARE).encode(run)
    assert run.tried == ["libx264"]


async def test_no_encoder_at_all_is_said_plainly() -> None:
    with pytest.raises(InternalError) as error:
        await tools(NO_GPU, NO_SOFTWARE).encode(Run())
    assert error.value.reason == "NO_ENCODER"


def test_threads_follow_what_the_container_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_CPU_COUNT", "1")
    assert available_cpus() == 1
    monkeypatch.setenv("RUNPOD_CPU_COUNT", "999")
    assert available_cpus() <= 999
    monkeypatch.setenv("RUNPOD_CPU_COUNT", "nonsense")
    assert available_cpus() >= 1
