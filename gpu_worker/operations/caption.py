"""Captions are drawn into the picture of a video; its sound is kept."""

from __future__ import annotations

import asyncio

from apigpu.video.v1 import job_pb2
from apigpu.worker.v1.worker_service_pb2 import Task

from gpu_worker.media import ffmpeg, subtitles
from gpu_worker.media.encoders import Profile
from gpu_worker.media.probe import MediaInfo, probe
from gpu_worker.media.process import ChildFailed
from gpu_worker.media.verify import Expected, verify
from gpu_worker.operations.base import ItemContext
from gpu_worker.operations.failures import encoding_failed
from gpu_worker.operations.stages import ENCODING, stage

# Sound that an MP4 file can hold as it is; anything else becomes AAC.
_MP4_AUDIO = frozenset({"aac", "mp3", "ac3", "eac3", "alac"})
_AUDIO_BITRATE = "192k"
_ASS_NAME = "captions.ass"


async def caption(task: Task, item_id: str, context: ItemContext) -> job_pb2.Output:
    """Make the captioned video."""
    request = task.caption
    video_path, subtitles_path = await asyncio.gather(
        context.fetch(request.video, "caption.video"),
        context.fetch(request.subtitles, "caption.subtitles"),
    )
    context.report(stage(job_pb2.STAGE_PROBING))
    info = await probe(video_path, "video", "caption.video")
    video = info.video
    assert video is not None
    ass = await asyncio.to_thread(
        subtitles.load, subtitles_path, video.width, video.height, "caption.subtitles"
    )
    # The filter takes its file by a name without characters that need escaping.
    (context.workspace / _ASS_NAME).write_text(ass, encoding="utf-8")
    frames = round(video.duration_s * video.frame_rate)

    async def encode(profile: Profile) -> None:
        await ffmpeg.run(
            context.tools.ffmpeg,
            [
                *ffmpeg.safe_input(video_path, info.format),
                *("-map", "0:v:0", "-map", "0:a:0?", "-sn", "-dn"),
                *("-vf", _filter(video.width, video.height)),
                *context.tools.options(profile, float(video.frame_rate)),
                *_audio_options(info),
                *("-map_metadata", "0", "-movflags", "+faststart", str(context.result)),
            ],
            cwd=context.workspace,
            limits=profile.limits,
            on_report=lambda report: context.report(
                ffmpeg.encode_progress(report, frames, ENCODING)
            ),
        )

    context.report(stage(job_pb2.STAGE_ENCODING, frames_total=frames))
    try:
        use = await context.tools.encode(encode)
    except ChildFailed as error:
        raise encoding_failed(error) from error
    context.report(stage(job_pb2.STAGE_VERIFYING, frames, frames))
    expected = Expected(
        duration_s=video.duration_s, tolerance_s=_tolerance_s(info), audio=info.audio is not None
    )
    return await verify(context.result, expected, use)


def _filter(width: int, height: int) -> str:
    """Draw, after cutting an odd last row or column: 4:2:0 has none."""
    even = f"crop={width // 2 * 2}:{height // 2 * 2}:0:0,"
    return ("" if width % 2 == height % 2 == 0 else even) + f"ass={_ASS_NAME}"


def _audio_options(info: MediaInfo) -> list[str]:
    if info.audio is None:
        return []
    if info.audio.codec in _MP4_AUDIO:
        return ["-c:a", "copy"]
    return ["-c:a", "aac", "-b:a", _AUDIO_BITRATE]


def _tolerance_s(info: MediaInfo) -> float:
    """Streams of one file may differ in length; headers may round."""
    assert info.video is not None
    audio_s = info.audio.duration_s if info.audio else info.video.duration_s
    return 0.25 + abs(audio_s - info.video.duration_s)
