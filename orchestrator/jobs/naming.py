"""Names to save results under, made from what the caller called things. Pure."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from apigpu.video.v1.job_pb2 import Job
from apigpu.video.v1.operations_pb2 import MediaSource

_SUFFIX = {"caption": "-captioned", "add_audio": "-with-audio"}
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]+')
_MAX_STEM = 120


def output_filename(job: Job, item_id: str, video_filename: str = "") -> str:
    """A safe file name for the result of an item.

    video_filename: the name of the uploaded source video, where there is one.
    """
    operation = job.WhichOneof("operation") or ""
    if operation == "images_to_videos":
        return f"{_clean(item_id)}.mp4"
    source: MediaSource = getattr(job, operation).video
    name = video_filename or unquote(PurePosixPath(urlsplit(source.uri).path).name)
    suffix = _SUFFIX.get(operation) or f"-{operation.replace('_', '-')}"
    return f"{_clean(PurePosixPath(name).stem)}{suffix}.mp4"


def _clean(text: str) -> str:
    return _UNSAFE.sub("_", text).strip(" .")[:_MAX_STEM] or "video"
