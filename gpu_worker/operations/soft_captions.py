"""Captions as a text track beside the picture, which is copied as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import langcodes
from apigpu.video.v1.job_pb2 import Output

from apigpu_common.errors import PreconditionFailed
from gpu_worker.media import ffmpeg
from gpu_worker.media.probe import MediaInfo, TextTrack, prober
from gpu_worker.media.process import ChildFailed
from gpu_worker.operations import result
from gpu_worker.operations.base import ItemContext
from gpu_worker.operations.failures import encoding_failed
from gpu_worker.operations.mp4_streams import (
    COPIED,
    COPYABLE,
    as_long_as,
    audio_options,
    copy_picture,
)

_UNDETERMINED = "und"


async def mux_soft(
    context: ItemContext, path: Path, info: MediaInfo, srt_name: str, track: TextTrack
) -> Output:
    """srt_name: in the workspace. track: what is to come of it."""
    video = info.video
    assert video is not None
    if video.codec not in COPYABLE:
        raise PreconditionFailed(
            "CANNOT_COPY_PICTURE",
            f"An MP4 file cannot hold {video.codec} as it is: use CAPTION_MODE_BURN.",
            field="caption.video",
        )
    arguments = [
        *ffmpeg.safe_input(path, info.format),
        *("-f", "srt", "-i", srt_name, "-map", f"0:{video.index}"),
        *copy_picture(video.codec),
        *audio_options(info.audio),
        *("-map", "1:0", "-c:s", track.codec, "-disposition:s:0", "default"),
        *("-metadata:s:s:0", f"language={track.language}", "-map_metadata", "0"),
    ]
    frames = video.frame_count
    expected = replace(as_long_as(info), frames=frames, codec=video.codec, text=(track,))
    async with prober() as ready:
        try:
            await result.make(context, arguments, frames)
        except ChildFailed as error:
            raise encoding_failed(error, "caption.video") from error
        output = await result.check(context, expected, frames, ready)
    output.encoder.CopyFrom(COPIED)
    return output


def three_letters(language: str) -> str:
    """A BCP 47 tag, or nothing, as MP4 names languages (ISO 639-2)."""
    try:
        return langcodes.get(language).to_alpha3() if language else _UNDETERMINED
    except LookupError:
        return _UNDETERMINED
