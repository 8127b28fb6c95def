"""Which encoder is used, and what is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from apigpu.video.v1 import operations_pb2 as contract
from apigpu.video.v1.job_pb2 import EncoderUse, Output
from apigpu.video.v1.operations_pb2 import VideoEncoding
from hypothesis import given
from hypothesis import strategies as st

from apigpu_common.errors import PreconditionFailed
from gpu_worker.media import cpu
from gpu_worker.media.cpu import available_cpus
from gpu_worker.media.encoder_choice import EncoderProbe, HardwarePolicy
from gpu_worker.media.encoders import EncodeOptions, Toolbox
from gpu_worker.media.process import ChildFailed, SourceFailed
from gpu_worker.media.profiles import CODECS, profile
from gpu_worker.media.verify import VerificationFailed

NO_GPU = EncoderProbe("h264_nvenc", False, "Cannot load libcuda.so.1")
GPU = EncoderProbe("h264_nvenc", True, "")
SOFTWARE = EncoderProbe("libx264", True, "")
NO_SOFTWARE = EncoderProbe("libx264", False, "Unknown encoder 'libx264'")


FIELD = "caption.encoding"
AUTO = VideoEncoding()


def tools(*probes: EncoderProbe, policy: HardwarePolicy | None = None) -> Toolbox:
    return Toolbox(Path("/usr/bin/ffmpeg"), "9.0", probes, 2, policy or HardwarePolicy())


class Run:
    """Fails for the encoders it is told to, and remembers what it was asked for."""

    def __init__(self, **failures: Exception) -> None:
        self.failures = failures
        self.tried: list[str] = []

    async def __call__(self, encoder: EncodeOptions) -> Output:
        name = encoder.profile.name
        self.tried.append(name)
        if name in self.failures:
            raise self.failures[name]
        return Output(frame_count=1)


async def use_of(tools: Toolbox, run: Run, encoding: VideoEncoding = AUTO) -> EncoderUse:
    return (await tools.encode(run, encoding, 10.0, FIELD)).encoder


async def test_a_working_gpu_is_used() -> None:
    run = Run()
    use = await use_of(tools(GPU, SOFTWARE), run)
    assert run.tried == ["h264_nvenc"]
    assert (use.requested, use.used, use.reason) == ("h264_nvenc", "h264_nvenc", "")


async def test_without_a_gpu_software_is_used_and_the_reason_told() -> None:
    run = Run()
    use = await use_of(tools(NO_GPU, SOFTWARE), run)
    assert run.tried == ["libx264"]
    assert (use.requested, use.used) == ("h264_nvenc", "libx264")
    assert "libcuda.so.1" in use.reason


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (
            ChildFailed("ffmpeg", 187, "[h264_nvenc @ 0x55d] OpenEncodeSessionEx failed: (10)"),
            "OpenEncodeSessionEx failed",
        ),
        (VerificationFailed("7 frames instead of 9"), "7 frames instead of 9"),
    ],
)
async def test_an_item_on_which_the_gpu_fails_is_done_again_in_software(
    failure: Exception, told: str
) -> None:
    run = Run(h264_nvenc=failure)
    use = await use_of(tools(GPU, SOFTWARE), run)
    assert run.tried == ["h264_nvenc", "libx264"]
    assert use.used == "libx264"
    assert told in use.reason
    assert "0x55d" not in use.reason


async def test_the_gpu_is_tried_again_after_a_failure() -> None:
    box = tools(GPU, SOFTWARE)
    await use_of(box, Run(h264_nvenc=ChildFailed("ffmpeg", 1, "")))
    assert (await use_of(box, Run())).used == "h264_nvenc"


async def test_a_bad_picture_is_not_tried_again_in_software() -> None:
    run = Run(h264_nvenc=SourceFailed("python", 65, "{}"))
    with pytest.raises(SourceFailed):
        await use_of(tools(GPU, SOFTWARE), run)
    assert run.tried == ["h264_nvenc"]


async def test_software_that_fails_is_not_tried_again() -> None:
    run = Run(libx264=ChildFailed("ffmpeg", 1, ""))
    with pytest.raises(ChildFailed):
        await use_of(tools(NO_GPU, SOFTWARE), run)
    assert run.tried == ["libx264"]


async def test_no_encoder_at_all_is_said_plainly() -> None:
    with pytest.raises(PreconditionFailed) as error:
        await use_of(tools(NO_GPU, NO_SOFTWARE), Run())
    assert (error.value.reason, error.value.field) == ("ENCODER_NOT_AVAILABLE", FIELD + ".codec")


async def test_who_insists_on_hardware_does_not_get_software() -> None:
    run = Run(h264_nvenc=ChildFailed("ffmpeg", 187, "busy"))
    insisting = VideoEncoding(encoder=contract.ENCODER_KIND_HARDWARE)
    with pytest.raises(ChildFailed):
        await use_of(tools(GPU, SOFTWARE), run, insisting)
    assert run.tried == ["h264_nvenc"]


async def test_who_asks_for_software_gets_it_beside_a_gpu() -> None:
    asking = VideoEncoding(encoder=contract.ENCODER_KIND_SOFTWARE)
    use = await use_of(tools(GPU, SOFTWARE), Run(), asking)
    assert (use.requested, use.used, use.reason) == ("libx264", "libx264", "")


async def test_a_short_clip_and_a_busy_gpu_are_left_to_software_with_the_reason() -> None:
    short = tools(GPU, SOFTWARE, policy=HardwarePolicy(min_clip_s=11))
    assert "less than 11 s" in (await use_of(short, Run())).reason
    full = tools(GPU, SOFTWARE, policy=HardwarePolicy(max_sessions=1))
    inner: list[EncoderUse] = []

    async def while_it_runs(encoder: EncodeOptions) -> Output:
        inner.append(await use_of(full, Run()))
        return Output()

    outer = await full.encode(while_it_runs, AUTO, 10.0, FIELD)
    assert (outer.encoder.used, inner[0].used) == ("h264_nvenc", "libx264")
    assert "sessions" in inner[0].reason
    assert (await use_of(full, Run())).used == "h264_nvenc", "the session was not given back"


async def test_encoders_that_run_beside_each_other_share_the_cpus() -> None:
    box = tools(NO_GPU, SOFTWARE)
    threads = []

    async def outer(encoder: EncodeOptions) -> Output:
        threads.append(encoder.arguments(24)[-1])
        if len(threads) < 3:
            await box.encode(outer, AUTO, 10.0, FIELD)
        return Output()

    await box.encode(outer, AUTO, 10.0, FIELD)
    assert threads == ["4", "1", "1"], "two beyond the CPUs, where there are several"


@given(quality=st.integers(1, 50), codec=st.sampled_from(CODECS), hardware=st.booleans())
def test_a_worse_quality_is_never_a_better_one_for_the_encoder(
    quality: int, codec: contract.VideoCodec.ValueType, hardware: bool
) -> None:
    def number(quality: int) -> int:
        options = profile(codec, hardware=hardware, quality=quality).options
        return int(options[options.index("-cq" if hardware else "-crf") + 1])

    assert 1 <= number(quality) <= number(quality + 1) <= 63


@pytest.mark.parametrize(
    ("files", "threads"),
    [
        ({"cpu.max": "300000 100000\n"}, 3),
        ({"cpu.max": "150000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"quota": "200000\n", "period": "100000\n"}, 2),
        ({"quota": "-1\n", "period": "100000\n"}, 8),
        ({}, 8),
    ],
)
def test_threads_follow_the_cgroup_s_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], threads: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.delenv("RUNPOD_CPU_COUNT", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(cpu, "_CGROUP_V2", tmp_path / "cpu.max")
    monkeypatch.setattr(cpu, "_CGROUP_V1_QUOTA", tmp_path / "quota")
    monkeypatch.setattr(cpu, "_CGROUP_V1_PERIOD", tmp_path / "period")
    assert available_cpus() == threads


def test_threads_follow_what_the_container_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_CPU_COUNT", "1")
    assert available_cpus() == 1
    monkeypatch.setenv("RUNPOD_CPU_COUNT", "999")
    assert available_cpus() <= 999
    monkeypatch.setenv("RUNPOD_CPU_COUNT", "nonsense")
    assert available_cpus() >= 1
