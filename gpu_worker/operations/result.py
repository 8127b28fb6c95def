"""How every operation makes its file and checks it, and tells how far it is meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from apigpu.video.v1 import job_pb2
from apigpu.video.v1.job_pb2 import Output

from gpu_worker.media import ffmpeg
from gpu_worker.media.probe import Prober
from gpu_worker.media.process import CODING, Limits
from gpu_worker.media.verify import Expected, verify
from gpu_worker.operations.base import ItemContext
from gpu_worker.operations.stages import ENCODING, stage


async def make(
    context: ItemContext,
    arguments: Sequence[str],
    frames: int,
    *,
    limits: Limits = CODING,
    frames_from: Sequence[str | Path] = (),
    environment: Mapping[str, str] | None = None,
    beside: Sequence[str] = (),
) -> str:
    """Run FFmpeg, whose output goes to `context.result`; returns the end of its log. Raises
    ChildFailed.

    frames: how many pictures it will have. beside: arguments behind the output. The rest: as
    `ffmpeg.run` takes it.
    """
    context.report(stage(job_pb2.STAGE_ENCODING, frames_total=frames))
    return await ffmpeg.run(
        context.tools.ffmpeg,
        [*arguments, "-movflags", "+faststart", str(context.result), *beside],
        cwd=context.workspace,
        limits=limits,
        frames_from=frames_from,
        environment=environment,
        on_report=lambda report: context.report(ffmpeg.encode_progress(report, frames, ENCODING)),
    )


async def check(context: ItemContext, expected: Expected, frames: int, ready: Prober) -> Output:
    """Measure the finished file. Raises VerificationFailed."""
    context.report(stage(job_pb2.STAGE_VERIFYING, frames, frames))
    return await verify(context.result, expected, ready)
