"""What is in a media file, found out in a child process: strangers' files never meet our parsers
in the worker itself."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from asyncio import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from apigpu_common.errors import InvalidInput
from gpu_worker.media import sniff
from gpu_worker.media.process import READING, Child, ChildFailed, child
from gpu_worker.media.sniff import Format

log = logging.getLogger(__name__)

_TIMEOUT_S = 60.0
_SLOWEST_BYTES_PER_S = 20_000_000
_PROGRAM = Path(__file__).with_name("probe_child.py")
MAX_VIDEO_PIXELS = 8192 * 8192
MAX_DURATION_S = 24 * 3600


class ColorTags(NamedTuple):
    """What the numbers of a picture mean, in FFmpeg's names; empty: the file does not say."""

    primaries: str
    transfer: str
    matrix: str
    range: str


@dataclass(frozen=True)
class VideoStream:
    """index: its number in the file. width, height: as shown, after rotation. start_s: time of
    the first picture. frame_count, duration_s: counted, not taken from headers. profile: of
    the codec, empty where it has none."""

    index: int
    codec: str
    pixel_format: str
    width: int
    height: int
    frame_rate: Fraction
    duration_s: float
    start_s: float
    frame_count: int
    profile: str
    color: ColorTags


@dataclass(frozen=True)
class AudioStream:
    """index: its number in the file. start_s: time of its first sample. duration_s: how long
    it plays, counted."""

    index: int
    codec: str
    sample_rate: int
    channels: int
    duration_s: float
    start_s: float


class TextTrack(NamedTuple):
    """Captions as a stream. language: as the file tells it. cues: those with a text."""

    codec: str
    language: str
    cues: int


@dataclass(frozen=True)
class MediaInfo:
    """The streams that players would choose; None where there is no such stream. text: all."""

    format: Format
    duration_s: float
    video: VideoStream | None
    audio: AudioStream | None
    text: tuple[TextTrack, ...]


class Prober:
    """A child that is ready to examine one file."""

    def __init__(self, running: Child) -> None:
        self._running = running

    async def examine(self, path: Path, kind: sniff.Kind, field: str) -> MediaInfo:
        """A "video" or "audio" file from end to end. Raises InvalidInput with `field`."""
        found = await asyncio.to_thread(sniff.require, path, kind, field)
        timeout_s = _TIMEOUT_S + path.stat().st_size / _SLOWEST_BYTES_PER_S
        try:
            async with asyncio.timeout(timeout_s):
                await self._running.tell(
                    json.dumps([found.demuxer, sniff.FFMPEG_FORMATS, str(path)])
                )
                answer = "".join([line async for line in self._running.lines()])
                await self._running.wait()
        except (ChildFailed, TimeoutError) as error:
            log.info("probing failed: %s", error)
            raise InvalidInput(
                "MEDIA_UNREADABLE",
                f"The {kind} cannot be read: it is damaged, or cut off.",
                field=field,
            ) from None
        info = _info(json.loads(answer), found)
        _check(info, kind, field)
        return info


@asynccontextmanager
async def prober() -> AsyncIterator[Prober]:
    """Start it before its file is there: starting takes longer than examining most files."""
    command: list[str | Path] = [sys.executable, "-I", _PROGRAM]
    async with child(command, cwd=Path("/"), limits=READING, stdin=subprocess.PIPE) as running:
        yield Prober(running)


async def probe(path: Path, kind: sniff.Kind, field: str) -> MediaInfo:
    """Examine a "video" or "audio" file from end to end. Raises InvalidInput with `field`."""
    async with prober() as ready:
        return await ready.examine(path, kind, field)


def _check(info: MediaInfo, kind: sniff.Kind, field: str) -> None:
    if kind == "video" and info.video is None:
        raise InvalidInput(
            "NO_VIDEO_STREAM", "The file has no picture: send one that has.", field=field
        )
    if kind == "audio" and info.audio is None:
        raise InvalidInput(
            "NO_AUDIO_STREAM", "The file has no sound: send one that has.", field=field
        )
    if info.duration_s > MAX_DURATION_S:
        raise InvalidInput(
            "TOO_LONG",
            f"The file lasts {info.duration_s / 3600:.1f} hours; at most"
            f" {MAX_DURATION_S // 3600} are taken.",
            field=field,
        )
    if info.video is not None and info.video.width * info.video.height > MAX_VIDEO_PIXELS:
        raise InvalidInput(
            "TOO_MANY_PIXELS",
            f"The video has {info.video.width}x{info.video.height} pixels; at most"
            f" {MAX_VIDEO_PIXELS} are taken.",
            field=field,
        )


def _info(told: dict[str, Any], format_: Format) -> MediaInfo:
    video = told["video"]
    if video is not None:
        rate, color = Fraction(video["frame_rate"]), ColorTags(*video["color"])
        video = VideoStream(**{**video, "frame_rate": rate, "color": color})
    audio = AudioStream(**told["audio"]) if told["audio"] is not None else None
    text = tuple(TextTrack(**track) for track in told["text"])
    return MediaInfo(format_, told["duration_s"], video, audio, text)
