"""What is in a media file, found out in a child process: strangers' files never meet our parsers
in the worker itself."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from apigpu_common.errors import InvalidInput
from gpu_worker.media import sniff
from gpu_worker.media.process import SMALL, ChildFailed, child
from gpu_worker.media.sniff import Format

_TIMEOUT_S = 60.0
_PROGRAM = Path(__file__).with_name("probe_child.py")
MAX_VIDEO_PIXELS = 8192 * 8192


@dataclass(frozen=True)
class VideoStream:
    """width, height: as shown, after rotation. frame_count: packets with a picture; counted
    only when asked for, else 0. start_s: time of the first picture."""

    codec: str
    pixel_format: str
    width: int
    height: int
    frame_rate: Fraction
    duration_s: float
    start_s: float
    frame_count: int
    color_space: str
    color_range: str


@dataclass(frozen=True)
class AudioStream:
    """duration_s: how long it plays. start_s: time of its first sample."""

    codec: str
    sample_rate: int
    channels: int
    duration_s: float
    start_s: float


@dataclass(frozen=True)
class MediaInfo:
    """The streams that players would choose; None where there is no such stream."""

    format: Format
    duration_s: float
    video: VideoStream | None
    audio: AudioStream | None


async def probe(path: Path, kind: sniff.Kind, field: str, *, count: bool = False) -> MediaInfo:
    """Examine a "video" or "audio" file. Raises InvalidInput with `field`.

    count: demux all of it and count the pictures and samples.
    """
    found = await asyncio.to_thread(sniff.require, path, kind, field)
    command: list[str | Path] = [
        sys.executable,
        "-I",
        _PROGRAM,
        found.demuxer,
        "1" if count else "0",
        path,
    ]
    try:
        async with (
            asyncio.timeout(_TIMEOUT_S),
            child(command, cwd=Path("/"), limits=SMALL) as running,
        ):
            answer = "".join([line async for line in running.lines()])
            await running.wait()
    except (ChildFailed, TimeoutError):
        raise InvalidInput(
            "MEDIA_UNREADABLE",
            f"The {kind} cannot be read: it is damaged, or cut off.",
            field=field,
        ) from None
    info = _info(json.loads(answer), found)
    if kind == "video" and info.video is None:
        raise InvalidInput(
            "NO_VIDEO_STREAM", "The file has no picture: send one that has.", field=field
        )
    if kind == "audio" and info.audio is None:
        raise InvalidInput(
            "NO_AUDIO_STREAM", "The file has no sound: send one that has.", field=field
        )
    if info.video is not None and info.video.width * info.video.height > MAX_VIDEO_PIXELS:
        raise InvalidInput(
            "TOO_MANY_PIXELS",
            f"The video has {info.video.width}x{info.video.height} pixels; at most"
            f" {MAX_VIDEO_PIXELS} are taken.",
            field=field,
        )
    return info


def _info(told: dict[str, Any], format_: Format) -> MediaInfo:
    video = told["video"]
    if video is not None:
        video = VideoStream(**{**video, "frame_rate": Fraction(video["frame_rate"])})
    audio = AudioStream(**told["audio"]) if told["audio"] is not None else None
    return MediaInfo(format_, told["duration_s"], video, audio)
