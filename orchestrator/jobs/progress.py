"""One progress for a whole job, from the progress of its items. Pure."""

from __future__ import annotations

from apigpu.video.v1.job_pb2 import Item, Job, Progress

# Below this, the speed so far says too little about the time left.
_MIN_PERCENT_FOR_ESTIMATE = 2.0


def advance(shown: float, reported: float) -> float:
    """The percent to show next: within 0 to 100, and never less than was shown."""
    if reported != reported:  # NaN
        return shown
    return max(shown, min(max(reported, 0.0), 100.0))


def roll_up(job: Job, elapsed_s: float) -> Progress:
    """The job's progress after its items have moved, `elapsed_s` seconds after its start.

    Items weigh as much as the media they make. A job that FAILED or was CANCELLED stays
    where it was: it has not come to 100 %.
    """
    weights = _weights(job)
    done = sum(w * item.progress.percent for w, item in zip(weights, job.items, strict=True))
    percent = done / sum(weights)
    if job.state in (Job.SUCCEEDED, Job.PARTIALLY_SUCCEEDED):
        percent = 100.0
    running = [item.progress for item in job.items if item.state == Item.RUNNING]
    progress = Progress(
        stage=max((p.stage for p in running), default=job.progress.stage),
        percent=advance(job.progress.percent, percent),
        frames_done=sum(item.progress.frames_done for item in job.items),
        frames_total=sum(item.progress.frames_total for item in job.items),
        fps=sum(p.fps for p in running),
        speed=sum(p.speed for p in running),
    )
    if job.state == Job.RUNNING and progress.percent >= _MIN_PERCENT_FOR_ESTIMATE:
        left_s = elapsed_s * (100.0 - progress.percent) / progress.percent
        progress.time_left.FromMilliseconds(max(0, round(left_s * 1000)))
    return progress


def _weights(job: Job) -> list[float]:
    if job.WhichOneof("operation") == "images_to_videos":
        return [
            image.duration.seconds + image.duration.nanos / 1e9
            for image in job.images_to_videos.images
        ]
    return [1.0] * len(job.items)
