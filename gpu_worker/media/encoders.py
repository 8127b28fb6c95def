"""The FFmpeg of this worker: which encoders work with it is found by trying them; encodes go
through here, with a second try in software where hardware fails."""

from __future__ import annotations

import asyncio
import logging
import re
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from apigpu.video.v1.job_pb2 import Output
from apigpu.video.v1.operations_pb2 import VideoEncoding

from apigpu_common.errors import InternalError
from gpu_worker.media import cage_check
from gpu_worker.media.cage_check import CageReport
from gpu_worker.media.cpu import available_cpus
from gpu_worker.media.encoder_choice import EncoderProbe, HardwarePolicy, choose
from gpu_worker.media.process import ChildFailed, Limits, SourceFailed, child
from gpu_worker.media.profiles import ALL, Profile
from gpu_worker.media.verify import VerificationFailed

log = logging.getLogger(__name__)

_TRY_TIMEOUT_S = 60.0
_GOP_S = 5  # at most so many seconds between keyframes, so that players can seek
_WAITING_THREADS = 2
_MAX_THREADS = 16  # x265 refuses more; x264 loses quality


@dataclass
class _Running:
    """Encodes at work, by whether they are in hardware."""

    count: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})

    @contextmanager
    def one_more(self, hardware: bool) -> Iterator[int]:
        """How many there are of this kind, itself included."""
        self.count[hardware] += 1
        try:
            yield self.count[hardware]
        finally:
            self.count[hardware] -= 1


@dataclass(frozen=True)
class EncodeOptions:
    """An encoder, ready to be put into FFmpeg's command. cpus: that software may use."""

    profile: Profile
    cpus: int

    @property
    def limits(self) -> Limits:
        return self.profile.limits

    def arguments(self, frame_rate: float) -> list[str]:
        """FFmpeg's arguments for the picture: encoder, quality, keyframes, threads."""
        return [
            *("-c:v", self.profile.name, *self.profile.options, "-pix_fmt", "yuv420p"),
            *("-fps_mode", "vfr"),  # every picture keeps its own time
            *("-g", str(max(1, round(frame_rate * _GOP_S)))),
            *([] if self.profile.hardware else ["-threads", str(self._threads)]),
        ]

    @property
    def _threads(self) -> int:
        """Frames wait for each other: so many threads more than CPUs keep all CPUs busy."""
        wanted = self.cpus + _WAITING_THREADS if self.cpus > 1 else 1
        return min(wanted, _MAX_THREADS)


# Makes the whole file and measures it.
Encode = Callable[[EncodeOptions], Awaitable[Output]]


@dataclass(frozen=True)
class Toolbox:
    """The FFmpeg of this worker, the encoders that work with it, and the CPUs to use."""

    ffmpeg: Path
    ffmpeg_version: str
    encoders: tuple[EncoderProbe, ...]
    cpus: int
    policy: HardwarePolicy = field(default_factory=HardwarePolicy)
    cage: CageReport = field(default_factory=CageReport)
    _running: _Running = field(default_factory=_Running, compare=False)

    @property
    def has_hardware(self) -> bool:
        """Whether a hardware encoder works here."""
        hardware = {profile.name for profile in ALL if profile.hardware}
        return any(probe.works and probe.name in hardware for probe in self.encoders)

    async def encode(
        self, run: Encode, encoding: VideoEncoding, clip_s: float, blame: str
    ) -> Output:
        """Encode with the best encoder; where hardware fails, once more in software.

        clip_s: length of the picture. blame: the field that `encoding` stands in. Raises
        PreconditionFailed where no encoder can do what was asked, ChildFailed or
        VerificationFailed where none could.
        """
        probes = {probe.name: probe for probe in self.encoders}
        in_use = self._running.count[True]
        first, *others = choose(encoding, clip_s, probes, self.policy, in_use, blame)
        try:
            output = await self._run(run, first.profile)
            use = first.use
        except SourceFailed:
            raise  # no encoder is to blame
        except (ChildFailed, VerificationFailed) as error:
            if not others:
                raise
            log.warning("%s failed, software takes over: %s", first.profile.name, error)
            output = await self._run(run, others[0].profile)
            use = others[0].use
            why = reason(error.stderr) if isinstance(error, ChildFailed) else error.message
            use.reason = f"{first.profile.name} failed on this item: {why}"
        output.encoder.CopyFrom(use)
        return output

    async def _run(self, run: Encode, profile: Profile) -> Output:
        with self._running.one_more(profile.hardware) as count:
            # Several encoders with a thread each get more done than each with all threads.
            return await run(EncodeOptions(profile, max(1, self.cpus // count)))


def bundled_ffmpeg() -> Path:
    """The FFmpeg in the imageio-ffmpeg wheel: never one that happens to be on PATH."""
    wheel = find_spec("imageio_ffmpeg")
    folders = wheel.submodule_search_locations or [] if wheel else []
    found = sorted(path for folder in folders for path in Path(folder).glob("binaries/ffmpeg-*"))
    if not found:
        raise InternalError(
            "NO_FFMPEG",
            "No FFmpeg was installed along (the extra 'ffmpeg'): name one with"
            " APIGPU_WORKER_FFMPEG=/path/to/ffmpeg.",
        )
    return found[0]


async def discover(ffmpeg: Path | None, policy: HardwarePolicy | None = None) -> Toolbox:
    """Find out what works. ffmpeg: the binary to use, or None for the bundled one."""
    binary = ffmpeg or bundled_ffmpeg()
    version = await _version(binary)
    cage, probes = await asyncio.gather(
        cage_check.check(), asyncio.gather(*(_try(binary, profile) for profile in ALL))
    )
    policy = policy or HardwarePolicy()
    return Toolbox(binary, version, tuple(probes), available_cpus(), policy, cage)


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
    """Half a second of moving picture through the very options that jobs use."""
    command: Sequence[str | Path] = [
        *(ffmpeg, "-hide_banner", "-nostdin", "-loglevel", "error"),
        *("-f", "lavfi", "-i", "testsrc2=size=256x256:rate=24:duration=0.5"),
        *("-c:v", profile.name, *profile.options, "-pix_fmt", "yuv420p"),
        *("-f", "null", "-"),
    ]
    with tempfile.TemporaryDirectory(prefix="apigpu-try-") as folder:
        try:
            async with (
                asyncio.timeout(_TRY_TIMEOUT_S),
                child(command, cwd=Path(folder), limits=profile.limits) as running,
            ):
                await running.wait()
        except ChildFailed as error:
            return EncoderProbe(profile.name, False, reason(error.stderr))
        except TimeoutError:
            return EncoderProbe(profile.name, False, "the trial encode did not end in time")
    return EncoderProbe(profile.name, True, "")


def reason(stderr: str) -> str:
    """The first line that says what is wrong, without FFmpeg's addresses and paths."""
    lines = [re.sub(r"^\[[^\]]*\]\s*", "", line).strip() for line in stderr.splitlines()]
    told = next((line for line in lines if line), "it gave no reason")
    return re.sub(r"(file:)?/\S+", "(file)", told)[:200]
