"""REST bodies become jobs. What is missing or of another type is left out here and refused by
the contract's rules, as at every door; this file only knows the words for it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from apigpu.video.v1.job_pb2 import Job
from apigpu.video.v1.operations_pb2 import AddAudio, Caption, Image, ImagesToVideos, MediaSource
from google.protobuf import duration_pb2

NOT_JSON = "The request body must be a JSON object"
CAPTION_INCOMPLETE = "url_video and url_srt are required"
ADD_AUDIO_INCOMPLETE = "url_video and url_audio are required"
IMAGES_MISSING = "images array is required with at least one image"
IMAGE_INCOMPLETE = "Each image must have id, image_url, and duracao"

# Fields of the contract in the words of this door.
_WORDS = (
    (re.compile(r"^job\.caption\.video(\.uri)?"), "url_video"),
    (re.compile(r"^job\.caption\.subtitles(\.uri)?"), "url_srt"),
    (re.compile(r"^job\.add_audio\.video(\.uri)?"), "url_video"),
    (re.compile(r"^job\.add_audio\.audio(\.uri)?"), "url_audio"),
    (re.compile(r"^job\.images_to_videos\.images(\[\d+\])\.image(\.uri)?"), r"images\1.image_url"),
    (re.compile(r"^job\.images_to_videos\.images(\[\d+\])\.duration"), r"images\1.duracao"),
    (re.compile(r"^job\.images_to_videos\.images"), "images"),
    (re.compile(r"^job\.operation$"), "body"),
)


@dataclass(frozen=True)
class Asked:
    """A job, and what to say if the contract's rules refuse it. Empty: what the rules say."""

    job: Job
    complaint: str = ""


Translate = Callable[[dict[str, Any]], Asked]


def read(body: bytes, translate: Translate) -> Asked:
    """What a request body asks for."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return Asked(Job(), NOT_JSON)
    if not isinstance(asked, dict):
        return Asked(Job(), NOT_JSON)
    return translate(asked)


def caption(body: dict[str, Any]) -> Asked:
    video, subtitles = _source(body, "url_video"), _source(body, "url_srt")
    job = Job(caption=Caption(video=video, subtitles=subtitles))
    return Asked(job, "" if video and subtitles else CAPTION_INCOMPLETE)


def add_audio(body: dict[str, Any]) -> Asked:
    video, audio = _source(body, "url_video"), _source(body, "url_audio")
    job = Job(add_audio=AddAudio(video=video, audio=audio))
    return Asked(job, "" if video and audio else ADD_AUDIO_INCOMPLETE)


def images(body: dict[str, Any]) -> Asked:
    given = body.get("images")
    if not isinstance(given, list) or not given:
        return Asked(Job(images_to_videos=ImagesToVideos()), IMAGES_MISSING)
    pictures = [_image(one if isinstance(one, dict) else {}) for one in given]
    complete = all(
        one.id and one.HasField("image") and one.HasField("duration") for one in pictures
    )
    job = Job(images_to_videos=ImagesToVideos(images=pictures))
    return Asked(job, "" if complete else IMAGE_INCOMPLETE)


def word(field: str) -> str:
    """A path of the contract, as this door calls it."""
    for pattern, replacement in _WORDS:
        if pattern.match(field):
            return pattern.sub(replacement, field)
    return field


def _image(given: dict[str, Any]) -> Image:
    return Image(
        id=_text(given, "id"),
        image=_source(given, "image_url"),
        duration=_seconds(given.get("duracao")),
    )


def _source(body: dict[str, Any], name: str) -> MediaSource | None:
    uri = _text(body, name)
    return MediaSource(uri=uri) if uri else None


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        return ""
    # JSON can spell half of a surrogate pair; protobuf strings cannot.
    return value.encode("utf-8", "replace").decode()


def _seconds(value: object) -> duration_pb2.Duration | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value:
        return None
    # Whatever is beyond protobuf's range is beyond the contract's, too.
    nanoseconds = 0 if math.isnan(value) else round(max(-1e9, min(1e9, value)) * 1e9)
    duration = duration_pb2.Duration()
    # Short of a nanosecond is short, not nothing.
    duration.FromNanoseconds(nanoseconds or (1 if value > 0 else -1))
    return duration
