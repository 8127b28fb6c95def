"""How long work will take, from how long such work took before. Pure: it is told what ended."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median

from apigpu.video.v1.job_pb2 import Job

from orchestrator.jobs.fields import seconds

# Enough to see through an odd one out, few enough to follow a change of hardware.
_REMEMBERED = 60
_NEIGHBOURS = 7
# Work of another size says little: start-up weighs more in small work, parallel workers in large.
_SIZE_RANGE = 4.0
_DEFAULT_FRAME_RATE = 24.0
# Below this, the speed so far says too little about the time left.
_TELLING_PERCENT = 2.0


@dataclass(frozen=True)
class _Sample:
    frames: float
    seconds: float


class History:
    """What the newest jobs of each operation took, from their start to their end."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[_Sample]] = {}

    def learn(self, job: Job) -> None:
        """A job has ended. Only what was done whole, and here, says something of the next."""
        whole = job.state == Job.SUCCEEDED and not job.retry_of
        frames = job.progress.frames_total
        took_s = seconds(job.end_time) - seconds(job.start_time)
        if not whole or not job.HasField("start_time") or frames <= 0 or took_s <= 0:
            return
        samples = self._samples.setdefault(_kind(job), deque(maxlen=_REMEMBERED))
        samples.append(_Sample(frames, took_s))

    def expected_s(self, job: Job) -> float | None:
        """From start to end, for the whole job; None where nothing like it was seen."""
        frames = frames_of(job)
        if frames is None:
            return None
        near = [
            sample
            for sample in self._samples.get(_kind(job), ())
            if frames / _SIZE_RANGE <= sample.frames <= frames * _SIZE_RANGE
        ]
        near.sort(key=lambda sample: abs(sample.frames - frames))
        rates = [sample.seconds / sample.frames for sample in near[:_NEIGHBOURS]]
        return median(rates) * frames if rates else None


def frames_of(job: Job) -> float | None:
    """The size of the work: the video frames to make. None while that is unknown."""
    if job.WhichOneof("operation") == "images_to_videos":
        batch = job.images_to_videos
        rate = batch.frame_rate if batch.HasField("frame_rate") else _DEFAULT_FRAME_RATE
        return sum(image.duration.ToNanoseconds() for image in batch.images) / 1e9 * rate
    return job.progress.frames_total or None


def left_s(expected_s: float | None, elapsed_s: float, percent: float) -> float | None:
    """Seconds until the end. At the beginning the past says more, towards the end the present.

    expected_s: for the whole work, from history. elapsed_s: spent on `percent` of it.
    """
    by_speed = elapsed_s * (100.0 - percent) / percent if percent >= _TELLING_PERCENT else None
    if expected_s is None:
        return by_speed
    by_history = max(expected_s * (100.0 - percent) / 100.0, 0.0)
    if by_speed is None:
        return by_history
    weight = percent / 100.0
    return by_speed * weight + by_history * (1.0 - weight)


def _kind(job: Job) -> str:
    """Work that can be compared: the same operation, encoded alike."""
    operation = job.WhichOneof("operation") or ""
    encoding = getattr(getattr(job, operation), "encoding", None)
    return f"{operation}/{encoding.codec}/{encoding.encoder}" if encoding else operation
