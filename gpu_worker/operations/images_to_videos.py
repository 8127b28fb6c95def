"""A still picture becomes a clip with a slow zoom."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path

from apigpu.video.v1 import job_pb2, operations_pb2
from apigpu.worker.v1.worker_service_pb2 import Task

from apigpu_common.errors import InvalidInput
from gpu_worker.media import ffmpeg, motion, sniff
from gpu_worker.media.encoders import Profile
from gpu_worker.media.process import ChildFailed
from gpu_worker.media.render_child import BAD_PICTURE_CODE
from gpu_worker.media.verify import Expected, verify
from gpu_worker.operations.base import ItemContext
from gpu_worker.operations.failures import encoding_failed
from gpu_worker.operations.stages import ENCODING, stage

_WIDTH, _HEIGHT = 1920, 1080
_FRAME_RATE = 24.0
_ZOOM = 1.324


async def images_to_videos(task: Task, item_id: str, context: ItemContext) -> job_pb2.Output:
    """Make the clip of the picture with id `item_id`."""
    request = task.images_to_videos
    index, image = next((n, i) for n, i in enumerate(request.images) if i.id == item_id)
    field = f"images_to_videos.images[{index}].image"
    width = request.width if request.HasField("width") else _WIDTH
    height = request.height if request.HasField("height") else _HEIGHT
    rate = motion.exact_rate(request.frame_rate if request.HasField("frame_rate") else _FRAME_RATE)
    duration_s = Fraction(image.duration.seconds) + Fraction(image.duration.nanos, 10**9)
    frames = motion.frame_count(duration_s, rate)

    path = await context.fetch(image.image, field)
    context.report(stage(job_pb2.STAGE_PROBING, frames_total=frames))
    found = sniff.require(path, "image", field)
    zoom, focal = _view(image.motion if image.HasField("motion") else request.motion)
    spec = {
        "path": str(path),
        "format": found.demuxer,
        "width": width,
        "height": height,
        "frames": frames,
        "zoom": zoom,
        "focal_x": focal[0],
        "focal_y": focal[1],
    }
    spec_path = context.workspace / "render.json"
    spec_path.write_text(json.dumps(spec))
    renderer: list[str | Path] = [
        sys.executable,
        "-I",
        "-m",
        "gpu_worker.media.render_child",
        spec_path,
    ]

    async def encode(profile: Profile) -> None:
        await ffmpeg.run(
            context.tools.ffmpeg,
            [
                *("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}"),
                *("-framerate", str(rate), "-i", "pipe:0"),
                *context.tools.options(profile, float(rate)),
                *("-color_range", "tv", "-colorspace", "bt709"),
                *("-color_primaries", "bt709", "-color_trc", "bt709"),
                *("-movflags", "+faststart", str(context.result)),
            ],
            cwd=context.workspace,
            limits=profile.limits,
            frames_from=renderer,
            on_report=lambda report: context.report(
                ffmpeg.encode_progress(report, frames, ENCODING)
            ),
        )

    context.report(stage(job_pb2.STAGE_ENCODING, frames_total=frames))
    try:
        use = await context.tools.encode(encode)
    except ChildFailed as error:
        if error.code == BAD_PICTURE_CODE:
            told = json.loads(error.stderr.splitlines()[-1])
            raise InvalidInput(told["reason"], told["message"], field=field) from None
        raise encoding_failed(error) from error
    context.report(stage(job_pb2.STAGE_VERIFYING, frames, frames))
    expected = Expected(frames=frames, duration_s=float(frames / rate))
    return await verify(context.result, expected, use)


def _view(asked: operations_pb2.Motion) -> tuple[float, tuple[float, float]]:
    zoom = asked.zoom if asked.HasField("zoom") else _ZOOM
    if asked.HasField("focal_point"):
        return zoom, (asked.focal_point.x, asked.focal_point.y)
    return zoom, (0.5, 0.5)
