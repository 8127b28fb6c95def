"""Build Job messages the way people think of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from apigpu.video.v1.job_pb2 import Job
from apigpu.video.v1.operations_pb2 import (
    AddAudio,
    Caption,
    FocalPoint,
    Image,
    ImagesToVideos,
    MediaSource,
    Motion,
)

# What a protobuf Duration holds. What makes sense is the service's to say.
_MAX_DURATION_S = 315_576_000_000


@dataclass(frozen=True)
class ClipOptions:
    """How pictures become clips. None: the service's default."""

    zoom: float | None = None
    focal_point: tuple[float, float] | None = None
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None


def is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def item_ids(names: Sequence[str]) -> list[str]:
    """Distinct ids after the names of the files: "beach", "beach-2" ..."""
    taken: set[str] = set()
    ids = []
    for name in names:
        stem = PurePath(name.partition("?")[0]).stem[:100] or "picture"
        number, candidate = 1, stem
        while candidate in taken:
            number += 1
            candidate = f"{stem}-{number}"
        taken.add(candidate)
        ids.append(candidate)
    return ids


def images_to_videos(
    sources: Mapping[str, MediaSource], durations_s: Sequence[float], options: ClipOptions
) -> Job:
    """Clips of pictures, by id; durations_s: one each, in seconds. Raises ValueError
    for what is no length of time."""
    operation = ImagesToVideos(
        width=options.width, height=options.height, frame_rate=options.frame_rate
    )
    for (item_id, source), duration_s in zip(sources.items(), durations_s, strict=True):
        if not abs(duration_s) <= _MAX_DURATION_S:  # not a number is not, either
            raise ValueError(f"a clip cannot last {duration_s} seconds")
        image = Image(id=item_id, image=source)
        image.duration.FromNanoseconds(round(duration_s * 1e9))
        operation.images.append(image)
    motion = Motion(zoom=options.zoom)
    if options.focal_point is not None:
        x, y = options.focal_point
        motion.focal_point.CopyFrom(FocalPoint(x=x, y=y))
    if motion.ByteSize():
        operation.motion.CopyFrom(motion)
    return Job(images_to_videos=operation)


def caption(video: MediaSource, subtitles: MediaSource) -> Job:
    return Job(caption=Caption(video=video, subtitles=subtitles))


def add_audio(video: MediaSource, audio: MediaSource) -> Job:
    return Job(add_audio=AddAudio(video=video, audio=audio))
