"""A video gets another soundtrack and ends with the shorter of the two. Where it can be, the
picture is copied as it is: no loss, and many times faster."""

from __future__ import annotations

import asyncio

from apigpu.video.v1 import job_pb2
from apigpu.video.v1.job_pb2 import EncoderUse
from apigpu.worker.v1.worker_service_pb2 import Task

from gpu_worker.media import ffmpeg, mp4
from gpu_worker.media.encoders import Profile
from gpu_worker.media.probe import probe
from gpu_worker.media.process import ChildFailed, Limits
from gpu_worker.media.verify import Expected, verify
from gpu_worker.operations.base import ItemContext
from gpu_worker.operations.failures import encoding_failed
from gpu_worker.operations.stages import ENCODING, stage

# Pictures that an MP4 file can hold, and players expect there, as they are.
_MP4_VIDEO = frozenset({"h264", "hevc", "av1", "mpeg4", "vp9"})
_AUDIO_BITRATE = "192k"
# Fine enough for every frame rate and sample rate: cuts are exact.
_TIMESCALE = "90000"
_CUT_TOLERANCE_S = 0.002


async def add_audio(task: Task, item_id: str, context: ItemContext) -> job_pb2.Output:
    """Make the video with the new sound."""
    request = task.add_audio
    video_path, audio_path = await asyncio.gather(
        context.fetch(request.video, "add_audio.video"),
        context.fetch(request.audio, "add_audio.audio"),
    )
    context.report(stage(job_pb2.STAGE_PROBING))
    picture, sound = await asyncio.gather(
        probe(video_path, "video", "add_audio.video"),
        # Counted: headers of MP3 and the like only estimate their length.
        probe(audio_path, "audio", "add_audio.audio", count=True),
    )
    assert picture.video is not None and sound.audio is not None
    length_s = min(picture.video.duration_s, sound.audio.duration_s)
    frames = round(length_s * picture.video.frame_rate)

    async def mux(video_options: list[str], limits: Limits) -> None:
        await ffmpeg.run(
            context.tools.ffmpeg,
            [
                *ffmpeg.safe_input(video_path, picture.format),
                *ffmpeg.safe_input(audio_path, sound.format),
                *("-map", "0:v:0", "-map", "1:a:0", "-t", f"{length_s:.6f}"),
                *video_options,
                *("-c:a", "aac", "-b:a", _AUDIO_BITRATE),
                *("-map_metadata", "0", "-movie_timescale", _TIMESCALE),
                *("-movflags", "+faststart", str(context.result)),
            ],
            cwd=context.workspace,
            limits=limits,
            on_report=lambda report: context.report(
                ffmpeg.encode_progress(report, frames, ENCODING)
            ),
        )
        await asyncio.to_thread(mp4.end_at, context.result, length_s)

    async def encode(profile: Profile) -> None:
        assert picture.video is not None
        await mux(context.tools.options(profile, float(picture.video.frame_rate)), profile.limits)

    context.report(stage(job_pb2.STAGE_ENCODING, frames_total=frames))
    try:
        if picture.video.codec in _MP4_VIDEO:
            await mux(["-c:v", "copy"], Limits())
            use = EncoderUse(requested="copy", used="copy")
        else:
            use = await context.tools.encode(encode)
    except ChildFailed as error:
        raise encoding_failed(error) from error
    context.report(stage(job_pb2.STAGE_VERIFYING, frames, frames))
    expected = Expected(duration_s=length_s, tolerance_s=_CUT_TOLERANCE_S, audio=True)
    return await verify(context.result, expected, use)
