"""One progress for a whole job, from the progress of its items. Pure."""

from __future__ import annotations

from collections import Counter

from apigpu.video.v1.job_pb2 import Item, ItemCounts, Job, Progress

from orchestrator.jobs.estimates import left_s


def advance(shown: float, reported: float) -> float:
    """The percent to show next: within 0 to 100, and never less than was shown."""
    if reported != reported:  # NaN
        return shown
    return max(shown, min(max(reported, 0.0), 100.0))


def roll_up(job: Job, elapsed_s: float, expected_s: float | None = None) -> Progress:
    """The job's progress after its items have moved, `elapsed_s` seconds after its start.

    expected_s: how long it takes from start to end, by history. Items weigh as much as the
    media they make. A job that FAILED or was CANCELLED stays where it was: it has not come
    to 100 %.
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
    remaining_s = left_s(expected_s, elapsed_s, progress.percent)
    if job.state == Job.RUNNING and remaining_s is not None:
        progress.time_left.FromMilliseconds(max(0, round(remaining_s * 1000)))
    return progress


def count(job: Job) -> ItemCounts:
    """How many items are in which state."""
    counts = Counter(item.state for item in job.items)
    return ItemCounts(
        total=len(job.items),
        queued=counts[Item.QUEUED],
        running=counts[Item.RUNNING],
        succeeded=counts[Item.SUCCEEDED],
        failed=counts[Item.FAILED],
        cancelled=counts[Item.CANCELLED],
    )


def _weights(job: Job) -> list[float]:
    if job.WhichOneof("operation") == "images_to_videos":
        return [
            image.duration.seconds + image.duration.nanos / 1e9
            for image in job.images_to_videos.images
        ]
    return [1.0] * len(job.items)
