"""Build Job messages the way people think of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from apigpu.video.v1.job_pb2 import Job
from apigpu.video.v1.operations_pb2 import AddAudio, Caption, ImagesToVideos, MediaSource

# What a protobuf Duration holds. What makes sense is the service's to say.
_MAX_DURATION_S = 315_576_000_000


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
    sources: Mapping[str, MediaSource], durations_s: Sequence[float], batch: ImagesToVideos
) -> Job:
    """Clips of pictures, by id; durations_s: one each, in seconds; batch: all that holds for
    every clip. Raises ValueError for what is no length of time."""
    job = Job(images_to_videos=batch)
    for (item_id, source), duration_s in zip(sources.items(), durations_s, strict=True):
        if not abs(duration_s) <= _MAX_DURATION_S:  # not a number is not, either
            raise ValueError(f"a clip cannot last {duration_s} seconds")
        image = job.images_to_videos.images.add(id=item_id, image=source)
        image.duration.FromNanoseconds(round(duration_s * 1e9))
    return job


def caption(
    video: MediaSource, subtitles: MediaSource, fonts: Sequence[MediaSource], request: Caption
) -> Job:
    """request: all but the media."""
    job = Job(caption=request)
    job.caption.MergeFrom(Caption(video=video, subtitles=subtitles, fonts=fonts))
    return job


def add_audio(video: MediaSource, audio: MediaSource, request: AddAudio) -> Job:
    """request: all but the media."""
    job = Job(add_audio=request)
    job.add_audio.MergeFrom(AddAudio(video=video, audio=audio))
    return job
