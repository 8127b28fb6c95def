"""Open a finished file again and measure it. What is reported is what is in the file."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from apigpu.video.v1.job_pb2 import EncoderUse, Output

from apigpu_common.errors import InternalError, InvalidInput
from gpu_worker.media.probe import MediaInfo, probe

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Expected:
    """What the file must be to count as done. None: not known beforehand.

    frames: exactly so many. duration_s: within `tolerance_s`, of picture and of sound.
    """

    frames: int | None = None
    duration_s: float | None = None
    tolerance_s: float = 0.05
    audio: bool = False


async def verify(path: Path, expected: Expected, encoder: EncoderUse) -> Output:
    """Measure the MP4 file at `path`. Raises InternalError (VERIFICATION_FAILED)."""
    try:
        info, digest = await asyncio.gather(
            probe(path, "video", "", count=True), asyncio.to_thread(_sha256, path)
        )
    except (InvalidInput, OSError) as error:
        raise _failed(f"it cannot be opened: {error}") from error
    _compare(info, expected)
    return _output(path, info, digest, encoder)


def _compare(info: MediaInfo, expected: Expected) -> None:
    assert info.video is not None
    if expected.frames is not None and info.video.frame_count != expected.frames:
        raise _failed(f"{info.video.frame_count} frames instead of {expected.frames}")
    if expected.audio and info.audio is None:
        raise _failed("there is no sound in it")
    if expected.duration_s is None:
        return
    durations = [info.video.duration_s]
    if expected.audio and info.audio is not None:
        durations.append(info.audio.duration_s)
    for duration_s in durations:
        if abs(duration_s - expected.duration_s) > expected.tolerance_s:
            raise _failed(f"it lasts {duration_s:.3f} s instead of {expected.duration_s:.3f} s")


def _output(path: Path, info: MediaInfo, digest: str, encoder: EncoderUse) -> Output:
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
        encoder=encoder,
    )
    output.duration.FromNanoseconds(round(video.duration_s * 1e9))
    if audio is not None:
        output.audio_codec = audio.codec
        output.audio_duration.FromNanoseconds(round(audio.duration_s * 1e9))
    return output


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _failed(what: str) -> InternalError:
    log.error("a result failed its verification: %s", what)
    return InternalError(
        "VERIFICATION_FAILED", f"The result is not what it should be: {what}.", retryable=True
    )
