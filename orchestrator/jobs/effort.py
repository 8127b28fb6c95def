"""How long a worker is likely to be at each item, as far as the request tells. Pure.

The figures are rough and on the slow side (a worker without a GPU, one item at a time): they
size tasks and time limits, they are not told to anybody.
"""

from __future__ import annotations

from apigpu.video.v1.job_pb2 import Job

# What an item costs before and after its frames: input fetched and probed, result verified
# and delivered.
_EACH_S = 2.0
# Worker seconds for a second of 1920x1080 at 24 frames a second: rendered and encoded.
_PER_MEDIA_S = 0.6
_FRAME_PX = 1920 * 1080
_FRAME_RATE = 24.0
# A video is decoded and encoded again at most; most add_audio jobs copy it.
_PER_VIDEO_S = 1.0


def item_efforts_s(job: Job, media_s: float | None = None) -> list[float] | None:
    """Worker seconds for each item, in their order, or None where nothing is known.

    media_s: how long the longest of the job's video and sound plays, where that is known.
    """
    if job.WhichOneof("operation") == "images_to_videos":
        return _clips(job)
    return None if media_s is None else [_EACH_S + _PER_VIDEO_S * media_s]


def _clips(job: Job) -> list[float]:
    asked = job.images_to_videos
    width = asked.width if asked.HasField("width") else 1920
    height = asked.height if asked.HasField("height") else 1080
    rate = asked.frame_rate if asked.HasField("frame_rate") else _FRAME_RATE
    per_media_s = _PER_MEDIA_S * (width * height / _FRAME_PX) * (rate / _FRAME_RATE)
    return [
        _EACH_S + per_media_s * (image.duration.seconds + image.duration.nanos / 1e9)
        for image in asked.images
    ]
