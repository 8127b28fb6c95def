"""How the stages of an item share its 0 to 100 percent."""

from __future__ import annotations

from apigpu.video.v1 import job_pb2
from apigpu.video.v1.job_pb2 import Progress, Stage

# Where each stage begins; encoding takes nearly all of the time.
_BEGINS = {
    job_pb2.STAGE_STARTING: 0.0,
    job_pb2.STAGE_FETCHING: 0.0,
    job_pb2.STAGE_PROBING: 4.0,
    job_pb2.STAGE_ENCODING: 5.0,
    job_pb2.STAGE_VERIFYING: 96.0,
    job_pb2.STAGE_DELIVERING: 98.0,
}
ENCODING = (_BEGINS[job_pb2.STAGE_ENCODING], _BEGINS[job_pb2.STAGE_VERIFYING])


def stage(which: Stage.ValueType, frames_done: int = 0, frames_total: int = 0) -> Progress:
    """The progress of an item that has just come to a stage."""
    return Progress(
        stage=which, percent=_BEGINS[which], frames_done=frames_done, frames_total=frames_total
    )


def fetching(part: float | None) -> Progress:
    """The progress of an item of whose input `part` (0 to 1, None: unknown) is here."""
    progress = stage(job_pb2.STAGE_FETCHING)
    progress.percent = (part or 0.0) * _BEGINS[job_pb2.STAGE_PROBING]
    return progress
