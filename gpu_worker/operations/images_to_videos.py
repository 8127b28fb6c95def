"""A still picture becomes a clip over which a camera moves."""

from __future__ import annotations

import asyncio
from fractions import Fraction

from apigpu.video.v1 import job_pb2
from apigpu.video.v1.job_pb2 import Output
from apigpu.worker.v1.worker_service_pb2 import Task

from apigpu_common.errors import InvalidInput
from gpu_worker.media import motion, refusal, sniff
from gpu_worker.media.clip import Clip, renderer
from gpu_worker.media.encoders import EncodeOptions
from gpu_worker.media.probe import ColorTags, prober
from gpu_worker.media.process import ChildFailed
from gpu_worker.media.verify import Expected
from gpu_worker.operations import camera, result
from gpu_worker.operations.base import ItemContext
from gpu_worker.operations.failures import encoding_failed
from gpu_worker.operations.stages import stage

_WIDTH, _HEIGHT = 1920, 1080
_FRAME_RATE = 24.0
# More would draw frames faster than any encoder takes them.
_RENDER_THREADS = 4
_BT709 = ColorTags("bt709", "bt709", "bt709", "tv")
# The frames are that already. Said of the output alone, FFmpeg would convert them to it.
_IS_BT709 = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"


async def images_to_videos(task: Task, item_id: str, context: ItemContext) -> Output:
    """Make the clip of the picture with id `item_id`."""
    request = task.images_to_videos
    index, image = next((n, i) for n, i in enumerate(request.images) if i.id == item_id)
    field = f"images_to_videos.images[{index}].image"
    width = request.width if request.HasField("width") else _WIDTH
    height = request.height if request.HasField("height") else _HEIGHT
    rate = motion.exact_rate(request.frame_rate if request.HasField("frame_rate") else _FRAME_RATE)
    duration_s = Fraction(image.duration.seconds) + Fraction(image.duration.nanos, 10**9)
    frames = motion.frame_count(duration_s, rate)
    move = camera.motion(image.motion if image.HasField("motion") else request.motion)
    bars = camera.bars(image.fit or request.fit, request.bar_color)

    path = await context.fetch(image.image, field)
    context.report(stage(job_pb2.STAGE_PROBING, frames_total=frames))
    found = await asyncio.to_thread(sniff.require, path, "image", field)
    threads = min(context.tools.cpus, _RENDER_THREADS)
    clip = Clip(str(path), found.demuxer, width, height, frames, move, bars, threads)
    source = await asyncio.to_thread(renderer, clip, context.workspace)

    async def run(encoder: EncodeOptions) -> Output:
        arguments = [
            *("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}"),
            *("-framerate", str(rate), "-i", "pipe:0", "-vf", _IS_BT709),
            *encoder.arguments(float(rate)),
        ]
        expected = Expected(
            float(frames / rate), frames=frames, codec=encoder.profile.codec_name, color=_BT709
        )
        async with prober() as ready:
            await result.make(context, arguments, frames, limits=encoder.limits, frames_from=source)
            return await result.check(context, expected, frames, ready)

    try:
        return await context.tools.encode(
            run, request.encoding, float(frames / rate), "images_to_videos.encoding"
        )
    except ChildFailed as error:
        refused = refusal.told(error.code, error.stderr)
        if refused is not None:
            raise InvalidInput(refused.reason, str(refused), field=field) from None
        raise encoding_failed(error, field) from error
