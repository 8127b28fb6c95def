"""Which video encoder to use, and with which options. What works is found by trying it."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
from apigpu.video.v1.job_pb2 import EncoderUse

from apigpu_common.errors import InternalError
from gpu_worker.media.cpu import available_cpus
from gpu_worker.media.process import CODING, ChildFailed, Limits, SourceFailed, child

_TRY_TIMEOUT_S = 60.0
_GOP_S = 5  # at most so many seconds between keyframes, so that players can seek

# CUDA reserves far more address space than it uses: no memory limit for hardware encodes.
_HARDWARE_LIMITS = Limits()


@dataclass(frozen=True)
class Profile:
    """An encoder and its options, without what depends on the video."""

    name: str
    options: tuple[str, ...]
    hardware: bool

    @property
    def limits(self) -> Limits:
        return _HARDWARE_LIMITS if self.hardware else CODING


NVENC_H264 = Profile(
    "h264_nvenc",
    ("-preset", "p4", "-tune", "hq", "-rc", "vbr", "-cq", "23", "-b:v", "0"),
    hardware=True,
)
# CRF 23 and CQ 23 are close in quality on the same picture.
SOFTWARE_H264 = Profile("libx264", ("-preset", "veryfast", "-crf", "23"), hardware=False)
PREFERENCE = (NVENC_H264, SOFTWARE_H264)


@dataclass(frozen=True)
class EncoderProbe:
    """What came of a short real encode. reason: why it does not work; else empty."""

    name: str
    works: bool
    reason: str


@dataclass(frozen=True)
class Toolbox:
    """The FFmpeg of this worker, the encoders that work with it, and the CPUs to use."""

    ffmpeg: Path
    ffmpeg_version: str
    encoders: tuple[EncoderProbe, ...]
    threads: int

    def candidates(self) -> list[tuple[Profile, EncoderUse]]:
        """The profiles to try, best first, each with what to report if it is the one."""
        requested = PREFERENCE[0].name
        found = {probe.name: probe for probe in self.encoders}
        usable: list[tuple[Profile, EncoderUse]] = []
        reasons: list[str] = []
        for profile in PREFERENCE:
            probe = found[profile.name]
            if probe.works:
                use = EncoderUse(requested=requested, used=profile.name, reason="; ".join(reasons))
                usable.append((profile, use))
            else:
                reasons.append(f"{profile.name} does not work here: {probe.reason}")
        if not usable:
            raise InternalError("NO_ENCODER", "No video encoder works on this worker.")
        return usable

    def options(self, profile: Profile, frame_rate: float) -> list[str]:
        """FFmpeg's arguments for the picture: encoder, quality, keyframes, threads."""
        return [
            "-c:v",
            profile.name,
            *profile.options,
            "-pix_fmt",
            "yuv420p",
            "-fps_mode",
            "vfr",  # every picture keeps its own time
            "-g",
            str(max(1, round(frame_rate * _GOP_S))),
            *([] if profile.hardware else ["-threads", str(self.threads)]),
        ]

    async def encode(self, run: Callable[[Profile], Awaitable[None]]) -> EncoderUse:
        """Encode with the best encoder; where hardware fails, once more in software.

        run: makes the whole file with a profile. Raises ChildFailed if no encoder could.
        """
        (profile, use), *others = self.candidates()
        try:
            await run(profile)
        except SourceFailed:
            raise  # no encoder is to blame
        except ChildFailed as error:
            if not profile.hardware or not others:
                raise
            fallback = others[0][0]
            await run(fallback)
            reason = f"{profile.name} failed on this item: {_reason(error.stderr)}"
            return EncoderUse(requested=use.requested, used=fallback.name, reason=reason)
        return use


def bundled_ffmpeg() -> Path:
    """The FFmpeg in the imageio-ffmpeg wheel: never one that happens to be on PATH."""
    folder = Path(imageio_ffmpeg.__file__).parent / "binaries"
    found = sorted(folder.glob("ffmpeg-*"))
    if not found:
        raise InternalError(
            "NO_FFMPEG",
            "This platform's imageio-ffmpeg brings no FFmpeg: name one with"
            " APIGPU_WORKER_FFMPEG=/path/to/ffmpeg.",
        )
    return found[0]


async def discover(ffmpeg: Path | None) -> Toolbox:
    """Find out what works. ffmpeg: the binary to use, or None for the bundled one."""
    binary = ffmpeg or bundled_ffmpeg()
    version = await _version(binary)
    threads = available_cpus()
    probes = await asyncio.gather(*(_try(binary, profile) for profile in PREFERENCE))
    return Toolbox(binary, version, tuple(probes), threads)


async def _version(ffmpeg: Path) -> str:
    try:
        async with (
            asyncio.timeout(_TRY_TIMEOUT_S),
            child([ffmpeg, "-version"], cwd=Path("/"), limits=Limits()) as running,
        ):
            lines = [line async for line in running.lines()]
            await running.wait()
    except (OSError, TimeoutError, ChildFailed) as error:
        raise InternalError("NO_FFMPEG", f"{ffmpeg} does not run.") from error
    match = re.match(r"ffmpeg version (\S+)", lines[0] if lines else "")
    return match[1] if match else "unknown"


async def _try(ffmpeg: Path, profile: Profile) -> EncoderProbe:
    """A second of moving picture through the very options that jobs use."""
    command: Sequence[str | Path] = [
        ffmpeg,
        "-hide_banner",
        "-nostdin",
        "-loglevel",
        "error",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=256x256:rate=24:duration=1",
        "-c:v",
        profile.name,
        *profile.options,
        "-pix_fmt",
        "yuv420p",
        "-f",
        "null",
        "-",
    ]
    with tempfile.TemporaryDirectory(prefix="apigpu-try-") as folder:
        try:
            async with (
                asyncio.timeout(_TRY_TIMEOUT_S),
                child(command, cwd=Path(folder), limits=profile.limits) as running,
            ):
                await running.wait()
        except ChildFailed as error:
            return EncoderProbe(profile.name, False, _reason(error.stderr))
        except TimeoutError:
            return EncoderProbe(profile.name, False, "the trial encode did not end in time")
    return EncoderProbe(profile.name, True, "")


def _reason(stderr: str) -> str:
    """The first line that says what is wrong, without FFmpeg's addresses and paths."""
    lines = [re.sub(r"^\[[^\]]*\]\s*", "", line).strip() for line in stderr.splitlines()]
    told = next((line for line in lines if line), "it gave no reason")
    return re.sub(r"(file:)?/\S+", "(file)", told)[:200]
