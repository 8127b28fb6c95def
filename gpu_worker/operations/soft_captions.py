"""Captions as a text track beside the picture, which is copied as it is."""

from __future__ import annotations

from pathlib import Path

import langcodes
from apigpu.video.v1 import job_pb2
from apigpu.video.v1.job_pb2 import EncoderUse, Output

from apigpu_common.errors import PreconditionFailed
from gpu_worker.media import ffmpeg
from gpu_worker.media.probe import MediaInfo
from gpu_worker.media.process import ChildFailed
from gpu_worker.media.verify import Expected, verify
from gpu_worker.operations.base import ItemContext
from gpu_worker.operations.failures import encoding_failed
from gpu_worker.operations.mp4_streams import COPYABLE, audio_options, copy_picture
from gpu_worker.operations.stages import ENCODING, stage

# Files count in different units of time, and sound is kept in whole packets.
_TOLERANCE_S = 0.25
_UNDETERMINED = "und"


async def mux_soft(
    context: ItemContext, path: Path, info: MediaInfo, srt_name: str, language: str
) -> Output:
    """srt_name: in the workspace. language: a BCP 47 tag, or empty."""
    video, frames = info.video, 0
    assert video is not None
    if video.codec not in COPYABLE:
        raise PreconditionFailed(
            "CANNOT_COPY_PICTURE",
            f"An MP4 file cannot hold {video.codec} as it is: use CAPTION_MODE_BURN.",
            field="caption.video",
        )
    frames = video.frame_count
    context.report(stage(job_pb2.STAGE_ENCODING, frames_total=frames))
    try:
        await ffmpeg.run(
            context.tools.ffmpeg,
            [
                *ffmpeg.safe_input(path, info.format),
                *("-f", "srt", "-i", srt_name, "-map", f"0:{video.index}"),
                *copy_picture(video.codec),
                *audio_options(info.audio),
                *("-map", "1:0", "-c:s", "mov_text", "-disposition:s:0", "default"),
                *("-metadata:s:s:0", f"language={_three_letters(language)}"),
                *("-map_metadata", "0", "-movflags", "+faststart", str(context.result)),
            ],
            cwd=context.workspace,
            on_report=lambda report: context.report(
                ffmpeg.encode_progress(report, frames, ENCODING)
            ),
        )
    except ChildFailed as error:
        raise encoding_failed(error, "caption.video") from error
    context.report(stage(job_pb2.STAGE_VERIFYING, frames, frames))
    audio_s = info.audio.duration_s if info.audio else None
    expected = Expected(
        video.duration_s, audio_s, frames, tolerance_s=_TOLERANCE_S, codec=video.codec
    )
    output = await verify(context.result, expected)
    output.encoder.CopyFrom(EncoderUse(requested="copy", used="copy"))
    return output


def _three_letters(language: str) -> str:
    """As MP4 names languages (ISO 639-2)."""
    try:
        return langcodes.get(language).to_alpha3() if language else _UNDETERMINED
    except LookupError:
        return _UNDETERMINED
