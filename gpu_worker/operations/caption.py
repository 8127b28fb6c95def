"""A video gets captions, drawn into its picture or as a track; its sound is kept."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

from apigpu.video.v1 import job_pb2
from apigpu.video.v1 import operations_pb2 as contract
from apigpu.video.v1.job_pb2 import Output
from apigpu.video.v1.operations_pb2 import Caption, CaptionStyle
from apigpu.worker.v1.worker_service_pb2 import Task

from gpu_worker.media import ffmpeg, subtitles
from gpu_worker.media.captions_order import CaptionsOrder, Look
from gpu_worker.media.concurrency import both
from gpu_worker.media.encoders import EncodeOptions
from gpu_worker.media.probe import MediaInfo, TextTrack, probe, prober
from gpu_worker.media.process import ChildFailed
from gpu_worker.operations import result
from gpu_worker.operations.base import ItemContext
from gpu_worker.operations.failures import encoding_failed
from gpu_worker.operations.mp4_streams import as_long_as, audio_options
from gpu_worker.operations.soft_captions import mux_soft, three_letters
from gpu_worker.operations.stages import stage

# The filter takes its file by a name without characters that need escaping.
_ASS_NAME = "captions.ass"
_SRT_NAME = "captions.srt"


async def caption(task: Task, item_id: str, context: ItemContext) -> Output:
    """Make the captioned video."""
    request = task.caption
    video_path, subtitles_path = await both(
        context.fetch(request.video, "caption.video"),
        context.fetch(request.subtitles, "caption.subtitles"),
    )
    fonts = await _fetch_fonts(request, context)
    context.report(stage(job_pb2.STAGE_PROBING))
    info = await probe(video_path, "video", "caption.video")
    assert info.video is not None
    soft = request.mode == contract.CAPTION_MODE_SOFT
    order = CaptionsOrder(
        source=str(subtitles_path),
        target=str(context.workspace / (_SRT_NAME if soft else _ASS_NAME)),
        width=info.video.width,
        height=info.video.height,
        look=_look(request.style),
        language=request.language,
        fonts=tuple(str(font) for font in fonts),
        soft=soft,
        allow_missing_glyphs=request.allow_missing_glyphs,
    )
    cues, warnings = await subtitles.convert(order, context.workspace, "caption.subtitles")
    if soft:
        track = TextTrack("mov_text", three_letters(request.language), cues)
        output = await mux_soft(context, video_path, info, _SRT_NAME, track)
    else:
        output = await _burn(request, context, video_path, info, fonts)
    output.warnings.extend(warnings)
    return output


async def _fetch_fonts(request: Caption, context: ItemContext) -> list[Path]:
    """The caller's fonts, each under a name of its own in a folder that holds nothing else."""
    folder = context.workspace / "fonts"
    fonts = []
    for index, source in enumerate(request.fonts):
        folder.mkdir(exist_ok=True)
        fetched = await context.fetch(source, f"caption.fonts[{index}]")
        fonts.append(folder / f"{index}.ttf")
        await asyncio.to_thread(shutil.copyfile, fetched, fonts[-1])
    return fonts


def _look(style: CaptionStyle) -> Look:
    """What the caller has set of it."""
    given = {field.name: value for field, value in style.ListFields()}
    return Look(**given)


async def _burn(
    request: Caption, context: ItemContext, path: Path, info: MediaInfo, fonts: list[Path]
) -> Output:
    video = info.video
    assert video is not None
    frames = video.frame_count
    environment = subtitles.font_environment(context.workspace, fonts)

    async def run(encoder: EncodeOptions) -> Output:
        arguments = [
            *ffmpeg.safe_input(path, info.format),
            *("-map", f"0:{video.index}", "-vf", _filter(video.width, video.height)),
            *encoder.arguments(float(video.frame_rate)),
            *audio_options(info.audio),
            *("-map_metadata", "0"),
        ]
        expected = replace(as_long_as(info), codec=encoder.profile.codec_name)
        async with prober() as ready:
            await result.make(
                context, arguments, frames, limits=encoder.limits, environment=environment
            )
            return await result.check(context, expected, frames, ready)

    try:
        return await context.tools.encode(
            run, request.encoding, video.duration_s, "caption.encoding"
        )
    except ChildFailed as error:
        raise encoding_failed(error, "caption.video") from error


def _filter(width: int, height: int) -> str:
    """Draw, after cutting an odd last row or column: 4:2:0 has none."""
    even = f"crop={width // 2 * 2}:{height // 2 * 2}:0:0,"
    return ("" if width % 2 == height % 2 == 0 else even) + f"ass={_ASS_NAME}"
