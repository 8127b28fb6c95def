"""Open a finished file again and measure it. What is reported is what is in the file."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path

from apigpu.video.v1.job_pb2 import Color, Output

from apigpu_common.errors import InternalError, InvalidInput
from gpu_worker.media.concurrency import both
from gpu_worker.media.probe import ColorTags, MediaInfo, Prober, TextTrack


@dataclass(frozen=True)
class Expected:
    """What the file must be to count as done.

    video_s, audio_s: how long picture and sound play, within `tolerance_s`; audio_s None:
    there is no sound. frames: exactly so many pictures; None: not known beforehand. codec,
    color: of the picture; None: as it comes. text: the captions that it carries.
    """

    video_s: float
    audio_s: float | None = None
    frames: int | None = None
    tolerance_s: float = 0.05
    codec: str | None = None
    color: ColorTags | None = None
    text: tuple[TextTrack, ...] = ()


class VerificationFailed(InternalError):
    """A finished file is not what it should be. Whether another try can help is not known."""

    def __init__(self, what: str) -> None:
        super().__init__(
            "VERIFICATION_FAILED", f"The result is not what it should be: {what}.", retryable=True
        )


async def verify(path: Path, expected: Expected, ready: Prober) -> Output:
    """Measure the MP4 file at `path`. Raises VerificationFailed. Who made it, the caller knows."""
    try:
        info, digest = await both(
            ready.examine(path, "video", ""), asyncio.to_thread(_sha256, path)
        )
    except (InvalidInput, OSError) as error:
        raise VerificationFailed("it cannot be read") from error
    _compare(info, expected)
    return _output(path, info, digest)


def _compare(info: MediaInfo, expected: Expected) -> None:
    assert info.video is not None
    if expected.frames is not None and info.video.frame_count != expected.frames:
        raise VerificationFailed(f"{info.video.frame_count} frames instead of {expected.frames}")
    if expected.codec is not None and info.video.codec != expected.codec:
        raise VerificationFailed(f"{info.video.codec} instead of {expected.codec}")
    if expected.color is not None and info.video.color != expected.color:
        told, wanted = "/".join(info.video.color), "/".join(expected.color)
        raise VerificationFailed(f"its colours are tagged {told} instead of {wanted}")
    _compare_length("the picture", info.video.duration_s, expected.video_s, expected.tolerance_s)
    if (info.audio is None) != (expected.audio_s is None):
        raise VerificationFailed("the sound is missing" if info.audio is None else "it has sound")
    if info.audio is not None and expected.audio_s is not None:
        _compare_length("the sound", info.audio.duration_s, expected.audio_s, expected.tolerance_s)
    if info.text != expected.text:
        raise VerificationFailed(
            f"its captions are {_told(info.text)} instead of {_told(expected.text)}"
        )


def _told(tracks: tuple[TextTrack, ...]) -> str:
    found = (
        f"{track.cues} of {track.codec} in {track.language or 'no language'}" for track in tracks
    )
    return " and ".join(found) or "none"


def _compare_length(what: str, measured_s: float, wanted_s: float, tolerance_s: float) -> None:
    if abs(measured_s - wanted_s) > tolerance_s:
        raise VerificationFailed(f"{what} lasts {measured_s:.3f} s instead of {wanted_s:.3f} s")


def _output(path: Path, info: MediaInfo, digest: str) -> Output:
    video, audio = info.video, info.audio
    assert video is not None
    output = Output(
        mime_type="video/mp4",
        size_bytes=path.stat().st_size,
        sha256=digest,
        frame_count=video.frame_count,
        frame_rate=float(video.frame_rate),
        width=video.width,
        height=video.height,
        video_codec=video.codec,
        pixel_format=video.pixel_format,
        video_profile=video.profile,
        color=Color(**video.color._asdict()),
    )
    output.duration.FromNanoseconds(round(video.duration_s * 1e9))
    if audio is not None:
        output.audio_codec = audio.codec
        output.audio_duration.FromNanoseconds(round(audio.duration_s * 1e9))
        difference_s = audio.duration_s - video.duration_s
        output.audio_video_difference.FromNanoseconds(round(difference_s * 1e9))
    return output


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
