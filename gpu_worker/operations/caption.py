"""Captions are drawn into the picture of a video; its sound is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from apigpu.video.v1 import job_pb2
from apigpu.video.v1.job_pb2 import Output
from apigpu.worker.v1.worker_service_pb2 import Task

from gpu_worker.media import ffmpeg, subtitles
from gpu_worker.media.concurrency import both
from gpu_worker.media.encoders import EncodeOptions
from gpu_worker.media.probe import AudioStream, MediaInfo, probe
from gpu_worker.media.process import ChildFailed
from gpu_worker.media.verify import Expected, verify
from gpu_worker.operations.base import ItemContext
from gpu_worker.operations.failures import encoding_failed
from gpu_worker.operations.stages import ENCODING, stage

# Sound that an MP4 file can hold as it is; anything else becomes AAC.
_MP4_AUDIO = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "alac"})
_AUDIO_BITRATE = "192k"
# The filter takes its file by a name without characters that need escaping.
_ASS_NAME = "captions.ass"
# Files count in different units of time, and sound is kept in whole packets.
_TOLERANCE_S = 0.25


async def caption(task: Task, item_id: str, context: ItemContext) -> Output:
    """Make the captioned video."""
    request = task.caption
    video_path, subtitles_path = await both(
        context.fetch(request.video, "caption.video"),
        context.fetch(request.subtitles, "caption.subtitles"),
    )
    context.report(stage(job_pb2.STAGE_PROBING))
    info = await probe(video_path, "video", "caption.video")
    video = info.video
    assert video is not None
    await subtitles.write_ass(
        subtitles_path,
        context.workspace / _ASS_NAME,
        video.width,
        video.height,
        "caption.subtitles",
    )
    frames = video.frame_count
    expected = Expected(
        video.duration_s, info.audio.duration_s if info.audio else None, tolerance_s=_TOLERANCE_S
    )

    async def run(encoder: EncodeOptions) -> Output:
        context.report(stage(job_pb2.STAGE_ENCODING, frames_total=frames))
        await _burn(context, video_path, info, encoder)
        context.report(stage(job_pb2.STAGE_VERIFYING, frames, frames))
        return await verify(context.result, replace(expected, codec=encoder.profile.codec_name))

    try:
        return await context.tools.encode(
            run, request.encoding, video.duration_s, "caption.encoding"
        )
    except ChildFailed as error:
        raise encoding_failed(error, "caption.video") from error


async def _burn(context: ItemContext, path: Path, info: MediaInfo, encoder: EncodeOptions) -> None:
    video = info.video
    assert video is not None
    await ffmpeg.run(
        context.tools.ffmpeg,
        [
            *ffmpeg.safe_input(path, info.format),
            *("-map", f"0:{video.index}", "-vf", _filter(video.width, video.height)),
            *encoder.arguments(float(video.frame_rate)),
            *_audio_options(info.audio),
            *("-map_metadata", "0", "-movflags", "+faststart", str(context.result)),
        ],
        cwd=context.workspace,
        limits=encoder.limits,
        on_report=lambda report: context.report(
            ffmpeg.encode_progress(report, video.frame_count, ENCODING)
        ),
    )


def _filter(width: int, height: int) -> str:
    """Draw, after cutting an odd last row or column: 4:2:0 has none."""
    even = f"crop={width // 2 * 2}:{height // 2 * 2}:0:0,"
    return ("" if width % 2 == height % 2 == 0 else even) + f"ass={_ASS_NAME}"


def _audio_options(audio: AudioStream | None) -> list[str]:
    if audio is None:
        return []
    if audio.codec in _MP4_AUDIO:
        return ["-map", f"0:{audio.index}", "-c:a", "copy"]
    return ["-map", f"0:{audio.index}", "-c:a", "aac", "-b:a", _AUDIO_BITRATE]
